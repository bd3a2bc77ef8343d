"""External programs as generators. The programs are this Python, running scripts written by the tests."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from engine.config import Settings
from engine.errors import GeneratorError, InvalidManifest, NotTrusted, SourceNotFound
from engine.samples import GeneratorSource, open_source, options_to_generator
from engine.samples.generators import draw

SCRIPT = """
import sys
from PIL import Image
seed, count, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
for i in range(count):
    Image.new("RGB", (4, 4), (seed % 256, i, 0)).save(f"{out}/{i:05d}.png")
"""


def program(folder: Path, script: str = SCRIPT, **options: Any) -> Any:
    (folder / "draw.py").write_text(script)
    command = [sys.executable, "draw.py", "{seed}", "{count}", "{out}"]
    return options_to_generator(
        {"type": "program", "command": command, **options}, base=folder, trust=True, settings=Settings()
    )


def test_pictures_in_the_order_of_their_names(tmp_path: Path) -> None:
    images = program(tmp_path).draw(3, 7)
    assert [image.getpixel((0, 0)) for image in images] == [(7, 0, 0), (7, 1, 0), (7, 2, 0)]


def test_it_needs_trust(tmp_path: Path) -> None:
    with pytest.raises(NotTrusted, match="touch") as caught:
        open_source(f"program:touch {tmp_path}/ran {{seed}} {{count}} {{out}}", settings=Settings())
    assert "--trust" in (caught.value.hint or "")
    assert not (tmp_path / "ran").exists()


def test_there_is_no_shell(tmp_path: Path) -> None:
    (tmp_path / "draw.py").write_text("import sys; sys.stderr.write(repr(sys.argv[4:])); sys.exit(1)")
    source = open_source(
        f"program:{sys.executable} draw.py {{seed}} {{count}} {{out}} '$(touch ran)' ';' touch ran",
        settings=Settings(), base=tmp_path, trust=True, samples=1,
    )  # fmt: skip
    with pytest.raises(GeneratorError, match=r"\['\$\(touch ran\)', ';', 'touch', 'ran'\]"):
        next(iter(source.samples())).load()  # type: ignore[union-attr]
    assert not (tmp_path / "ran").exists()


def test_other_braces_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "draw.py").write_text("import sys; sys.exit(sys.argv[4])")
    command = [sys.executable, "draw.py", "{seed}", "{count}", "{out}", '{"seed": {seed}, "a": {}}']
    generator = options_to_generator({"type": "program", "command": command}, base=tmp_path, trust=True)
    with pytest.raises(GeneratorError, match=r'\{"seed": 5, "a": \{\}\}'):
        generator.draw(1, 5)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("import sys; print('out of paint', file=sys.stderr); sys.exit(3)", "exited with 3; it said: out of paint"),
        ("import os; os.kill(os.getpid(), 9)", "killed by signal 9"),
        ("pass", "wrote 0 pictures where 2"),
        (SCRIPT.replace("range(count)", "range(count - 1)"), "wrote 1 pictures where 2"),
        (SCRIPT.replace("range(count)", "range(count + 5)"), "wrote 7 pictures where 2"),
        ("import sys\nfor i in 'ab': open(f'{sys.argv[3]}/{i}.png', 'w').write('no')", "cannot be used: a.png"),
        ("import os, sys\nfor i in 'ab': os.mkfifo(f'{sys.argv[3]}/{i}.png')", "not a regular file"),
    ],
)
def test_whatever_goes_wrong_is_a_generator_error(tmp_path: Path, script: str, reason: str) -> None:
    with pytest.raises(GeneratorError, match=reason):
        program(tmp_path, script).draw(2, 0)


def test_a_flood_on_stderr_is_cut_to_its_tail(tmp_path: Path) -> None:
    flood = "import sys\nfor i in range(20000): print('x' * 99, file=sys.stderr)\nsys.exit('the end')"
    with pytest.raises(GeneratorError, match=r"the end$") as caught:
        program(tmp_path, flood).draw(1, 0)
    assert len(caught.value.message) < 2500


def test_a_timeout_kills_the_whole_process_group(tmp_path: Path) -> None:
    script = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open({str(tmp_path / "pid")!r}, "w").write(str(child.pid))
time.sleep(600)
"""
    with pytest.raises(GeneratorError, match="stopped after 3 seconds") as caught:
        program(tmp_path, script, timeout=3).draw(1, 0)
    assert "timeout" in (caught.value.hint or "")
    child = int((tmp_path / "pid").read_text())
    for _ in range(200):  # until the system has reaped it
        status = Path(f"/proc/{child}/stat")
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.05)
    else:
        os.kill(child, 9)
        pytest.fail("the child outlived its group")


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    command = ["no-such-program-anywhere", "{seed}", "{count}", "{out}"]
    generator = options_to_generator({"type": "program", "command": command}, base=tmp_path, trust=True)
    with pytest.raises(GeneratorError, match="not installed"):
        generator.draw(1, 0)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "needs a command"),
        ({"command": []}, "'command' must be a list"),
        ({"command": 3}, "'command' must be a list"),
        ({"command": "draw {seed} {count}"}, r"no \{out\}"),
        ({"command": ["draw"]}, r"no \{seed\} and no \{count\} and no \{out\}"),
        ({"command": "draw 'unbalanced"}, "cannot be split"),
        ({"command": "d {seed} {count} {out}", "timeout": 0}, "'timeout' must be a number above 0"),
        ({"command": "d {seed} {count} {out}", "timeout": float("nan")}, "'timeout'"),
        ({"command": "d {seed} {count} {out}", "shell": True}, "no option 'shell'"),
    ],
)
def test_options_are_checked(tmp_path: Path, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidManifest, match=reason):
        options_to_generator({"type": "program", **options}, base=tmp_path, trust=True)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    options = {"type": "program", "command": "d {seed} {count} {out}", "folder": "absent"}
    with pytest.raises(SourceNotFound, match="absent"):
        options_to_generator(options, base=tmp_path, trust=True)


def test_the_record_draws_the_same_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    program(tmp_path / "sub")
    options = {"type": "program", "command": f"{sys.executable} draw.py {{seed}} {{count}} {{out}}", "folder": "sub"}
    source = open_source(
        {"generator": {**options, "batch": 2, "timeout": 60}, "samples": 3, "seed": 4},
        settings=Settings(), base=tmp_path, trust=True,
    )  # fmt: skip
    assert isinstance(source, GeneratorSource)
    described = json.loads(json.dumps(source.describe()))
    assert described["generator"]["folder"] == str(tmp_path / "sub")
    assert (described["samples"], described["seed"], described["batch"]) == (3, 4, 2)
    monkeypatch.chdir("/")
    again = draw(described["generator"], 3, 4, trust=True)
    assert [image.tobytes() for image in again] == [sample.load().tobytes() for sample in source.samples()]


def test_digest_follows_the_command_and_its_script(tmp_path: Path) -> None:
    one = program(tmp_path).digest()
    assert program(tmp_path).digest() == one
    assert program(tmp_path, SCRIPT + "# changed").digest() != one
    assert program(tmp_path, timeout=5, batch=7).digest() == one
