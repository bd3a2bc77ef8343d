"""Folders and archives that hold the pictures of several models, or a model's weights: refused, not blended.

What a folder is like is judged where its pictures branch: folders that hold one folder and nothing else are passed
through. Pictures in one folder are one model. Pictures in two or more, or in a folder and folders inside it, may be
several models, or drafts, previews and rejects beside the real samples: nobody but the user knows.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from engine.errors import InvalidInput, SourceNotFound
from engine.samples.decode import SUFFIXES
from engine.samples.labels import name_to_bytes, name_to_label

WEIGHTS = frozenset({".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf"})
MODEL_INDEX = "model_index.json"
"""What a folder of a diffusion model holds."""
LOOKED_AT = 20_000
LOOKED_AT_EACH = 2_000
"""Entries that a first look reads, of all folders and of each: what is refused is refused soon."""
NAMED = 3


def is_weights(name: str) -> bool:
    """Whether a file is taken for a model's weights, by its name."""
    return os.path.splitext(name)[1].lower() in WEIGHTS or name.rpartition("/")[2].lower() == MODEL_INDEX


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a loop of links: as a file it is refused with a reason, if it is named like a picture
        return False


@dataclass
class Look:
    """Relative paths of pictures and weights in a folder, and whether these are all."""

    pictures: list[str] = field(default_factory=list)
    weights: list[str] = field(default_factory=list)
    whole: bool = True

    def take(self, entry: os.DirEntry[str], prefix: str) -> bool:
        """Note a picture or weights; whether the entry is a folder to look into. Hidden entries are neither."""
        if entry.name.startswith("."):
            return False
        if is_folder(entry):
            return True
        if os.path.splitext(entry.name)[1].lower() in SUFFIXES:
            self.pictures.append(prefix + entry.name)
        elif is_weights(entry.name):
            self.weights.append(prefix + entry.name)
        return False


def look(folder: Path, most: int = LOOKED_AT, most_each: int = LOOKED_AT_EACH) -> Look:
    """The first entries of a folder and of those inside it, level by level; hidden ones are passed over."""
    found, read = Look(), 0
    waiting = deque([(folder, "")])
    seen: set[tuple[int, int]] = set()
    while waiting and read < most:
        here, prefix = waiting.popleft()
        try:
            status = os.stat(here)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(here) as listing:
                for number, entry in enumerate(listing):
                    if number == most_each:
                        found.whole = False
                        break
                    read += 1
                    if found.take(entry, prefix):
                        waiting.append((here / entry.name, f"{prefix}{entry.name}/"))
        except OSError:  # whoever lists everything says why
            found.whole = False
    found.whole = found.whole and not waiting
    return found


def check_one(what: str, found: Look, *, unpacked: bool = True) -> None:
    """Refuse what looks like several models' pictures, or like a model's weights.

    Args:
        what: how a message names it.
        unpacked: whether it is a folder, not an archive.

    Raises:
        InvalidInput: with what it looks like, and the choice.
    """
    more = "" if found.whole else "at least "
    as_one = (
        "--as-one (as_one=True from Python, as_one: true in a manifest or an upload) takes all its "
        "pictures as one model"
    )
    if found.weights:
        raise InvalidInput(
            f"{what} holds a model's weights, not its samples: {more}{_listed(found.weights, 'file')}",
            hint=f"draw samples first, or give a decoder as .onnx or diffusers:FOLDER; {as_one}",
        )
    own, folders = _branches(found.pictures)
    if len(folders) + bool(own) < 2:
        return
    beside = f", and {more}{own} beside them" if own else ""
    each = (
        "--each (Engine.ingest_each) makes each sub-folder a model, named by it"
        if unpacked
        else "or unpack it, and --each makes each sub-folder a model"
    )
    raise InvalidInput(
        f"{what} looks like several models: its pictures lie in {more}{_listed(folders, 'sub-folder')}{beside}",
        hint=f"{as_one}; {each}",
    )


def folder_to_folders(folder: Path) -> list[Path]:
    """The folders directly in a folder, in the byte order of their names; hidden ones are left out.

    Raises:
        SourceNotFound: there is no such folder, or it cannot be listed.
        InvalidInput: there are none in it.
    """
    label = name_to_label(str(folder))
    try:
        with os.scandir(folder) as listing:
            names = [entry.name for entry in listing if is_folder(entry) and not entry.name.startswith(".")]
    except OSError as exc:
        raise SourceNotFound(f"the folder {label} cannot be listed: {exc.strerror}") from exc
    if not names:
        raise InvalidInput(f"the folder {label} has no sub-folders", hint="without --each, it is one model")
    return [folder / name for name in sorted(names, key=name_to_bytes)]


def count_beside(folder: Path) -> int:
    """How many pictures lie directly in a folder, beside those inside it."""
    with os.scandir(folder) as listing:
        return sum(
            not entry.name.startswith(".") and os.path.splitext(entry.name)[1].lower() in SUFFIXES and entry.is_file()
            for entry in listing
        )


def _branches(pictures: Iterable[str]) -> tuple[int, Counter[str]]:
    """Where pictures first lie in more than one folder: how many in that folder itself, and in those inside it."""
    names = list(pictures)
    while True:
        folders = Counter(name.partition("/")[0] for name in names if "/" in name)
        own = sum("/" not in name for name in names)
        if own or len(folders) != 1:
            return own, folders
        names = [name.partition("/")[2] for name in names]


def _listed(names: Collection[str], what: str) -> str:
    first = ", ".join(name_to_label(name) for name in sorted(names, key=name_to_bytes)[:NAMED])
    rest = ", …" if len(names) > NAMED else ""
    return f"{len(names)} {what}{'' if len(names) == 1 else 's'} ({first}{rest})"
