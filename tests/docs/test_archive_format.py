"""docs/archive-format.md names what archives really have, and its example runs."""

from __future__ import annotations

import contextlib
import io
import os
import re
import zipfile
from pathlib import Path

import numpy as np

from engine import Engine
from engine.exchange.archive_file import COUNTS, VERSION
from engine.exchange.read import ENCODER_KEYS, MODEL_KEYS, STATISTICS_KEYS, TRANSFORM_KEYS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "archive-format.md").read_text(encoding="utf-8")


def test_every_key_is_documented() -> None:
    named = set(re.findall(r"`(\w+)`", PAGE))
    assert {*COUNTS, *ENCODER_KEYS, *MODEL_KEYS, *STATISTICS_KEYS, *TRANSFORM_KEYS} <= named
    assert f"This is version {VERSION}." in PAGE


def test_the_example_runs_with_the_members_of_the_table(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    with Engine.open(f"sqlite:///{tmp_path / 'zoo.db'}", create=True, encoder="external:test") as eng:
        for name in ("fox", "owl"):
            eng.ingest(rows + len(name) * (name == "owl"), name=name)
        eng.build_index()
        eng.export_archive(tmp_path / "zoo.engine")
    with zipfile.ZipFile(tmp_path / "zoo.engine") as archive:
        assert set(archive.namelist()) <= set(re.findall(r"^\| `([\w./]+)` \|", PAGE, flags=re.M))
    (example,) = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.M | re.S)
    said = io.StringIO()
    before = os.getcwd()
    try:
        os.chdir(tmp_path)
        with contextlib.redirect_stdout(said):
            exec(compile(example, "archive-format.md", "exec"), {})
    finally:
        os.chdir(before)
    assert said.getvalue() == "fox (4,)\n"
