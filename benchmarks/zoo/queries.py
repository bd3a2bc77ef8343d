"""Judged queries: fresh pictures that the statistics never saw, sketches of some of them, and people's words.

Statistics are drawn from seeds that the engine derives by a hash from seed 0; queries from one seed far away. A
generator with finitely many pictures can still draw one of them twice, so the pictures of procedural models are also
compared, pixel for pixel, with every sample behind the statistics, and those that were seen are passed over.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from benchmarks.compact import sketches
from benchmarks.zoo.atomic import write_atomically
from benchmarks.zoo.catalogue import Entry
from benchmarks.zoo.stamps import is_current, parts_to_stamp, set_stamp
from engine.errors import GeneratorError
from engine.samples import GeneratorSource, options_to_generator

METHODS = {"canny": sketches.image_to_canny, "xdog": sketches.image_to_xdog}
SEED = 2_000_000_011
SKETCHED_AT = 128
"""Pixels. Decoders draw 64, at which edge detectors see little."""


@dataclass(frozen=True)
class Plan:
    """How many fresh pictures a model gets, and how many of them are sketched.

    ``both`` sketches each of them by both methods; otherwise the methods alternate. ``candidates`` is how many a
    procedural model draws to find ``images`` that are new.
    """

    images: int = 8
    sketches: int = 4
    both: bool = False
    candidates: int = 48

    def sketched(self) -> list[tuple[int, str, str]]:
        """``(picture, method, suffix of the file's name)`` of every sketch."""
        names = list(METHODS)
        if self.both:
            return [(n, method, f"-{method}") for n in range(self.sketches) for method in names]
        return [(n, names[(n + 1) % 2], "-sketch") for n in range(self.sketches)]


DEMO = Plan()


def picture_to_mark(image: Image.Image) -> bytes:
    """A digest of a picture's pixels."""
    return hashlib.sha256(np.asarray(image.convert("RGB")).tobytes()).digest()


def seen_marks(listed: dict[str, Any], base: Path) -> set[bytes]:
    """The marks of every sample behind a model's statistics, drawn once more."""
    generator = options_to_generator(listed["generator"], base=base, trust=True)
    source = GeneratorSource(generator, listed["samples"], listed["seed"])
    return {picture_to_mark(sample.load()) for sample in source.samples()}


def draw_fresh(listed: dict[str, Any], base: Path, plan: Plan) -> list[Image.Image]:
    """``plan.images`` different pictures of one entry of the manifest that its statistics did not see.

    Raises:
        GeneratorError: the generator draws too few different pictures.
    """
    generator = options_to_generator(listed["generator"], base=base, trust=True)
    finite = listed["generator"]["type"] == "program"
    seen = seen_marks(listed, base) if finite else set()
    fresh: list[Image.Image] = []
    for image in generator.draw(plan.candidates if finite else plan.images, SEED):
        mark = picture_to_mark(image)
        if mark not in seen and len(fresh) < plan.images:
            seen.add(mark)
            fresh.append(image)
    if len(fresh) < plan.images:
        raise GeneratorError(f"{listed['name']} drew only {len(fresh)} pictures that are new, of {plan.candidates}")
    return fresh


def write_pictures(manifest: Sequence[dict[str, Any]], out: Path, plan: Plan) -> None:
    """Draw the queries' pictures and sketches that are missing or out of date."""
    (out / "queries").mkdir(parents=True, exist_ok=True)
    # Programs run beside one another; Python and ONNX generators keep this process busy, so threads gain nothing.
    outside = [listed for listed in manifest if listed["generator"]["type"] == "program"]
    inside = [listed for listed in manifest if listed["generator"]["type"] != "program"]
    with (
        ThreadPoolExecutor(2) as pool,
        tqdm(total=len(manifest), desc="queries", unit="model", file=sys.stderr) as progress,
    ):
        waiting = pool.map(lambda listed: _write_pictures(listed, out, plan), outside)
        for name in chain(waiting, (_write_pictures(listed, out, plan) for listed in inside)):
            progress.set_postfix_str(name, refresh=False)
            progress.update()


def entry_to_queries(entry: Entry, plan: Plan) -> list[dict[str, str]]:
    """The judged queries of one model: its fresh pictures, their sketches, and a searcher's words."""
    lines = [{"model": entry.name, "image": f"queries/{entry.name}-{n}.png"} for n in range(plan.images)]
    lines += [
        {"model": entry.name, "sketch": f"queries/{entry.name}-{n}{suffix}.png"} for n, _, suffix in plan.sketched()
    ]
    return [*lines, {"model": entry.name, "text": entry.query}]


def write_queries(entries: Sequence[Entry], manifest: Sequence[dict[str, Any]], out: Path, plan: Plan = DEMO) -> Path:
    """Draw what is missing or out of date and write ``queries.jsonl``; its path."""
    write_pictures(manifest, out, plan)
    lines = [line for entry in entries for line in entry_to_queries(entry, plan)]
    path = out / "queries.jsonl"
    write_atomically(path, "".join(json.dumps(line) + "\n" for line in lines).encode())
    return path


def _write_pictures(listed: dict[str, Any], out: Path, plan: Plan) -> str:
    """The pictures and sketches of one model, unless they are there; its name."""
    name, folder = str(listed["name"]), out / "queries"
    generator = options_to_generator(listed["generator"], base=out, trust=True)
    stamp = parts_to_stamp(generator.digest(), listed["samples"], listed["seed"], SEED, plan, Path(sketches.__file__))
    vouched = folder / f".{name}.stamp"
    if is_current(vouched, stamp):
        return name
    fresh = draw_fresh(listed, out, plan)
    for number, image in enumerate(fresh):
        save_png(folder / f"{name}-{number}.png", image)
    for number, method, suffix in plan.sketched():
        save_png(folder / f"{name}-{number}{suffix}.png", image_to_sketch(fresh[number], method))
    set_stamp(vouched, stamp)
    return name


def image_to_sketch(image: Image.Image, method: str) -> Image.Image:
    """A picture to black lines on white, 128 pixels wide, by a key of ``METHODS``."""
    return METHODS[method](image.convert("RGB").resize((SKETCHED_AT, SKETCHED_AT), Image.Resampling.BICUBIC))


def save_png(path: Path, image: Image.Image) -> None:
    """Write a picture as PNG, whole or not at all."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    write_atomically(path, stream.getvalue())
