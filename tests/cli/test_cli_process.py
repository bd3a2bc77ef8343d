"""What only a real process shows: imports, pipes, streams, exit codes."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import __version__
from engine.cli.progress import WIDEST, ended


def engine(*arguments: str, env: dict[str, str] | None = None, **extra: object) -> subprocess.CompletedProcess[str]:
    """``python -m engine ARGUMENTS``, with UTF-8 pipes."""
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", **(env or {})}
    command = [sys.executable, "-W", "error", "-m", "engine", *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, timeout=60, check=False)


def test_version_and_help() -> None:
    assert engine("--version").stdout == f"engine {__version__}\n"
    bare = engine()
    assert (bare.returncode, bare.stdout) == (0, engine("-h").stdout)
    assert "Exit codes:" in bare.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["search", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys; from engine.cli import app\n"
        "try: app.main(sys.argv[1:], prog_name='engine')\n"
        "except SystemExit: pass\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, encoding="utf-8", timeout=60, check=True
    )
    heavy = {"torch", "faiss", "sqlalchemy", "numpy", "alembic", "open_clip", "PIL", "scipy", "tqdm", "yaml"}
    assert heavy & set(done.stderr.split()) == set()


def test_streams_and_environment(zoo_url: str) -> None:
    done = engine("list", "--json", env={"ENGINE_DATABASE": zoo_url})
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)["models"]) == 4
    failed = engine("show", "nobody", env={"ENGINE_DATABASE": zoo_url})
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("Error: ")


def test_terminal_without_unicode(zoo_url: str) -> None:
    done = engine("list", "--database", zoo_url, env={"PYTHONIOENCODING": "latin-1"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()


def test_no_colour_in_a_pipe(zoo_url: str) -> None:
    assert "\x1b" not in engine("list", "--database", zoo_url).stdout


@pytest.mark.skipif(os.name == "nt", reason="pipes end in another way there")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_is_no_error(zoo_url: str, unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "engine", "list", "--database", zoo_url],
            stdout=writing, stderr=subprocess.PIPE, env=environment, timeout=60, check=False,
        )  # fmt: skip
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def on_terminal(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, bytes]:
    """A command whose stdout and stderr are a terminal of 100 columns: exit code and what it shows."""
    pty, fcntl, termios = (pytest.importorskip(name) for name in ("pty", "fcntl", "termios"))
    control, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | (env or {})
    said = b""
    with subprocess.Popen(
        [sys.executable, "-m", "engine", *arguments],
        stdout=terminal, stderr=terminal, stdin=terminal, env=environment,
    ) as process:  # fmt: skip
        os.close(terminal)
        while True:
            try:
                part = os.read(control, 65536)
            except OSError:  # Linux's way of saying that the other side is closed
                break
            if not part:
                break
            said += part
        process.wait(60)
    os.close(control)
    return process.returncode, said


def test_terminal_gets_colour_unless_refused(zoo_url: str) -> None:
    assert b"\x1b[1m" in on_terminal("list", "--database", zoo_url)[1]
    assert b"\x1b" not in on_terminal("list", "--database", zoo_url, env={"NO_COLOR": "1"})[1]


def test_terminal_gets_a_bar(empty: Any, url: str, sources: list[str]) -> None:
    code, said = on_terminal("ingest", *sources, "--database", url)
    assert code == 0
    assert b"[1/4] " in said
    assert b"images/s" in said
    assert b"4 added" in said
    assert b"ant: added" not in said, "the line for each model is for where there is no bar"


def test_a_bar_has_room_for_its_rate_beside_a_long_name() -> None:
    assert ended("cat") == "cat"
    assert ended("/" + "far/" * 40 + "cat.npy") == "…" + ("far/" * 8 + "cat.npy")
    assert len(ended("x" * 200)) == WIDEST


@pytest.fixture
def heard_interrupts() -> Iterator[None]:
    """Programs that a test starts hear Ctrl-C, also where the tests themselves run behind a shell that ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard_interrupts")
def test_interrupted_and_run_again(empty: Any, url: str, sources: list[str], tmp_path: Path) -> None:
    """Ctrl-C in the second entry: exit code 130, the first stays, and the same command goes on."""
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(60)\n", encoding="utf-8")
    slow = {"name": "slow", "generator": {"type": "python", "entry": "slow:draw", "path": "."}}
    manifest = tmp_path / "zoo.jsonl"
    manifest.write_text(json.dumps({"name": "ant", "source": "ant.npy"}) + "\n" + json.dumps(slow), encoding="utf-8")
    command = [sys.executable, "-m", "engine", "ingest", str(manifest), "--trust", "--database", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8") as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "[1/2] ant: added, 60 samples\n"
        time.sleep(0.3)  # into the second entry
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert err.startswith("Error: interrupted\nHint: ")
    assert "Traceback" not in err
    (tmp_path / "slow.py").unlink()
    said = json.loads(empty("ingest", str(manifest), "--trust", "--json").stdout)
    assert [(model["name"], model["status"]) for model in said["models"]] == [("ant", "unchanged")]
