"""From an empty folder to answers, on features made here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import Engine
from engine.cli.failures import PARTIAL, USAGE
from engine.cli.table import cell_width


def test_from_nothing_to_answers(run: Any, sources: list[str]) -> None:
    made = run("init", "--encoder", "external:mine")
    assert (made.exit_code, made.stdout) == (0, "created; default encoder external:mine\n")
    assert "is there already" in run("init").stdout
    ingested = run("ingest", *sources, "--tag", "animal", "--author", "me")
    assert ingested.exit_code == 0
    assert ingested.stdout.endswith("4 added, 0 replaced, 0 unchanged, 0 failed\n")
    assert [line.split(",")[0] for line in ingested.stderr.splitlines()] == [
        f"[{i}/4] {name}: added" for i, name in enumerate(["ant", "bee", "cat", "dog"], 1)
    ]
    assert json.loads(run("search", "--model", "ant", "--json").stdout)["hits"][0]["rank"] == 1
    assert json.loads(run("similar", "ant", "--json").stdout)["method"] == "frechet"
    assert run("doctor").stdout == "all is well\n"
    assert run("ingest", *sources).stdout.endswith("0 added, 0 replaced, 4 unchanged, 0 failed\n")
    np.save(sources[0], np.ones((9, 8), np.float32) + np.eye(9, 8, dtype=np.float32))
    assert run("ingest", *sources).stdout.endswith("0 added, 1 replaced, 3 unchanged, 0 failed\n")
    assert run("remove", "ant", "--yes").stdout == "removed ant\n"
    assert [model["name"] for model in json.loads(run("list", "--json").stdout)["models"]] == ["bee", "cat", "dog"]


def test_details_arrive(empty: Any, sources: list[str]) -> None:
    arguments = [
        "--name", "my ant", "--tag", "b", "--tag", "a", "--description", "ants", "--kind", "gan", "--author", "A, B",
        "--license", "MIT", "--base-model", "stylegan", "--link", "home=https://example.org/?a=b",
        "--resolution", "64", "--meta", "stars=5",
    ]  # fmt: skip
    assert empty("ingest", sources[0], *arguments).exit_code == 0
    model = json.loads(empty("show", "my ant", "--json").stdout)["model"]
    wanted = {
        "name": "my ant", "tags": ["a", "b"], "description": "ants", "kind": "gan", "author": "A, B",
        "license": "MIT", "base_model": "stylegan", "links": {"home": "https://example.org/?a=b"},
        "resolution": 64, "metadata": {"stars": "5"}, "samples": 60, "encoders": ["external:mine"],
    }  # fmt: skip
    assert {key: model[key] for key in wanted} == wanted
    shown = empty("show", "my ant").stdout
    assert "base model   stylegan\n" in shown


def test_update(empty: Any, sources: list[str]) -> None:
    empty("ingest", sources[0], "--tag", "a", "--author", "A", "--meta", "x=1")
    result = empty(
        "update", "ant", "--name", "emmet", "--tag", "b", "--clear", "author", "--clear", "metadata", "--json"
    )
    model = json.loads(result.stdout)["model"]
    assert (model["name"], model["tags"], model["author"], model["metadata"]) == ("emmet", ["b"], None, {})


def test_manifest_goes_on_past_a_bad_entry(empty: Any, sources: list[str], tmp_path: Path) -> None:
    manifest = tmp_path / "zoo.jsonl"
    entries = [
        {"name": "ant", "source": "ant.npy"},
        {"name": "gone", "source": "gone.npy"},
        {"name": "bee", "source": "bee.npy"},
    ]
    manifest.write_text("\n".join(map(json.dumps, entries)), encoding="utf-8")
    result = empty("ingest", str(manifest))
    assert result.exit_code == PARTIAL
    assert "gone.npy" in result.stdout
    assert result.stdout.endswith("2 added, 0 replaced, 0 unchanged, 1 failed\n")
    assert "[2/3] gone: failed" in result.stderr
    said = json.loads(empty("ingest", str(manifest), "--json").stdout)
    assert [(model["name"], model["status"]) for model in said["models"]] == [
        ("ant", "unchanged"),
        ("bee", "unchanged"),
    ]
    assert [(one["name"], one["error"]["type"]) for one in said["failed"]] == [("gone", "SourceNotFound")]
    assert empty("ingest", str(manifest), "--tag", "x").exit_code == USAGE


def test_several_sources_go_on_past_a_bad_one(empty: Any, sources: list[str], tmp_path: Path) -> None:
    broken = tmp_path / "broken.npy"
    broken.write_bytes(b"not an array")
    result = empty("ingest", sources[0], str(broken), sources[1], "--json")
    said = json.loads(result.stdout)
    assert result.exit_code == PARTIAL
    assert [model["name"] for model in said["models"]] == ["ant", "bee"]
    assert [(one["name"], one["error"]["type"]) for one in said["failed"]] == [(str(broken), "InvalidFeatures")]


def test_equal_names_are_refused_before_anything_is_done(empty: Any, sources: list[str], tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "ant.npy").write_bytes(Path(sources[0]).read_bytes())
    result = empty("ingest", *sources, str(other / "ant.npy"), "--json")
    assert json.loads(result.stdout)["error"]["type"] == "DuplicateName"
    assert json.loads(empty("list", "--json").stdout) == {"models": [], "remarks": []}


def test_where(zoo: Any) -> None:
    def names(*where: str) -> list[str]:
        options = [part for one in where for part in ("--where", one)]
        return [model["name"] for model in json.loads(zoo("list", *options, "--json").stdout)["models"]]

    assert names("tag=insect") == ["ant", "bee"]
    assert names("tag!=insect") == ["cat", "dog"]
    assert names("kind=gan,vae") == ["ant", "bee", "cat", "dog"]
    assert names("tag=animal", "kind=gan") == ["bee", "dog"]
    assert names("tag=insect", "tag=pet") == []
    assert names(r"author=Smith\, J.") == ["ant", "bee", "cat", "dog"]
    assert names("author=Smith, J.") == []


def test_remove_asks_on_a_terminal(empty: Any, sources: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import _NamedTextIOWrapper

    empty("ingest", sources[0])
    monkeypatch.setattr(_NamedTextIOWrapper, "isatty", lambda self: self.name == "<stdin>", raising=False)
    result = empty("remove", "ant", input="n\n")
    assert result.exit_code == 1
    assert "nothing was removed" in result.stderr
    assert empty("remove", "ant", input="y\n").exit_code == 0
    assert json.loads(empty("list", "--json").stdout) == {"models": [], "remarks": []}


@pytest.mark.parametrize(
    "command",
    [["list"], ["show", "ant"], ["search", "--model", "ant"], ["similar", "ant"], ["encoders"], ["index", "status"]],
)
def test_eighty_columns(zoo: Any, command: list[str]) -> None:
    lines = zoo(*command).stdout.splitlines()
    assert lines
    assert max(map(cell_width, lines)) <= 80


def test_wider_where_there_is_room(zoo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = max(map(cell_width, zoo("list").stdout.splitlines()))
    monkeypatch.setenv("COLUMNS", "140")
    assert narrow == 80 < max(map(cell_width, zoo("list").stdout.splitlines())) <= 140


def test_cli_agrees_with_python(zoo: Any, zoo_url: str) -> None:
    searched = json.loads(zoo("search", "--model", "cat", "-k", "3", "--where", "tag=animal", "--json").stdout)
    related = json.loads(zoo("similar", "cat", "-k", "2", "--json").stdout)
    listed = json.loads(zoo("list", "--json").stdout)["models"]
    with Engine.open(zoo_url) as eng:
        hits = eng.search(model="cat", k=3, where={"tag": "animal"})
        near = eng.similar("cat", k=2)
        models = eng.models()
    for said, known in ((searched, hits), (related, near)):
        assert [(hit["rank"], hit["name"], hit["score"]) for hit in said["hits"]] == [
            (hit.rank, hit.name, hit.score) for hit in known
        ]
        assert (said["method"], said["shortlist"], said["left_out"]) == (known.method, known.shortlist, known.left_out)
        assert set(said["timings_ms"]) == set(known.timings_ms)
    assert [model["name"] for model in listed] == [model.name for model in models]
    assert [model["updated_at"] for model in listed] == [
        model.updated_at.isoformat() for model in models if model.updated_at
    ]


def test_index_and_db(zoo: Any) -> None:
    built = json.loads(zoo("index", "build", "--json").stdout)["indexes"]
    assert [(one["encoder"], one["space"], one["models"], one["snapshot"]) for one in built] == [
        ("external:mine", space, 4, "current") for space in ("first_moment", "whitened_first_moment")
    ]
    assert json.loads(zoo("index", "status", "--json").stdout) == {"indexes": built}
    now = json.loads(zoo("db", "current", "--json").stdout)
    assert now["current"] is True
    assert json.loads(zoo("db", "upgrade", "--json").stdout) == {"from": now["head"], "to": now["head"]}
    assert json.loads(zoo("doctor", "--json").stdout) == {"findings": []}


def test_doctor_finds_damage(empty: Any, url: str, sources: list[str]) -> None:
    import sqlite3

    empty("ingest", sources[0])
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE statistics SET covariance = zeroblob(length(covariance))")
    connection.close()
    result = empty("doctor")
    assert result.exit_code == PARTIAL
    assert "damage: ant (external:mine)" in result.stdout


def test_encoders(zoo: Any, run: Any) -> None:
    said = json.loads(zoo("encoders", "--json").stdout)
    assert said["default"] == "external:mine"
    assert [(one["name"], one["models"], one["dimension"]) for one in said["encoders"]] == [("external:mine", 4, 8)]
    alone = json.loads(run("encoders", "--json").stdout)
    assert (alone["default"], alone["encoders"]) == (None, [])
    assert "compact" in [one["name"] for one in alone["known"]]
    assert "no collection" in run("encoders").stderr
