"""What a generator's record names on this machine, found without running or importing any of it, and its digests.

Two digests: of the record alone, which opens no file, and of the record with the content of the files that it names.
These are the files among a program's arguments and the words in these (``sh -c "python draw.py"``), a Python module's
file with those of its packages, an ONNX model with its weights, and a diffusion model's folder. What these files load
in their turn, and a program that is found on the PATH, are not among them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

from engine.errors import GeneratorError, InvalidImage, SourceNotFound
from engine.samples.folder import file_to_digest
from engine.samples.generators import GENERATORS
from engine.samples.generators.onnx_weights import external_weights
from engine.samples.generators.options import resolved
from engine.samples.generators.python import GROUP
from engine.samples.labels import name_to_label

MOST_FILES = 10_000
"""That a folder may hold: a model's has some tens."""
LARGE = 64 * 2**20
"""Bytes from which a file in a diffusion model's folder, which can only be weights, counts by size and time alone."""
RECENT = 2 * 10**9
"""Nanoseconds within which a file may change twice and keep its times: its digest is not remembered yet."""
WORD = re.compile(r"""[^\s'"=;|&<>()`$]+""")
"""What a shell's operators and an option's ``=`` leave together."""
SUFFIXES = (".json", ".safetensors", ".txt", ".model")
"""What a pipeline reads."""


def record_digest(record: Mapping[str, Any]) -> str:
    """SHA-256 of a record as JSON."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


def content_digest(record: Mapping[str, Any]) -> str:
    """SHA-256 of a record, of where it leads on this machine, and of the files there.

    Raises:
        SourceNotFound, GeneratorError: as ``named_files``.
    """
    total = hashlib.sha256(record_digest(record).encode())
    by_size = LARGE if record.get("type") == "diffusers" else None
    for path in named_files(record):
        total.update(f"\n{path}\0{_mark(path, by_size)}".encode("utf-8", "surrogatepass"))
    return total.hexdigest()


def named_files(record: Mapping[str, Any]) -> list[Path]:
    """The files and the folder that a record names, by absolute paths.

    Raises:
        SourceNotFound: the decoder, the module or the folder is not there.
        GeneratorError: a decoder's weights are outside its folder; the type is unknown; a folder has too many files.
    """
    kind = record.get("type")
    if kind == "program":
        return _program(record)
    if kind == "python":
        written = record.get("path")
        return _module(str(record.get("entry")), None if written is None else resolved(str(written), None))
    if kind == "onnx":
        path = resolved(str(record.get("path")), None)
        if not path.is_file():
            raise SourceNotFound(f"there is no ONNX file {name_to_label(str(path))}")
        return [path, *external_weights(path)]
    if kind == "diffusers":
        folder = resolved(str(record.get("model")), None)
        return [folder, *_listed(folder)] if folder.is_dir() else []
    raise GeneratorError(
        f"a generator of type {kind!r:.80} cannot be built again", hint=f"types are {', '.join(GENERATORS)}"
    )


def _program(record: Mapping[str, Any]) -> list[Path]:
    folder = resolved(str(record.get("folder") or "."), None)
    if not folder.is_dir():
        raise SourceNotFound(f"the program's folder {name_to_label(str(folder))} is not there")
    command = record.get("command")
    parts = [command] if isinstance(command, str) else command or []
    words = chain.from_iterable(_words(str(part)) for part in parts)
    return [folder, *dict.fromkeys(folder / word for word in words if _is_file(folder / word))]


def _words(argument: str) -> list[str]:
    """What of an argument may be a file: all of it, the words of a shell's command line, an option's value."""
    words = {argument: None, **dict.fromkeys(WORD.findall(argument))}
    return [word for word in words if word]


def _module(entry: str, path: Path | None) -> list[Path]:
    """The files of a module and of the packages that it is in, as importing it would find them."""
    if ":" not in entry:
        entry = next((point.value for point in entry_points(group=GROUP, name=entry)), entry)
    places: Iterable[str] | None = None if path is None else [str(path), *sys.path]
    files = []
    for name in accumulate(entry.partition(":")[0].split("."), "{}.{}".format):
        spec = _spec(name, places)
        if spec is None:
            raise SourceNotFound(
                f"there is no module {name!r:.200}", hint="install it, or go to the folder that it was found from"
            )
        if spec.origin is not None and _is_file(Path(spec.origin)):
            files.append(Path(spec.origin).absolute())
        places = spec.submodule_search_locations or ()
    return files


def _spec(name: str, places: Iterable[str] | None) -> ModuleSpec | None:
    """Where a module is; ``importlib.util.find_spec`` would import the packages above it."""
    for finder in sys.meta_path:
        found = finder.find_spec(name, None if places is None else list(places))
        if found is not None:
            return found
    return None


def _listed(folder: Path) -> list[Path]:
    found: list[Path] = []
    for path in folder.rglob("*"):
        if path.suffix in SUFFIXES and path.is_file():
            found.append(path)
        if len(found) > MOST_FILES:
            raise GeneratorError(
                f"the folder {name_to_label(str(folder))} has more than {MOST_FILES} files", hint="it is no model's"
            )
    return sorted(found)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # no name that a file can have
        return False


def _mark(path: Path, by_size: int | None) -> str:
    """What changes when a file's content does."""
    try:
        said = os.stat(path)
        if path.is_dir():
            return "folder"
        if by_size is not None and said.st_size > by_size:
            return f"{said.st_size} bytes, {said.st_mtime_ns}"
        as_of = (said.st_dev, said.st_ino, said.st_size, said.st_mtime_ns, said.st_ctime_ns)
        if time.time_ns() - max(as_of[3:]) < RECENT:
            return file_to_digest(path)
        return _file_digest(path, *as_of)
    except (InvalidImage, OSError):
        return "unreadable"


@lru_cache(4096)
def _file_digest(path: Path, *_as_of: int) -> str:
    return file_to_digest(path)
