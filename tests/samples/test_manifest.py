"""Manifests: every field, every mistake with its line, and nothing that a file can do to the reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvalidManifest
from engine.samples.manifest import ManifestEntry, ManifestError, is_manifest, read_manifest

FULL = """
defaults:
  samples: 300
  author: nobody
models:
  - name: adventurer
    kind: procedural
    description: Faces.
    tags: [avatar, face]
    author: somebody
    license: CC-BY-4.0
    base_model: null
    links: {homepage: "https://example.org"}
    resolution: 128
    generator: {type: program, command: [draw, "{seed}", "{count}", "{out}"], folder: "."}
    seed: 7
    encoder: compact
    metadata: {year: 2020, day: 2020-01-02}
  - name: x
    source: pictures/x
"""


def write(folder: Path, text: str, name: str = "zoo.yaml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def entries(folder: Path, text: str, name: str = "zoo.yaml") -> list[ManifestEntry]:
    read = read_manifest(write(folder, text, name))
    good = [entry for entry in read if isinstance(entry, ManifestEntry)]
    assert len(good) == len(read), [entry.error.message for entry in read if isinstance(entry, ManifestError)]
    return good


def only_error(folder: Path, entry: str) -> ManifestError:
    (read,) = read_manifest(write(folder, f"- {entry}\n"))
    assert isinstance(read, ManifestError), read
    return read


def test_every_field(tmp_path: Path) -> None:
    first, second = entries(tmp_path, FULL)
    assert (first.name, first.line, first.seed, first.samples, first.encoder) == ("adventurer", 6, 7, 300, "compact")
    command = ["draw", "{seed}", "{count}", "{out}"]
    assert first.source == {"generator": {"type": "program", "command": command, "folder": "."}}
    assert first.details() == {
        "author": "somebody", "base_model": None, "description": "Faces.", "kind": "procedural",
        "license": "CC-BY-4.0", "links": {"homepage": "https://example.org"},
        "metadata": {"year": 2020, "day": "2020-01-02"}, "resolution": 128, "tags": ("avatar", "face"),
    }  # fmt: skip
    assert (second.source, second.samples, second.seed) == (str(tmp_path / "pictures" / "x"), None, None)
    assert second.details() == {"author": "nobody"}, "only what is said of it"


def test_json_lines_read_as_yaml_does(tmp_path: Path) -> None:
    from_yaml = entries(tmp_path, FULL)
    models = yaml.safe_load(FULL)
    lines = [json.dumps({**models["defaults"], **model}, default=str) for model in models["models"]]
    from_lines = entries(tmp_path, "\ufeff" + "\n\n".join(lines) + "\n", "zoo.jsonl")
    assert [entry.line for entry in from_lines] == [1, 3]
    assert [(e.name, e.source, e.details()) for e in from_lines] == [(e.name, e.source, e.details()) for e in from_yaml]


def test_a_plain_list(tmp_path: Path) -> None:
    assert [entry.name for entry in entries(tmp_path, "[{name: a, source: a}, {name: b, source: /b}]")] == ["a", "b"]


@pytest.mark.parametrize("source", ["python:module:draw", "program:draw {seed} {count} {out}", "diffusers:a/b"])
def test_schemes_are_not_paths(tmp_path: Path, source: str) -> None:
    assert entries(tmp_path, f"- {{name: a, source: '{source}'}}")[0].source == source


def test_paths_are_relative_to_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    path = write(tmp_path / "sub", "- {name: a, source: ../pictures}\n- {name: b, source: /abs}\n")
    monkeypatch.chdir(tmp_path)
    first, second = read_manifest(path.relative_to(tmp_path))
    assert isinstance(first, ManifestEntry)
    assert isinstance(second, ManifestEntry)
    assert Path(str(first.source)).resolve() == tmp_path / "pictures"
    assert second.source == "/abs"


def test_both_spellings_of_licence(tmp_path: Path) -> None:
    assert entries(tmp_path, "- {name: a, source: a, licence: MIT}")[0].license == "MIT"
    text = "defaults: {licence: MIT}\nmodels:\n- {name: a, source: a, license: BSD}\n- {name: b, source: b}"
    assert [entry.license for entry in entries(tmp_path, text)] == ["BSD", "MIT"]
    assert "not both" in only_error(tmp_path, "{name: a, source: a, licence: MIT, license: MIT}").error.message


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("just text", "an entry is a mapping"),
        ("[a, list]", "an entry is a mapping"),
        ("{source: a}", "no name"),
        ("{name: '', source: a}", "name must be text"),
        ("{name: 3, source: a}", "name must be text"),
        ("{name: no, source: a}", "name must be text"),
        ("{name: a, source: a, colour: red}", "unknown key 'colour'"),
        ("{name: a, source: a, 3: red}", "unknown key '3'"),
        ("{name: a}", "neither 'source' nor 'generator'"),
        ("{name: a, source: a, generator: {type: onnx}}", "both 'source' and 'generator'"),
        ("{name: a, source: 3}", "source must be a path"),
        ("{name: a, source: ''}", "source must be a path"),
        ("{name: a, generator: onnx}", "generator must be a mapping"),
        ("{name: a, source: a, tags: avatar}", "tags must be a list"),
        ("{name: a, source: a, tags: [1]}", "tags must be a list"),
        ("{name: a, source: a, author: [b]}", "author must be text"),
        ("{name: a, source: a, links: [b]}", "links must be a mapping"),
        ("{name: a, source: a, links: {b: 3}}", "links must map texts to texts"),
        ("{name: a, source: a, resolution: big}", "resolution must be a whole number"),
        ("{name: a, source: a, resolution: true}", "resolution must be a whole number"),
        ("{name: a, source: a, samples: 0}", "samples must be a whole number of at least 1"),
        ("{name: a, source: a, seed: -1}", "seed must be a whole number of at least 0"),
        ("{name: a, source: a, metadata: 3}", "metadata must be a mapping"),
        ("{name: a, source: a, metadata: {x: .nan}}", "not JSON"),
        ("{name: a, source: a, metadata: {x: !!binary aGk=}}", "not JSON"),
        ("{name: a, source: a, metadata: {1: x}}", "metadata must be a mapping with text keys"),
        ("{name: a, source: a, name: b}", "'name' stands there twice"),
        ("{name: a, source: a, metadata: {x: 1, x: 2}}", "'x' stands there twice"),
        ("{name: a, source: a, author: !!python/object/apply:os.getcwd []}", "could not determine a constructor"),
        ("{name: a, source: ~nobody-by-this-name/x}", "home folder"),
    ],
)
def test_every_mistake_is_told_with_its_line(tmp_path: Path, entry: str, reason: str) -> None:
    read = read_manifest(
        write(tmp_path, f"# a comment\n- {{name: good, source: g}}\n- {entry}\n- {{name: z, source: z}}\n")
    )
    assert [type(item) for item in read] == [ManifestEntry, ManifestError, ManifestEntry]
    bad = read[1]
    assert isinstance(bad, ManifestError)
    assert bad.line == 3
    assert bad.error.message.startswith("line 3: ")
    assert reason in bad.error.message


def test_bad_json_lines_are_told_one_by_one(tmp_path: Path) -> None:
    good = '{"name": "a", "source": "a"}'
    bad = [
        "{",
        '{"name": "b", "source": "b"} trailing',
        '{"name": NaN}',
        '{"name": "c", "name": "c"}',
        "[" * 100_000,
        "3",
    ]
    path = tmp_path / "zoo.jsonl"
    path.write_bytes(
        "\n".join([good, *bad]).encode() + b"\n" + b'{"name": "\xff"}\n' + good.replace("a", "z", 2).encode()
    )
    read = read_manifest(path)
    assert [type(item) for item in read[1:-1]] == [ManifestError] * 7
    assert [item.line for item in read] == list(range(1, 10))


def test_names_are_given_once(tmp_path: Path) -> None:
    text = "- {name: a, source: a}\n- {name: b, source: b}\n- {name: a, source: c}\n"
    *_, last = read_manifest(write(tmp_path, text))
    assert isinstance(last, ManifestError)
    assert (last.line, last.name) == (3, "a")
    assert "line 1" in last.error.message


def test_the_name_of_a_bad_entry_is_known_where_it_has_one(tmp_path: Path) -> None:
    assert only_error(tmp_path, "{name: a}").name == "a"
    assert only_error(tmp_path, "{name: [a], source: a}").name is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("# nothing", "empty"),
        ("[]", "lists no models"),
        ("models: []", "lists no models"),
        ("models: 3", "a manifest is a list"),
        ("just text", "a manifest is a list"),
        ("name: a\nsource: b", "'models' and perhaps 'defaults'"),
        ("models: []\nmodels: []", "'models' and perhaps"),
        ("{[a]: b, models: []}", "'models' and perhaps"),
        ("defaults: 3\nmodels: [{name: a}]", "'defaults' must be a mapping"),
        ("defaults: {name: a}\nmodels: [{name: a}]", "'defaults' cannot hold 'name'"),
        ("defaults: {colour: a}\nmodels: [{name: a}]", "'defaults' cannot hold 'colour'"),
        ("- {name: a", "not YAML"),
        ("- *nowhere", "not YAML"),
        ("a: b\n---\nc: d", "not YAML"),
        ("- \t x: \0", "not YAML"),
        ("[" * 3000, "not YAML"),
    ],
)
def test_files_that_are_no_manifest(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(InvalidManifest, match=reason):
        read_manifest(write(tmp_path, text))


@pytest.mark.parametrize("merged", [False, True])
def test_aliases_that_grow_without_bound(tmp_path: Path, merged: bool) -> None:
    lines = ["a0: &a0 {x: 1}" if merged else "a0: &a0 [x]"]
    for i in range(1, 40):
        twice = f"*a{i - 1}, *a{i - 1}"
        lines.append(f"a{i}: &a{i} {{<<: [{twice}], k{i}: 1}}" if merged else f"a{i}: &a{i} [{twice}]")
    text = "- name: a\n  source: a\n  metadata:\n" + "".join(f"    {line}\n" for line in lines)
    bad, good = read_manifest(write(tmp_path, text + "- {name: b, source: b}\n"))
    assert isinstance(bad, ManifestError)
    assert "aliases" in bad.error.message
    assert isinstance(good, ManifestEntry)


def test_entries_that_grow_together_without_bound(tmp_path: Path) -> None:
    lists = "".join(f"    a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10 if i else 'x')}]\n" for i in range(6))
    text = f"- name: a\n  source: a\n  metadata: &m\n{lists}"
    text += "".join(f"- {{name: b{i}, source: a, metadata: *m}}\n" for i in range(20))
    with pytest.raises(InvalidManifest, match="aliases"):
        read_manifest(write(tmp_path, text))


LONG = "9" * 4000
BAD = {
    "unknown type": "!!python/object:os.system x", "boolean": "!!bool perhaps", "date": "!!timestamp soon",
    "number": "!!int ''", "binary": "!!binary é", "key": "{[1]: 2}", "merge": "{<<: 3}", "hexadecimal": f"0x{LONG}",
    "decimal": LONG, "deep": "[" * 100 + "]" * 100, "inside itself": "&a [*a]", "set": "!!set {a, b}",
    "omap": "!!omap [1]", "pairs": "!!pairs 3", "infinite": ".inf", "null key": "{~: 1}",
}  # fmt: skip


@pytest.mark.parametrize("key", ["samples", "metadata", "links", "tags", "name", "source", "generator", "unknown"])
@pytest.mark.parametrize("value", BAD.values(), ids=BAD)
def test_a_bad_value_anywhere_is_one_bad_entry(tmp_path: Path, key: str, value: str) -> None:
    entry = {"name": "a", "source": "a", key: value}
    text = "".join(f"{'- ' if not i else '  '}{name}: {said}\n" for i, (name, said) in enumerate(entry.items()))
    bad, good = read_manifest(write(tmp_path, text + "- {name: good, source: b}\n"))
    assert isinstance(good, ManifestEntry)
    if isinstance(bad, ManifestError):
        assert bad.error.message.startswith("line 1: ")


@pytest.mark.parametrize("number", [2**31, 2**63, 10**23, -1, True, 1.5, "9"], ids=repr)
@pytest.mark.parametrize("key", ["samples", "seed", "resolution"])
@pytest.mark.parametrize("name", ["zoo.yaml", "zoo.jsonl"])
def test_a_number_out_of_range_is_one_bad_entry(tmp_path: Path, key: str, number: Any, name: str) -> None:
    given = [{"name": "a", "source": "a", key: number}, {"name": "b", "source": "b", key: 2**31 - 1}]
    text = json.dumps(given) if name == "zoo.yaml" else "\n".join(map(json.dumps, given))
    bad, good = read_manifest(write(tmp_path, text, name))
    assert isinstance(bad, ManifestError)
    assert f"{key} must be a whole number of at least" in bad.error.message
    assert isinstance(good, ManifestEntry)
    assert getattr(good, key) == 2**31 - 1


@pytest.mark.parametrize("name", ["zoo.yaml", "zoo.jsonl"])
def test_mappings_of_many_keys(tmp_path: Path, name: str) -> None:
    many = {f"key{i}": i for i in range(20_000)}
    text = json.dumps({"name": "a", "source": "a", "metadata": many})
    (entry,) = entries(tmp_path, f"- {text}" if name == "zoo.yaml" else text, name)
    assert entry.metadata == many


def test_honest_aliases_work(tmp_path: Path) -> None:
    text = "- &a {name: a, source: a, tags: &t [x, y]}\n- {<<: *a, name: b}\n- {name: c, source: c, tags: *t}\n"
    assert [(entry.name, entry.tags) for entry in entries(tmp_path, text)] == [(name, ("x", "y")) for name in "abc"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidManifest, match="no manifest"):
        read_manifest(tmp_path / "absent.yaml")
    with pytest.raises(InvalidManifest, match="no manifest"):
        read_manifest(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"- {name: \xe9, source: a}")
    with pytest.raises(InvalidManifest, match="not YAML"):
        read_manifest(tmp_path / "latin.yaml")
    with open(tmp_path / "large.yaml", "wb") as stream:
        stream.truncate(65 * 2**20)
    with pytest.raises(InvalidManifest, match="more than 67108864 bytes"):
        read_manifest(tmp_path / "large.yaml")


def test_is_manifest(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.YML", "c.jsonl", "d.ndjson"):
        assert is_manifest(write(tmp_path, "", name))
    assert not is_manifest(write(tmp_path, "", "e.txt"))
    assert not is_manifest(tmp_path / "absent.yaml")
    (tmp_path / "folder.yaml").mkdir()
    assert not is_manifest(str(tmp_path / "folder.yaml"))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [*"abc", "name", "source", "generator", "tags", "links", "samples", "seed", "metadata", "license"]
)
ENTRIES = st.lists(st.dictionaries(KEYS, VALUES, max_size=6) | VALUES, min_size=1, max_size=4)


@given(ENTRIES)
def test_any_values_give_entries_or_typed_errors(
    tmp_path_factory: pytest.TempPathFactory, given_entries: list[Any]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    lines = "\n".join(json.dumps(entry) for entry in given_entries)
    read = read_manifest(write(folder, lines, "any.jsonl"))
    assert len(read) == len(given_entries)
    same = read_manifest(write(folder, yaml.safe_dump(given_entries), "any.yaml"))
    assert len(same) == len(given_entries)
    for item in (*read, *same):
        if isinstance(item, ManifestEntry):
            json.dumps([item.source, item.details()], allow_nan=False)


@given(st.text(max_size=60) | st.text(alphabet="-[]{}:,&*!|>'\"# \n\tab<", max_size=40))
def test_any_text_gives_entries_or_a_typed_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    for name in ("text.yaml", "text.jsonl"):
        path = tmp_path_factory.getbasetemp() / name
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            assert read_manifest(path)
        except InvalidManifest:
            continue
