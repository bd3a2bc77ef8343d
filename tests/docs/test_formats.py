"""docs/formats.md is true: its manifests parse, its keys are all the keys, its JSON is what is printed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from engine.cli import app
from engine.evaluation import QUERY_KEYS, read_queries
from engine.samples.generators import GENERATORS
from engine.samples.manifest import ManifestEntry, read_manifest
from engine.samples.manifest_entry import ENTRY_KEYS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^##+ (.+?)\n(.*?)(?=^##+ |\Z)", PAGE, flags=re.M | re.S))
FREE = {"links", "metadata", "source", "parts", "timings_ms"}


def blocks(section: str, language: str) -> list[str]:
    """The code blocks of a section in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", SECTIONS[section], flags=re.M | re.S)


@pytest.mark.parametrize(("language", "count"), [("yaml", 5), ("jsonl", 2)])
def test_manifest_examples_parse(language: str, count: int, tmp_path: Path) -> None:
    (block,) = blocks("Manifests", language)
    path = tmp_path / f"zoo.{language}"
    path.write_text(block, encoding="utf-8")
    entries = [entry for entry in read_manifest(path) if isinstance(entry, ManifestEntry)]
    assert len(entries) == count
    if language == "yaml":
        by_name = {entry.name: entry.details() for entry in entries}
        assert by_name["faces-small"]["tags"] == ("avatar",)
        assert by_name["features-from-elsewhere"]["license"] is None


def test_every_key_is_documented() -> None:
    assert [key for key in ENTRY_KEYS if f"`{key}`" not in SECTIONS["Manifests"]] == []


def test_every_generator_is_documented() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| .* \| (needed|not needed) \|$", SECTIONS["Generators"], flags=re.M))
    assert rows == {name: "needed" if adapter.runs_code else "not needed" for name, adapter in GENERATORS.items()}


def test_generator_options_exist() -> None:
    """Each option named on the page is one that its generator knows."""
    from engine.errors import InvalidManifest
    from engine.samples.generators import options_to_generator

    for name in GENERATORS:
        with pytest.raises(InvalidManifest, match="has no option 'nonsense'") as caught:
            options_to_generator({"type": name, "nonsense": 1}, trust=True)
        hint = caught.value.hint or ""
        allowed = set(hint.removeprefix("its options are ").split(", ")) - {"batch"}
        (row,) = re.findall(rf"^\| `{name}` \| (.*) \| (?:not )?needed \|$", SECTIONS["Generators"], flags=re.M)
        outside = re.sub(r"\([^)]*\)", "", row)
        assert set(re.findall(r"`(\w+)`", outside)) == allowed


def test_judged_queries_example(tmp_path: Path) -> None:
    (block,) = blocks("Judged queries", "jsonl")
    for name in re.findall(r"queries/(\S+\.png)", block):
        (tmp_path / "queries").mkdir(exist_ok=True)
        (tmp_path / "queries" / name).touch()
    (tmp_path / "judged.jsonl").write_text(block, encoding="utf-8")
    judged = read_queries(tmp_path / "judged.jsonl")
    assert [query.modality for query in judged] == ["image", "sketch", "text", "image+text", "image"]
    assert judged[-1].models == ("foxes", "ink-foxes")
    assert [key for key in QUERY_KEYS if f"`{key}`" not in SECTIONS["Judged queries"]] == []


def shape(value: Any, name: str = "") -> Any:
    """Keys, and the shape of a list's first item; free-form mappings by themselves."""
    if isinstance(value, dict):
        return name if name in FREE else {key: shape(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value and isinstance(value[0], dict) else []
    return None


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each command really prints."""
    folder = tmp_path_factory.mktemp("formats")
    database = ["--json", "--database", f"sqlite:///{folder / 'zoo.db'}"]
    rng = np.random.default_rng(0)
    for name in ("foxes", "owls"):
        np.save(folder / f"{name}.npy", rng.normal(size=(20, 4)).astype(np.float32))

    def run(*arguments: str) -> Any:
        return json.loads(CliRunner().invoke(app, [*arguments, *database]).stdout)

    run("init", "--encoder", "external:my-clip")
    sources = [str(folder / f"{name}.npy") for name in ("foxes", "owls", "gone")]
    commands = {
        "ingest": sources, "list": [], "search": ["--model", "owls"], "similar": ["owls"], "encoders": [],
        "index build": [], "index status": [],
    }  # fmt: skip
    return {name: run(*name.split(), *arguments) for name, arguments in commands.items()} | {"Errors": run("show", "x")}


@pytest.mark.parametrize("command", ["list", "search", "ingest", "encoders", "index status", "Errors"])
def test_json_examples_have_the_printed_shape(command: str, printed: dict[str, Any]) -> None:
    (block,) = blocks(command if command == "Errors" else f"`engine {command}`", "json")
    assert shape(json.loads(block)) == shape(printed[command])


def test_commands_that_print_the_same(printed: dict[str, Any]) -> None:
    assert shape(printed["similar"]) == shape(printed["search"])
    assert printed["index build"] == printed["index status"]
