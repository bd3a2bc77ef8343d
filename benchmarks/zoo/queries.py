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

IMAGES = 8
SKETCHES = 4
CANDIDATES = 48
"""Pictures drawn from a procedural model to find ``IMAGES`` that are new."""
SEED = 2_000_000_011
SKETCHED_AT = 128
"""Pixels. Decoders draw 64, at which edge detectors see little."""


def picture_to_mark(image: Image.Image) -> bytes:
    """A digest of a picture's pixels."""
    return hashlib.sha256(np.asarray(image.convert("RGB")).tobytes()).digest()


def seen_marks(listed: dict[str, Any], base: Path) -> set[bytes]:
    """The marks of every sample behind a model's statistics, drawn once more."""
    generator = options_to_generator(listed["generator"], base=base, trust=True)
    source = GeneratorSource(generator, listed["samples"], listed["seed"])
    return {picture_to_mark(sample.load()) for sample in source.samples()}


def draw_fresh(listed: dict[str, Any], base: Path) -> list[Image.Image]:
    """``IMAGES`` different pictures of one entry of the manifest that its statistics did not see.

    Raises:
        GeneratorError: the generator draws too few different pictures.
    """
    generator = options_to_generator(listed["generator"], base=base, trust=True)
    finite = listed["generator"]["type"] == "program"
    seen = seen_marks(listed, base) if finite else set()
    fresh: list[Image.Image] = []
    for image in generator.draw(CANDIDATES if finite else IMAGES, SEED):
        mark = picture_to_mark(image)
        if mark not in seen and len(fresh) < IMAGES:
            seen.add(mark)
            fresh.append(image)
    if len(fresh) < IMAGES:
        raise GeneratorError(f"{listed['name']} drew only {len(fresh)} pictures that are new, of {CANDIDATES}")
    return fresh


def write_queries(entries: Sequence[Entry], manifest: Sequence[dict[str, Any]], out: Path) -> Path:
    """Draw what is missing or out of date and write ``queries.jsonl``; its path."""
    (out / "queries").mkdir(parents=True, exist_ok=True)
    # Programs run beside one another; Python and ONNX generators keep this process busy, so threads gain nothing.
    outside = [listed for listed in manifest if listed["generator"]["type"] == "program"]
    inside = [listed for listed in manifest if listed["generator"]["type"] != "program"]
    with (
        ThreadPoolExecutor(2) as pool,
        tqdm(total=len(manifest), desc="queries", unit="model", file=sys.stderr) as progress,
    ):
        waiting = pool.map(lambda listed: _write_pictures(listed, out), outside)
        for name in chain(waiting, (_write_pictures(listed, out) for listed in inside)):
            progress.set_postfix_str(name, refresh=False)
            progress.update()
    lines: list[dict[str, str]] = []
    for entry in entries:
        lines += [{"model": entry.name, "image": f"queries/{entry.name}-{n}.png"} for n in range(IMAGES)]
        lines += [{"model": entry.name, "sketch": f"queries/{entry.name}-{n}-sketch.png"} for n in range(SKETCHES)]
        lines.append({"model": entry.name, "text": entry.query})
    path = out / "queries.jsonl"
    write_atomically(path, "".join(json.dumps(line) + "\n" for line in lines).encode())
    return path


def _write_pictures(listed: dict[str, Any], out: Path) -> str:
    """The pictures and sketches of one model, unless they are there; its name."""
    name, folder = str(listed["name"]), out / "queries"
    generator = options_to_generator(listed["generator"], base=out, trust=True)
    drawn = (generator.digest(), listed["samples"], listed["seed"], SEED, IMAGES, CANDIDATES, SKETCHES)
    stamp = parts_to_stamp(drawn, Path(sketches.__file__))
    vouched = folder / f".{name}.stamp"
    if is_current(vouched, stamp):
        return name
    for number, image in enumerate(draw_fresh(listed, out)):
        _save(folder / f"{name}-{number}.png", image)
        if number < SKETCHES:
            large = image.convert("RGB").resize((SKETCHED_AT, SKETCHED_AT), Image.Resampling.BICUBIC)
            sketch = (sketches.image_to_canny if number % 2 else sketches.image_to_xdog)(large)
            _save(folder / f"{name}-{number}-sketch.png", sketch)
    set_stamp(vouched, stamp)
    return name


def _save(path: Path, image: Image.Image) -> None:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    write_atomically(path, stream.getvalue())
