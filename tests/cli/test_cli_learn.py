"""``engine learn``, ``engine transforms`` and ``engine search --transform``, from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from engine.session import Session
from tests.cli.conftest import invoke
from tests.engine.judged_zoo import NAMES, make_zoo
from tests.engine.small_encoder import ProjectionEncoder

Run = Callable[..., Result]
LEARNED = "sketch-first_moment-full-1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection of pictures and its judged queries."""
    return make_zoo(tmp_path_factory.mktemp("learn"))


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command on that collection, with an encoder that needs no weights."""
    monkeypatch.setattr(Session, "load_encoder", lambda *_: ProjectionEncoder())
    return lambda *arguments, **extra: invoke(f"sqlite:///{folder / 'zoo.db'}", *arguments, **extra)


def test_the_whole_way(run: Run, folder: Path) -> None:
    queries, sketch = str(folder / "queries.jsonl"), str(folder / "m03-0.png")

    def by(*arguments: str) -> Any:
        result = run("search", "--sketch", sketch, "--json", *arguments)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)["transform"]

    assert "engine learn" in run("transforms", "activate", LEARNED).stderr
    said = run("learn", "--queries", queries, "--parameterisation", "full", "--folds", "3")
    assert said.exit_code == 0, said.output
    for word in ("chance", "pre-trained", "learned", "gain", f"{LEARNED} is active (better)", "84 queries"):
        assert word in said.stdout
    assert "folds: 3 done" in said.stderr
    assert by() == by("--transform", LEARNED) == LEARNED
    assert by("--transform", "none") is None
    assert f"transformed by {LEARNED}" in run("search", "--sketch", sketch).stdout
    listed = json.loads(run("transforms", "list", "--json").stdout)["transforms"]
    listed = [one for one in listed if one["parameterisation"] != "whitening"]  # the densities' own
    assert [(one["name"], one["active"], one["modality"]) for one in listed] == [(LEARNED, True, "sketch")]
    assert listed[0]["report"]["learned"]["top_1"] > listed[0]["report"]["pretrained"]["top_1"]
    assert LEARNED in run("transforms", "list").stdout
    assert run("transforms", "deactivate", LEARNED).stdout == f"{LEARNED} is not active\n"
    assert by() is None
    assert json.loads(run("transforms", "activate", LEARNED, "--json").stdout)["active"] is True
    built = json.loads(run("index", "build", "--json").stdout)["indexes"]
    assert [one["space"] for one in built] == ["first_moment", "whitened_first_moment", LEARNED]
    assert json.loads(run("doctor", "--json").stdout) == {"findings": []}
    assert json.loads(run("transforms", "remove", LEARNED, "--json").stdout) == {"removed": LEARNED}
    assert by() is None
    assert [one["space"] for one in json.loads(run("index", "status", "--json").stdout)["indexes"]] == [
        "first_moment", "whitened_first_moment",
    ]  # fmt: skip


def test_what_is_not_better_is_said(run: Run, folder: Path) -> None:
    arguments = ["learn", "--queries", str(folder / "queries.jsonl"), "--modality", "image", "--folds", "2"]
    said = run(*arguments)
    assert "not active: it is not reliably better" in said.stdout
    assert "engine transforms activate image-first_moment-triangular-1" in said.stdout
    forced = json.loads(run(*arguments, "--force", "--json").stdout)
    assert (forced["active"], forced["report"]["better"], forced["version"]) == (True, False, 2)
    for version in (1, 2):
        assert run("transforms", "remove", f"image-first_moment-triangular-{version}").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["learn"], 2, "--queries"), (["learn", "--queries", "nope.jsonl"], 1, "nope.jsonl"),
        (["learn", "--queries", "x", "--method", "best_k"], 2, "best_k"),
        (["learn", "--queries", "x", "--folds", "1"], 2, "folds"), (["transforms", "remove", "nope"], 1, "nope"),
        (["search", "--model", NAMES[0], "--transform", "nope"], 1, "nope"),
        (["search", "--model", NAMES[0], "--shortlist-space", "nope"], 2, "nope"),
    ],
)  # fmt: skip
def test_what_is_refused(run: Run, arguments: list[str], code: int, message: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, message in result.stderr) == (code, True), result.output
