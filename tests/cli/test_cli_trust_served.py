"""``engine trust``: what is shown, asked and recorded, and that a served collection follows it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import httpx
import pytest

from tests.cli.conftest import Run, invoke, write_features
from tests.server.test_serving import serving
from tests.storage.test_copying import execute

PROGRAM = """
import sys
from PIL import Image
for i in range(int(sys.argv[2])):
    Image.new("RGB", (8, 8)).save(f"{sys.argv[3]}/{i:04d}.png")
"""


@pytest.fixture
def own_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This test's list of what is trusted, also for the processes that it starts."""
    path = tmp_path / "state" / "trusted.jsonl"
    monkeypatch.setenv("ENGINE_TRUST_FILE", str(path))
    return path


@pytest.fixture
def brought(url: str, run: Run, own_trust: Path, tmp_path: Path) -> Run:
    """A collection imported from a stranger's archive: ``fox`` runs a program, ``owl`` a shell, ``cat`` nothing."""
    program = tmp_path / "draw.py"
    program.write_text(PROGRAM)
    generators = {
        "fox": {"type": "program", "command": [sys.executable, str(program), "{seed}", "{count}", "{out}"]},
        "owl": {"type": "program", "command": ["sh", "-c", f"touch {tmp_path}/X {{seed}} {{count}} {{out}}"]},
    }
    stranger = f"sqlite:///{tmp_path / 'stranger.db'}"
    invoke(stranger, "init", "--encoder", "external:mine")
    for seed, name in enumerate(("fox", "owl", "cat")):
        source = str(write_features(tmp_path / f"{name}.npy", seed))
        assert invoke(stranger, "ingest", source).exit_code == 0
    for name, generator in generators.items():
        execute(stranger, f"UPDATE models SET generator = '{json.dumps(generator)}' WHERE name = '{name}'")
    assert invoke(stranger, "export", str(tmp_path / "zoo.engine")).exit_code == 0
    assert run("import", str(tmp_path / "zoo.engine")).exit_code == 0
    return run


def test_it_shows_what_would_run_and_does_not_trust_unasked(brought: Run, own_trust: Path, tmp_path: Path) -> None:
    refused = brought("trust", "owl")
    assert refused.exit_code == 2
    assert "owl: runs code" in refused.stderr
    assert f"touch {tmp_path}/X" in refused.stderr
    assert "--yes" in refused.stderr
    assert not own_trust.exists()
    assert brought("trust", "cat").exit_code == 1, "it has no generator"
    assert brought("trust", "nobody").exit_code == 1
    assert brought("trust").exit_code == brought("trust", "--list", "fox").exit_code == 2
    assert not (tmp_path / "X").exists()


def test_it_records_lists_and_revokes(brought: Run, own_trust: Path, tmp_path: Path) -> None:
    drawn = ("draw", "fox", "--count", "1", "--out", str(tmp_path / "out"))
    refused = brought(*drawn)
    assert refused.exit_code == 1
    assert "engine trust fox" in refused.stderr
    assert brought("trust", "--list").stdout == ""
    said = json.loads(brought("trust", "fox", "--yes", "--json").stdout)["trusted"]
    assert [(one["model"], one["what"], one["new"]) for one in said] == [("fox", "runs code", True)]
    assert str(tmp_path / "draw.py") in said[0]["files"]
    assert brought("trust", "fox").stdout == "fox: was trusted already, runs code\n"
    assert own_trust.stat().st_mode & 0o777 == 0o600
    assert brought(*drawn).exit_code == 0
    assert "fox" in brought("trust", "--list").stdout
    assert brought("trust", "--revoke", "fox", "owl").stdout == "fox: no longer trusted\nowl: was not trusted\n"
    assert brought(*drawn).exit_code == 1
    assert json.loads(brought("trust", "--list", "--json").stdout) == {"trusted": []}


def test_all_means_every_generator(brought: Run) -> None:
    assert brought("trust", "--all", "--yes").stdout == "fox: trusted, runs code\nowl: trusted, runs code\n"


def test_a_server_runs_what_is_trusted_and_nothing_else(brought: Run, url: str, tmp_path: Path) -> None:
    with serving(url, "--trust") as (_, address):

        def drawn(name: str) -> tuple[int, str]:
            answer = httpx.post(f"{address}/v1/models/{name}/samples", json={"count": 1}, timeout=60)
            return answer.status_code, answer.text

        for name in ("fox", "owl"):
            status, text = drawn(name)
            assert (status, "NotTrusted" in text) == (403, True)
        assert not (tmp_path / "X").exists()
        assert brought("trust", "fox", "--yes").exit_code == 0
        assert drawn("fox")[0] == 200, "without a restart"
        assert drawn("owl")[0] == 403
        (tmp_path / "draw.py").write_text(PROGRAM + f"open('{tmp_path}/X', 'w')\n")
        status, text = drawn("fox")
        assert (status, "has changed" in text) == (403, True)
        assert not (tmp_path / "X").exists()


def test_a_copy_with_another_list_is_refused(
    brought: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    assert brought("trust", "fox", "--yes").exit_code == 0
    assert brought("backup", str(tmp_path / "copy.db")).exit_code == 0
    copy = f"sqlite:///{tmp_path / 'copy.db'}"
    drawn = ("draw", "fox", "--count", "1", "--out", str(tmp_path / "out"))
    assert invoke(copy, *drawn).exit_code == 0
    monkeypatch.setenv("ENGINE_TRUST_FILE", str(tmp_path / "elsewhere.jsonl"))
    assert invoke(copy, *drawn).exit_code == 1
    assert invoke(copy, *drawn, "--trust").exit_code == 0
    assert invoke(copy, *drawn).exit_code == 1, "that was this once"
