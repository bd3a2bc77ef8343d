"""Pictures of a million pixels in a row, at every entrance: each is answered, in little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.engine.strips_child import NAMES, SIZES

CHILD = Path(__file__).with_name("strips_child.py")
ROOM = 512 * 2**20
ANSWER = {"search": 1, "evaluate": 1, "ingest": 5, "request": 200, "page": 200}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    command = [sys.executable, str(CHILD), str(ROOM), str(tmp_path_factory.mktemp("strips"))]
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}  # each arena is 64 MiB of addresses, used or not
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("entrance", NAMES)
def test_a_strip_is_answered(answers: dict[str, Any], entrance: str, size: tuple[int, int]) -> None:
    assert answers[f"{entrance} {size[0]}x{size[1]}"] == ANSWER[entrance]
