"""The text of a manifest to plain values with the lines they stand on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from engine.errors import InvalidManifest

MOST_NODES = 2_000_000
"""Values that a YAML file may stand for once its aliases are written out."""
DEEPEST = 50
"""Levels of nesting."""


@dataclass(frozen=True)
class Raw:
    """One entry's value, or why it has none."""

    line: int
    value: Any = None
    error: str | None = None


Parsed = tuple[dict[str, Any], list[Raw]]
"""(defaults, entries)."""


def jsonl_to_raw(data: bytes) -> Parsed:
    """JSON Lines: one entry a line, blank lines passed over. A line that cannot be read is an entry with an error."""
    raws = []
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line, parse_constant=_no_constant, object_pairs_hook=_unique)
            raws.append(Raw(number, value))
        except Exception as exc:  # ValueError, RecursionError, MemoryError …
            raws.append(Raw(number, error=f"not a line of JSON: {exc}"))
    return {}, raws


def yaml_to_raw(data: bytes) -> Parsed:
    """YAML: a list of entries, or a mapping with ``models`` and perhaps ``defaults``.

    Raises:
        InvalidManifest: it is not YAML, is laid out otherwise, or its entries together grow beyond bounds.
    """
    try:
        text = data.decode("utf-8-sig")
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
    except Exception as exc:  # YAMLError, UnicodeDecodeError, RecursionError, IndexError …
        raise InvalidManifest(f"the manifest is not YAML: {' '.join(str(exc).split())}") from exc
    if root is None:
        raise InvalidManifest("the manifest is empty", hint="write a list, or models: with a list under it")
    known: dict[int, int] = {}
    defaults: dict[str, Any] = {}
    if isinstance(root, yaml.MappingNode):
        root, defaults = _split(loader, root, known)
    if not isinstance(root, yaml.SequenceNode):
        raise InvalidManifest(
            "a manifest is a list of models, or a mapping with 'models' and 'defaults'", hint="see docs: manifests"
        )
    raws, total = [], 0
    for node in root.value:
        raws.append(_node_to_raw(loader, node, known))
        total += known.get(id(node), 0)
        if total > MOST_NODES:
            raise InvalidManifest(f"the manifest's aliases stand for more than {MOST_NODES} values")
    return defaults, raws


def _split(loader: yaml.SafeLoader, root: yaml.MappingNode, known: dict[int, int]) -> tuple[yaml.Node, dict[str, Any]]:
    parts = {key.value: value for key, value in root.value if isinstance(key, yaml.ScalarNode)}
    unknown = parts.keys() - {"models", "defaults"}
    if unknown or "models" not in parts or len(parts) != len(root.value):
        got = ", ".join(sorted(map(str, parts))) or "neither"
        raise InvalidManifest(f"a manifest has 'models' and perhaps 'defaults', got {got:.200}")
    if "defaults" not in parts:
        return parts["models"], {}
    raw = _node_to_raw(loader, parts["defaults"], known)
    if raw.error is not None or not isinstance(raw.value, dict):
        raise InvalidManifest(f"'defaults' must be a mapping: {raw.error or type(raw.value).__name__}")
    return parts["models"], raw.value


def _node_to_raw(loader: yaml.SafeLoader, node: yaml.Node, known: dict[int, int]) -> Raw:
    line = node.start_mark.line + 1
    try:
        _measure(node, known, set(), 1)
        for mapping in _mappings(node):
            counts = Counter(key.value for key, _ in mapping.value if isinstance(key, yaml.ScalarNode))
            twice = {key for key, count in counts.items() if count > 1 and key != "<<"}
            if twice:
                return Raw(line, error=f"the key {', '.join(map(repr, sorted(twice)[:5]))} stands there twice")
        value = loader.construct_object(node, deep=True)
    except Exception as exc:  # YAMLError, ValueError, and what PyYAML lets through: KeyError of !!bool, IndexError …
        return Raw(line, error=" ".join(str(exc).split()) or type(exc).__name__)
    return Raw(line, value)


def _mappings(node: yaml.Node) -> Iterator[yaml.MappingNode]:
    """Every mapping under a node, each once, however often an alias names it."""
    seen: set[int] = set()
    waiting = [node]
    while waiting:
        here = waiting.pop()
        if id(here) in seen:
            continue
        seen.add(id(here))
        if isinstance(here, yaml.MappingNode):
            yield here
            waiting.extend(child for pair in here.value for child in pair)
        elif isinstance(here, yaml.SequenceNode):
            waiting.extend(here.value)


def _measure(node: yaml.Node, known: dict[int, int], above: set[int], depth: int) -> int:
    """Values that a node stands for with its aliases written out, each node counted once.

    Raises:
        InvalidManifest: too many, nested too deeply, or a node inside itself.
    """
    if id(node) in above or depth > DEEPEST:
        raise InvalidManifest("it is nested too deeply, or has an alias inside what it names")
    if id(node) not in known:
        total = 1
        if isinstance(node, (yaml.MappingNode, yaml.SequenceNode)):
            pairs = isinstance(node, yaml.MappingNode)
            children = [child for pair in node.value for child in pair] if pairs else node.value
            total += sum(_measure(child, known, above | {id(node)}, depth + 1) for child in children)
        if total > MOST_NODES:
            raise InvalidManifest(f"its aliases stand for more than {MOST_NODES} values")
        known[id(node)] = total
    return known[id(node)]


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands there twice")
    return result
