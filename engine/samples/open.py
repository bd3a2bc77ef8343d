"""Whatever a user calls a source, to an open one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.config import Settings
from engine.errors import InvalidInput, SourceNotFound
from engine.samples.archive import ArchiveSource, is_archive
from engine.samples.arrays import FeatureSource, array_to_features, npy_to_features, npz_to_source
from engine.samples.bounds import GENEROUS, Bounds
from engine.samples.brace_expansion import has_range
from engine.samples.decode import SUFFIXES
from engine.samples.folder import FolderSource
from engine.samples.generators import GeneratorSource, options_to_generator
from engine.samples.labels import name_to_label
from engine.samples.moments import MomentsSource
from engine.samples.protocol import Generator, ImageSource, Options
from engine.samples.several import Look, check_one, look
from engine.texts import nearest

Source = ImageSource | FeatureSource | MomentsSource

DEFAULT_SAMPLES = 500
"""Drawn from a generator unless another number is asked for."""
SCHEMES: dict[str, str] = {"python": "entry", "program": "command", "diffusers": "model"}
"""``SCHEME:REST`` stands for a generator of that type with one option."""
KEYS = ("path", "generator", "samples", "seed", "batch", "as_one")
FOR = {
    "samples": "generators, and for moments whose file does not give a sample count",
    "seed": "generators",
    "batch": "generators",
    "as_one": "folders and archives",
}
"""Which sources an option is of use to."""
ALLOWED = (
    "a source is a folder of pictures, an archive (.zip, .tar, .tar.gz, shard-{000..010}.tar), features (.npy, .npz), "
    "moments (.npz with mu and sigma), an ONNX decoder (.onnx), or python:MODULE:CALLABLE, program:COMMAND, "
    "diffusers:MODEL; a manifest (.yaml, .jsonl) must be an existing file"
)


@dataclass(frozen=True)
class _Options:
    """How a source is to be read. What was not given is None or False, so that what is of no use can be refused."""

    settings: Settings
    samples: int | None = None
    seed: int | None = None
    batch: int | None = None
    trust: bool = False
    as_one: bool = False
    base: Path | None = None
    bounds: Bounds = GENEROUS

    def refuse(self, what: str, *names: str) -> None:
        """Refuse options that are of no use to ``what``.

        Raises:
            InvalidInput: one of them is given.
        """
        given = [name for name in names if getattr(self, name) not in (None, False)]
        if given:
            raise InvalidInput(
                f"{' and '.join(map(repr, given))} cannot be used with {what}",
                hint="; ".join(f"{name} is for {FOR[name]}" for name in given),
            )

    def draw(self, generator: Generator) -> GeneratorSource:
        """A generator, drawn from as these options say."""
        self.refuse("a generator", "as_one")
        samples = DEFAULT_SAMPLES if self.samples is None else self.samples
        return GeneratorSource(generator, samples, 0 if self.seed is None else self.seed, self.batch)

    def build(self, options: Options) -> GeneratorSource:
        """A generator from its record, drawn from as these options say."""
        return self.draw(options_to_generator(options, base=self.base, trust=self.trust, settings=self.settings))


def open_source(
    source: Any,
    *,
    settings: Settings,
    samples: int | None = None,
    seed: int | None = None,
    trust: bool = False,
    as_one: bool = False,
    base: Path | None = None,
    bounds: Bounds = GENEROUS,
) -> Source:
    """Open a source. What is of no use to a source of its kind is refused, not ignored; only ``trust`` is a permission.

    Args:
        source: an open source or generator, a callable, an array ``(n, d)`` of features, a path, ``SCHEME:REST``
            (see ``SCHEMES``), or a mapping with ``path`` or ``generator`` and perhaps ``samples``, ``seed``, ``batch``,
            ``as_one``.
        samples: how many to draw from a generator (default 500); of moments, how many went into them where the file
            does not say.
        seed: where a generator's drawing starts (default 0).
        trust: let a generator run a program or import Python code.
        as_one: take a folder or an archive for one model although it looks like several, or like a model's weights.
        base: the folder that relative paths are relative to; default: the working folder.
        bounds: how much an archive or a file of arrays may hold.

    Raises:
        InvalidInput: it is none of these, its content is broken or more than ``bounds`` allow, an option is of no use
            to it, or it looks like several models (see ``samples.several``).
        SourceNotFound, NotEnoughSamples: there is nothing there, or nothing of use in it.
        InvalidFeatures, InvalidStatistics, InvalidManifest, NotTrusted, GeneratorError
    """
    options = _Options(settings, samples, seed, None, trust, as_one, base, bounds)
    if isinstance(source, Mapping):
        return _mapping_to_source(source, options)
    if isinstance(source, (str, os.PathLike)):
        return _text_to_source(os.fspath(source), options)
    if isinstance(source, np.ndarray):
        source = array_to_features(source)
    if isinstance(source, (FeatureSource, MomentsSource, ImageSource)):
        return _ready(source, options)
    if isinstance(source, Generator):
        return options.draw(source)
    if callable(source):
        from engine.samples.generators.python import CallableGenerator

        return options.draw(CallableGenerator(source, settings=settings))
    raise InvalidInput(f"{type(source).__name__} is not a source of samples", hint=ALLOWED)


def _ready(source: Source, options: _Options) -> Source:
    """An open source; of the options only a number of samples is of use, to moments that come without one."""
    if not isinstance(source, MomentsSource):
        options.refuse("features" if isinstance(source, FeatureSource) else "an open source of pictures", *FOR)
        return source
    options.refuse("moments", "seed", "batch", "as_one")
    return source if options.samples is None else source.with_samples(options.samples)


def _mapping_to_source(source: Options, options: _Options) -> Source:
    unknown = [str(key) for key in source if key not in KEYS]
    if unknown or ("path" in source) == ("generator" in source):
        raise InvalidInput(
            f"a source has either 'path' or 'generator', got {', '.join(map(str, source)) or 'nothing'}",
            hint=nearest(unknown[0] if unknown else "", KEYS, f"its keys are {', '.join(KEYS)}"),
        )
    as_one = source.get("as_one") or False
    if not isinstance(as_one, bool):
        raise InvalidInput(f"as_one of a source must be true or false, got {as_one!r:.80}")
    options = replace(
        options,
        samples=source.get("samples") if options.samples is None else options.samples,
        seed=source.get("seed") if options.seed is None else options.seed,
        batch=source.get("batch"),
        as_one=options.as_one or as_one,
    )
    if "generator" in source:
        return options.build(source["generator"])
    path = source["path"]
    if not isinstance(path, (str, os.PathLike)):
        raise InvalidInput(f"the path of a source must be text, got {path!r:.80}")
    return _path_to_source(os.fspath(path), options)


def _text_to_source(text: str, options: _Options) -> Source:
    scheme, colon, rest = text.partition(":")
    if colon and scheme in SCHEMES:
        return options.build({"type": scheme, SCHEMES[scheme]: rest})
    return _path_to_source(text, options)


def _path_to_source(text: str, options: _Options) -> Source:
    if not text or "\0" in text:
        raise InvalidInput(f"{text!r} is not a path", hint=ALLOWED)
    path = (options.base or Path.cwd()) / Path(text).expanduser()
    try:
        if path.is_dir():
            return _folder_to_source(path, options)
        if has_range(path.name) and not path.exists():
            return _archive_to_source(path, options)
        return _file_to_source(path, options)
    except OSError as exc:
        if isinstance(exc, SourceNotFound):
            raise
        raise SourceNotFound(f"{name_to_label(text)} cannot be read: {exc.strerror or exc}") from exc


def _folder_to_source(path: Path, options: _Options) -> FolderSource:
    what = f"the folder {name_to_label(str(path))}"
    options.refuse(what, "samples", "seed", "batch")
    if options.as_one:
        return FolderSource(path, max_pixels=options.settings.max_pixels)
    found = look(path)
    check_one(what, found)
    source = FolderSource(path, max_pixels=options.settings.max_pixels)
    if not found.whole:
        check_one(what, source.listed)
    return source


def _archive_to_source(path: Path, options: _Options) -> ArchiveSource:
    what = f"the archive {name_to_label(str(path))}"
    options.refuse(what, "samples", "seed", "batch")
    settings = options.settings
    source = ArchiveSource(
        path, max_pixels=settings.max_pixels, max_archive_bytes=settings.max_archive_bytes, bounds=options.bounds
    )
    if not options.as_one:
        try:
            check_one(what, Look(source.names(), source.weights()), unpacked=False)
        except InvalidInput:
            source.close()
            raise
    return source


def _file_to_source(path: Path, options: _Options) -> Source:
    label = name_to_label(str(path))
    if not path.exists():
        raise SourceNotFound(f"there is no {label}", hint=ALLOWED)
    if not path.is_file():
        raise InvalidInput(f"{label} is neither a folder nor a regular file", hint=ALLOWED)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return _ready(npy_to_features(path, bounds=options.bounds), options)
    if suffix == ".npz":
        most = options.settings.max_archive_bytes
        return _ready(npz_to_source(path, max_archive_bytes=most, bounds=options.bounds), options)
    if suffix == ".onnx":
        return options.build({"type": "onnx", "path": str(path)})
    if is_archive(path):
        return _archive_to_source(path, options)
    if suffix in SUFFIXES:
        raise InvalidInput(f"{label} is one picture, and a model is many", hint="give the folder that holds them")
    raise InvalidInput(f"{label} is not a recognised source", hint=ALLOWED)
