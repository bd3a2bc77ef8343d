"""``engine trust``: what is shown, asked and recorded."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.storage.test_copying import execute

RECORDS: dict[str, dict[str, Any]] = {
    "runs": {"type": "program", "command": [sys.executable, "-c", "print(\u001b[2J\n)", "{seed}{count}{out}"]},
    "opens": {"type": "diffusers", "model": "somebody/model"},
    "gone": {"type": "onnx", "path": "/nowhere/decoder.onnx"},
    "live": {"type": "callable", "name": "lambda"},
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where it is recorded."""
    monkeypatch.setenv("ENGINE_TRUST_FILE", str(tmp_path / "trusted.jsonl"))
    return tmp_path / "trusted.jsonl"


@pytest.fixture
def brought(url: str, sources: list[str], run: Run) -> str:
    """Models with generators that were never ingested here, and one without."""
    run("init", "--encoder", "external:mine")
    for name, source in zip(RECORDS, sources, strict=True):
        run("ingest", source, "--name", name)
        said = json.dumps(RECORDS[name]).replace("'", "''").replace(":", "\\:")
        execute(url, f"UPDATE models SET generator = '{said}' WHERE name = '{name}'")
    run("ingest", sources[0], "--name", "samples")
    return url


def test_it_shows_what_it_would_trust_and_asks(brought: str, run: Run, elsewhere: Path) -> None:
    refused = run("trust", "runs")
    assert refused.exit_code == 2
    assert "there is no terminal to ask on" in refused.stderr
    assert "runs: runs code" in refused.stderr
    assert f'["{sys.executable}", "-c", "print(\\u001b[2J\\n)", ' in refused.stderr
    assert "\x1b[2J" not in refused.output
    assert not elsewhere.exists()
    done = run("trust", "runs", "opens", "--yes")
    assert done.stdout == "runs: trusted, runs code\nopens: trusted, opens files\n"
    assert run("trust", "runs").stdout == "runs: was trusted already, runs code\n"
    assert len(elsewhere.read_bytes().splitlines()) == 2


def test_on_a_terminal(brought: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.cli.trust.is_terminal", lambda: True)
    no = run("trust", "runs", input="n\n")
    assert (no.exit_code, no.stdout) == (1, "")
    assert run("trust", "runs", input="y\n").stdout == "runs: trusted, runs code\n"


def test_all_list_and_revoke(brought: str, run: Run) -> None:
    assert json.loads(run("trust", "--list", "--json").stdout) == {"trusted": []}
    done = run("trust", "--all", "--yes", "--json")
    assert done.exit_code == 3, "one names a file that is not there"
    assert "gone: there is no ONNX file" in done.stderr
    said = json.loads(done.stdout)["trusted"]
    assert [(one["model"], one["what"], one["new"]) for one in said] == [
        ("opens", "opens files", True), ("runs", "runs code", True),
    ]  # fmt: skip
    listed = json.loads(run("trust", "--list", "--json").stdout)["trusted"]
    assert {one["digest"] for one in listed} == {one["digest"] for one in said}
    assert "opens files" in run("trust", "--list").stdout
    assert json.loads(run("trust", "--revoke", "runs", "gone", "--json").stdout) == {"revoked": ["runs"]}
    assert run("trust", "--revoke", "runs").stdout == "runs: was not trusted\n"
    assert [one["model"] for one in json.loads(run("trust", "--list", "--json").stdout)["trusted"]] == ["opens"]


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ([], "UsageError"), (["runs", "--all"], "UsageError"), (["runs", "--list"], "UsageError"),
        (["--list", "--revoke"], "UsageError"), (["nobody"], "ModelNotFound"), (["samples"], "MissingStatistics"),
        (["gone"], "SourceNotFound"), (["live"], "GeneratorError"), (["--revoke", "samples"], "MissingStatistics"),
    ],
)  # fmt: skip
def test_what_cannot_be_trusted(brought: str, run: Run, arguments: list[str], kind: str) -> None:
    assert json.loads(run("trust", *arguments, "--yes", "--json").stdout)["error"]["type"] == kind


def test_the_list_needs_no_collection(run: Run) -> None:
    assert run("trust", "--list").exit_code == 0
