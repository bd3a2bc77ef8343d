"""Whatever a user calls a source, to an open one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from engine.config import Settings
from engine.errors import InvalidInput, SourceNotFound
from engine.samples.archive import ArchiveSource, is_archive
from engine.samples.arrays import FeatureSource, array_to_features, npy_to_features, npz_to_source
from engine.samples.braces import has_range
from engine.samples.decode import SUFFIXES
from engine.samples.folder import FolderSource
from engine.samples.generators import GeneratorSource, options_to_generator
from engine.samples.labels import name_to_label
from engine.samples.moments import MomentsSource
from engine.samples.protocol import Generator, ImageSource, Options

Source = ImageSource | FeatureSource | MomentsSource

DEFAULT_SAMPLES = 500
"""Drawn from a generator unless another number is asked for."""
SCHEMES: dict[str, str] = {"python": "entry", "program": "command", "diffusers": "model"}
"""``SCHEME:REST`` stands for a generator of that type with one option."""
KEYS = ("path", "generator", "samples", "seed", "batch")
ALLOWED = (
    "a source is a folder of pictures, an archive (.zip, .tar, .tar.gz, shard-{000..010}.tar), features (.npy, .npz), "
    "moments (.npz with mu and sigma), an ONNX decoder (.onnx), or python:MODULE:CALLABLE, program:COMMAND, "
    "diffusers:MODEL; a manifest (.yaml, .jsonl) must be an existing file"
)


def open_source(
    source: Any,
    *,
    settings: Settings,
    samples: int | None = None,
    seed: int = 0,
    trust: bool = False,
    base: Path | None = None,
) -> Source:
    """Open a source.

    Args:
        source: an open source or generator, a callable, an array ``(n, d)`` of features, a path, ``SCHEME:REST``
            (see ``SCHEMES``), or a mapping with ``path`` or ``generator`` and perhaps ``samples``, ``seed``, ``batch``.
        samples: how many to draw from a generator (default 500); of no meaning for other sources.
        seed: where a generator's drawing starts.
        trust: let a generator run a program or import Python code.
        base: the folder that relative paths are relative to; default: the working folder.

    Raises:
        InvalidInput: it is none of these, or its content is broken.
        SourceNotFound, NotEnoughSamples: there is nothing there, or nothing of use in it.
        InvalidFeatures, InvalidStatistics, InvalidManifest, NotTrusted, GeneratorError
    """
    if isinstance(source, (FeatureSource, MomentsSource)):
        return source
    if isinstance(source, np.ndarray):
        return array_to_features(source)
    if isinstance(source, Mapping):
        return _mapping_to_source(source, settings, samples, seed, trust, base)
    if isinstance(source, (str, os.PathLike)):
        return _text_to_source(os.fspath(source), settings, samples, seed, trust, base)
    if isinstance(source, ImageSource):
        return source
    if isinstance(source, Generator):
        return GeneratorSource(source, _count(samples), seed)
    if callable(source):
        from engine.samples.generators.python import CallableGenerator

        return GeneratorSource(CallableGenerator(source, settings=settings), _count(samples), seed)
    raise InvalidInput(f"{type(source).__name__} is not a source of samples", hint=ALLOWED)


def _mapping_to_source(
    source: Options, settings: Settings, samples: int | None, seed: int, trust: bool, base: Path | None
) -> Source:
    unknown = [str(key) for key in source if key not in KEYS]
    if unknown or ("path" in source) == ("generator" in source):
        raise InvalidInput(
            f"a source has either 'path' or 'generator', got {', '.join(map(str, source)) or 'nothing'}",
            hint=f"its keys are {', '.join(KEYS)}",
        )
    samples = source.get("samples") if samples is None else samples
    seed = seed or source.get("seed") or 0
    if "path" in source:
        path = source["path"]
        if not isinstance(path, (str, os.PathLike)):
            raise InvalidInput(f"the path of a source must be text, got {path!r:.80}")
        return _path_to_source(os.fspath(path), settings, samples, seed, base)
    generator = options_to_generator(source["generator"], base=base, trust=trust, settings=settings)
    return GeneratorSource(generator, _count(samples), seed, source.get("batch"))


def _text_to_source(
    text: str, settings: Settings, samples: int | None, seed: int, trust: bool, base: Path | None
) -> Source:
    scheme, colon, rest = text.partition(":")
    if colon and scheme in SCHEMES:
        options = {"type": scheme, SCHEMES[scheme]: rest}
        generator = options_to_generator(options, base=base, trust=trust, settings=settings)
        return GeneratorSource(generator, _count(samples), seed)
    return _path_to_source(text, settings, samples, seed, base)


def _path_to_source(text: str, settings: Settings, samples: int | None, seed: int, base: Path | None) -> Source:
    if not text or "\0" in text:
        raise InvalidInput(f"{text!r} is not a path", hint=ALLOWED)
    path = (base or Path.cwd()) / Path(text).expanduser()
    limits = {"max_pixels": settings.max_pixels, "max_archive_bytes": settings.max_archive_bytes}
    try:
        if path.is_dir():
            return FolderSource(path, max_pixels=settings.max_pixels)
        if has_range(path.name) and not path.exists():
            return ArchiveSource(path, **limits)
        return _file_to_source(path, settings, samples, seed)
    except OSError as exc:
        if isinstance(exc, SourceNotFound):
            raise
        raise SourceNotFound(f"{name_to_label(text)} cannot be read: {exc.strerror or exc}") from exc


def _file_to_source(path: Path, settings: Settings, samples: int | None, seed: int) -> Source:
    label = name_to_label(str(path))
    if not path.exists():
        raise SourceNotFound(f"there is no {label}", hint=ALLOWED)
    if not path.is_file():
        raise InvalidInput(f"{label} is neither a folder nor a regular file", hint=ALLOWED)
    by_suffix: dict[str, Callable[[], Source]] = {
        ".npy": lambda: npy_to_features(path),
        ".npz": lambda: npz_to_source(path, max_archive_bytes=settings.max_archive_bytes),
        ".onnx": lambda: _onnx_to_source(path, settings, samples, seed),
    }
    opener = by_suffix.get(path.suffix.lower())
    if opener is not None:
        return opener()
    if is_archive(path):
        return ArchiveSource(path, max_pixels=settings.max_pixels, max_archive_bytes=settings.max_archive_bytes)
    if path.suffix.lower() in SUFFIXES:
        raise InvalidInput(f"{label} is one picture, and a model is many", hint="give the folder that holds them")
    raise InvalidInput(f"{label} is no kind of source that is known", hint=ALLOWED)


def _onnx_to_source(path: Path, settings: Settings, samples: int | None, seed: int) -> Source:
    generator = options_to_generator({"type": "onnx", "path": str(path)}, settings=settings)
    return GeneratorSource(generator, _count(samples), seed)


def _count(samples: int | None) -> int:
    return DEFAULT_SAMPLES if samples is None else samples
