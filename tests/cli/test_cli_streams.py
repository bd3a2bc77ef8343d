"""Standard streams that are closed, full or abandoned: a clear exit code, no traceback, and an unharmed database."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.cli.failures import BROKEN_PIPE, ERROR, OUTPUT, USAGE

pytestmark = pytest.mark.skipif(os.name == "nt", reason="streams are closed in another way there")
FULL = Path("/dev/full")


def shell(redirected: str, *arguments: str) -> tuple[int, str, str]:
    """``engine ARGUMENTS`` under a shell's redirection: exit code, stdout and stderr as far as they are pipes."""
    if str(FULL) in redirected and not FULL.exists():
        pytest.skip("there is no /dev/full")
    command = f'exec "$0" -W error -m engine "$@" {redirected}'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("stdout", [">&-", ">/dev/full"])
@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["list", "--json"], ["show", "nobody", "--json"]])
def test_a_result_that_cannot_be_written(zoo_url: str, stdout: str, arguments: list[str]) -> None:
    database = [] if arguments == ["--help"] else ["--database", zoo_url]
    code, _, said = shell(stdout, *arguments, *database)
    assert code == OUTPUT
    assert said.startswith("Error: the result cannot be written to standard output: ")
    assert len(said.splitlines()) == 2


@pytest.mark.parametrize("stderr", ["2>&-", "2>/dev/full"])
def test_remarks_that_cannot_be_written(zoo_url: str, stderr: str) -> None:
    code, shown, _ = shell(stderr, "list", "--database", zoo_url)
    assert (code, "ant" in shown) == (0, True)
    assert shell(stderr, "show", "nobody", "--database", zoo_url)[:2] == (ERROR, "")
    assert shell(stderr, "lits")[:2] == (USAGE, "")


def test_progress_on_a_full_disk_ends_no_ingest(zoo_url: str, tmp_path: Path) -> None:
    """The database must not get the number of a closed stream, either: it would be written into."""
    from tests.cli.conftest import write_features

    url = f"sqlite:///{tmp_path / 'zoo.db'}"
    assert shell("<&- >&- 2>&-", "init", "--encoder", "external:mine", "--database", url)[0] == OUTPUT
    source = str(write_features(tmp_path / "ant.npy", 1))
    assert shell(">/dev/null 2>/dev/full", "ingest", source, "--database", url)[0] == 0
    assert shell("<&- >&- 2>&-", "ingest", source, "--name", "bee", "--database", url)[0] == OUTPUT
    code, shown, _ = shell("", "doctor", "--database", url)
    assert (code, shown) == (0, "all is well\n")
    assert "bee" in shell("", "list", "--database", url)[1]


def test_a_question_without_anybody_to_answer(zoo_url: str) -> None:
    code, _, said = shell("<&-", "remove", "ant", "--database", zoo_url)
    assert code == USAGE
    assert "--yes" in said


@pytest.mark.parametrize("arguments", [["--help"], ["list", "--json"], ["show", "nobody", "--json"]])
def test_readers_that_have_gone(zoo_url: str, arguments: list[str]) -> None:
    database = [] if arguments == ["--help"] else ["--database", zoo_url]
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "engine", *arguments, *database]
    try:
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (BROKEN_PIPE, b"")
