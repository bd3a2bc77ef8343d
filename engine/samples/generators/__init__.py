"""Generators: what draws new samples of a model, and the record from which it is built again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from engine.config import Settings
from engine.errors import GeneratorError, InvalidManifest, NotTrusted
from engine.numbers import checked_whole
from engine.samples.generators.source import GeneratorSource, batch_seed
from engine.samples.generators.stop import Stop, drawing_under
from engine.samples.protocol import Generator, Options, Sample

__all__ = ["GENERATORS", "GeneratorSource", "Stop", "batch_seed", "draw", "drawing", "options_to_generator"]


class Adapter(NamedTuple):
    """Where a type of generator is implemented, and whether it runs code that the caller must trust."""

    module: str
    name: str
    runs_code: bool


GENERATORS: dict[str, Adapter] = {
    "python": Adapter("engine.samples.generators.python", "PythonGenerator", True),
    "program": Adapter("engine.samples.generators.program", "ProgramGenerator", True),
    "onnx": Adapter("engine.samples.generators.onnx", "OnnxGenerator", False),
    "diffusers": Adapter("engine.samples.generators.diffusers", "DiffusersGenerator", False),
}
"""The types that a manifest or a record may name."""


def options_to_generator(
    options: Options, *, base: Path | None = None, trust: bool = False, settings: Settings | None = None
) -> Generator:
    """Build a generator from a manifest's options or from its own record.

    Args:
        base: the folder that relative paths are relative to; default: the working folder.
        trust: let it run a program or import Python code.

    Raises:
        InvalidManifest: an unknown type or option, or a wrong value.
        NotTrusted: it would run code, and ``trust`` is false.
        SourceNotFound: a file or folder that it names is not there.
        GeneratorError: it was a live callable, or its module cannot be imported.
    """
    if not isinstance(options, Mapping):
        raise InvalidManifest(f"a generator is a mapping with a 'type', got {options!r:.80}")
    kind = options.get("type")
    if kind == "callable":
        raise GeneratorError(
            f"the generator {options.get('name')!r} was a live Python callable and cannot be built again",
            hint="ingest it by an importable name: python:MODULE:CALLABLE",
        )
    adapter = GENERATORS.get(kind) if isinstance(kind, str) else None
    if adapter is None:
        raise InvalidManifest(f"there is no generator of type {kind!r}", hint=f"types are {', '.join(GENERATORS)}")
    if adapter.runs_code and not trust:
        raise NotTrusted(
            f"a generator of type {kind!r} runs code on this machine: {_what_runs(options):.200}",
            hint="if you trust it, say so: --trust (trust=True from Python)",
        )
    make: Callable[[Options, Path | None, Settings], Generator]
    make = getattr(import_module(adapter.module), adapter.name).from_options
    return make(options, base, settings or Settings())


def draw(
    description: Mapping[str, Any], count: int, seed: int, trust: bool = False, *, settings: Settings | None = None
) -> list[Image.Image]:
    """All of what ``drawing`` draws.

    Raises:
        InvalidInput, EngineError: as ``drawing``.
    """
    return list(drawing(description, count, seed, trust, settings=settings))


def drawing(
    description: Mapping[str, Any],
    count: int,
    seed: int,
    trust: bool = False,
    *,
    settings: Settings | None = None,
    stop: Stop | None = None,
) -> Iterator[Image.Image]:
    """New pictures from a recorded generator: the first ``count`` that a ``GeneratorSource`` under this seed has.

    They come as they are drawn, a batch at a time; nothing is drawn before the first is asked for. ``stop`` ends a
    decoder's run and kills a program; Python code and pipelines end with their batch.

    Raises:
        InvalidInput: ``count`` or ``seed`` is out of range.
        EngineError: as ``options_to_generator``, and when a picture is asked for as ``Generator.draw`` and ``Stop``.
    """
    count = checked_whole(count, "the number of pictures to draw", 1)
    source = GeneratorSource(options_to_generator(description, trust=trust, settings=settings), count, seed)
    return (_drawn(sample, stop) for sample in source.samples())


def _drawn(sample: Sample, stop: Stop | None) -> Image.Image:
    if stop is None:
        return sample.load()
    stop.check()
    with drawing_under(stop):
        image = sample.load()
    stop.count(image)
    return image


def _what_runs(options: Options) -> str:
    return str(options.get("command") or options.get("entry") or "")
