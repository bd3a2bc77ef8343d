"""Judged queries: fresh pictures that the statistics never saw, sketches of some of them, and people's words."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from benchmarks.compact.sketches import image_to_canny, image_to_xdog
from benchmarks.zoo.atomic import write_atomically
from benchmarks.zoo.catalogue import Entry
from engine.samples import options_to_generator

IMAGES = 8
SKETCHES = 4
SEED = 2_000_000_011
"""Statistics are drawn from seeds that the engine derives by a hash from seed 0; queries from this one alone."""


def picture_to_mark(image: Image.Image) -> str:
    """A digest of a picture's pixels."""
    return hashlib.sha256(np.asarray(image.convert("RGB")).tobytes()).hexdigest()


def write_queries(entries: Sequence[Entry], manifest: Sequence[dict[str, Any]], out: Path) -> Path:
    """Draw what is missing and write ``queries.jsonl``; its path."""
    folder = out / "queries"
    lines: list[dict[str, str]] = []
    for entry, listed in tqdm(list(zip(entries, manifest, strict=True)), desc="queries", unit="model", file=sys.stderr):
        names = [f"{entry.name}-{number}.png" for number in range(IMAGES)]
        if not all((folder / name).is_file() for name in names):
            generator = options_to_generator(listed["generator"], base=out, trust=True)
            for name, image in zip(names, generator.draw(IMAGES, SEED), strict=True):
                _save(folder / name, image)
        lines += [{"model": entry.name, "image": f"queries/{name}"} for name in names]
        for number in range(SKETCHES):
            name = f"{entry.name}-{number}-sketch.png"
            if not (folder / name).is_file():
                picture = Image.open(folder / names[number]).convert("RGB").resize((128, 128), Image.Resampling.BICUBIC)
                _save(folder / name, (image_to_canny if number % 2 else image_to_xdog)(picture))
            lines.append({"model": entry.name, "sketch": f"queries/{name}"})
        lines.append({"model": entry.name, "text": entry.query})
    path = out / "queries.jsonl"
    write_atomically(path, "".join(json.dumps(line) + "\n" for line in lines).encode())
    return path


def _save(path: Path, image: Image.Image) -> None:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    write_atomically(path, stream.getvalue())
