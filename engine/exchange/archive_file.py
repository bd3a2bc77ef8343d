"""The archive file: what its members are called and hold, and the reading of it, in which nothing is believed.

A zip file (docs/archive-format.md) whose members are *stored*, not compressed: so a member can claim no more bytes than
the file has, any of them can be read by itself, and 64-bit sizes are part of the format. Members are found by names
that the reader makes up, and never written to disk under names that the archive gives.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import InvalidArchive, SourceNotFound

FORMAT = "engine-archive"
VERSION = 1
MANIFEST = "manifest.json"
ENCODERS, TRANSFORMS = "encoders.jsonl", "transforms.jsonl"
PARTS = ("models", "statistics", "features", "thumbnails")
"""The members of a block of models: one of JSON Lines, three of safetensors."""
MEMBER = re.compile(
    r"manifest\.json|(encoders|transforms)\.jsonl|models/\d{6}\.jsonl|(statistics|features|thumbnails|transforms)/\d{6}\.safetensors"
)
MOST_BYTES = 2**30
"""Of one member: it is read whole."""
MOST_MANIFEST = 2**26
COUNTS = ("models", "statistics", "sample_features", "thumbnails", "encoders", "transforms", "blocks")
CUT = "it is damaged or was not written to its end; nothing was imported"


def block_member(part: str, number: int) -> str:
    """What a block's member is called."""
    return f"{part}/{number:06d}." + ("jsonl" if part == "models" else "safetensors")


def manifest_digest(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of everything else that a manifest says."""
    said = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


class ArchiveFile:
    """An archive that is open, and whose list of members has been checked. A context manager."""

    def __init__(self, path: Path) -> None:
        """Open it and check everything that can be checked without reading the members.

        Raises:
            SourceNotFound: there is no such file.
            InvalidArchive: it is none, it is damaged, or a newer engine wrote it.
        """
        if not path.is_file():
            raise SourceNotFound(f"there is no file {path}", hint="give an archive that engine export wrote")
        self.label = path.name
        self._size = path.stat().st_size
        try:
            self._zip = zipfile.ZipFile(path)
        except Exception as error:  # zipfile lets struct.error, NotImplementedError and others through
            raise InvalidArchive(f"{self.label} is not an archive of engine's: {error}", hint=CUT) from error
        try:
            self.manifest = self._read_manifest()
            self._check_members()
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> ArchiveFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    @property
    def counts(self) -> Mapping[str, int]:
        """How many of everything it says it has."""
        counts: dict[str, int] = self.manifest["counts"]
        return counts

    @property
    def default_encoder(self) -> str | None:
        """The default encoder of the collection that was exported, if it had one."""
        name = self.manifest.get("default_encoder")
        return name if isinstance(name, str) and name else None

    def read(self, name: str) -> bytes:
        """A member, whole, after verifying its checksum; empty if there is none of that name.

        Raises:
            InvalidArchive: it does not match.
        """
        expected = self.manifest["members"].get(name)
        if expected is None:
            return b""
        data = self._bytes(name)
        if len(data) != expected["size"] or hashlib.sha256(data).hexdigest() != expected["sha256"]:
            raise self.wrong(f"{name} does not match its checksum")
        return data

    def lines(self, name: str) -> list[dict[str, Any]]:
        """A member of JSON Lines.

        Raises:
            InvalidArchive: it does not match its checksum, or is not that.
        """
        try:
            if name not in self.manifest["members"]:
                raise self.wrong(f"it has no {name}")
            found = [json.loads(line) for line in self.read(name).decode("utf-8").split("\n") if line]
        except InvalidArchive:
            raise
        except (ValueError, RecursionError) as error:
            raise self.wrong(f"{name} cannot be read: {error}") from error
        if not all(isinstance(line, dict) for line in found):
            raise self.wrong(f"{name} has a line that is no object")
        return found

    def wrong(self, what: str) -> InvalidArchive:
        """The error for an archive in which something is not as it should be."""
        return InvalidArchive(f"{self.label}: {what}", hint=CUT)

    def _read_manifest(self) -> dict[str, Any]:
        data = self._bytes(MANIFEST, MOST_MANIFEST)
        try:
            said = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise self.wrong(f"its manifest cannot be read: {error}") from error
        if not isinstance(said, dict) or said.get("format") != FORMAT:
            raise InvalidArchive(f"{self.label} is not an archive of engine's", hint="engine export makes them")
        if type(said.get("version")) is not int or said["version"] != VERSION:
            raise InvalidArchive(
                f"{self.label} has version {said.get('version')!r}, this engine reads {VERSION}",
                hint="it was written by another engine: upgrade the package",
            )
        if said.get("sha256") != manifest_digest(said):
            raise self.wrong("its manifest does not match its checksum")
        counts, members = said.get("counts"), said.get("members")
        whole = isinstance(counts, dict) and set(counts) == set(COUNTS) and all(map(_is_count, counts.values()))
        if not whole or not isinstance(members, dict) or not all(map(_is_member, members.items())):
            raise self.wrong("its manifest is not one of this engine's")
        return said

    def _check_members(self) -> None:
        infos = self._zip.infolist()
        names = [info.filename for info in infos]
        if len(set(names)) != len(names):
            raise self.wrong("a member is there twice")
        if set(names) != {MANIFEST, *self.manifest["members"]}:
            raise self.wrong("its members are not those that its manifest names")
        blocks = {int(name[len("models/") :][:6]) for name in names if name.startswith("models/")}
        if blocks != set(range(len(blocks))) or len(blocks) != self.counts["blocks"]:
            raise self.wrong("blocks of models are missing")
        if sum(info.file_size for info in infos) > self._size:
            raise self.wrong("it claims more bytes than it has")

    def _bytes(self, name: str, most: int = MOST_BYTES) -> bytes:
        try:
            info = self._zip.getinfo(name)
        except KeyError as error:
            raise self.wrong(f"it has no {name}") from error
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.file_size != info.compress_size:
            raise self.wrong(f"{name} is compressed or encrypted, which no archive of engine's is")
        if info.file_size > min(most, self._size):
            raise self.wrong(f"{name} has {info.file_size} bytes, more than the {most} that are read")
        try:
            with self._zip.open(info) as stream:
                return stream.read(most + 1)
        except Exception as error:  # BadZipFile (its own checksum), EOFError, zlib.error …
            raise self.wrong(f"{name} cannot be read: {error}") from error


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_member(item: tuple[Any, Any]) -> bool:
    name, said = item
    return (
        isinstance(name, str)
        and name != MANIFEST
        and MEMBER.fullmatch(name) is not None
        and isinstance(said, dict)
        and said.keys() == {"size", "sha256"}
        and _is_count(said["size"])
        and isinstance(said["sha256"], str)
    )
