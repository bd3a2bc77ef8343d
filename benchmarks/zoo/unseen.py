"""Unseen queries: pictures of a model's concept by an artist whose work is in no model and in no training set.

Such a picture has no one right answer: every model of the concept is right, whoever drew it. A fine-tune is a concept
of its own, that of its one drawing.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.zoo import compose as composing
from benchmarks.zoo.artists import UNSEEN
from benchmarks.zoo.atomic import write_atomically
from benchmarks.zoo.catalogue import Entry
from benchmarks.zoo.compose import compose
from benchmarks.zoo.glyphs import draw_labels, load_glyphs
from benchmarks.zoo.queries import METHODS, image_to_sketch, save_png, sketches
from benchmarks.zoo.stamps import is_current, parts_to_stamp, set_stamp
from engine.errors import InvalidInput

PICTURES = 20
FINETUNE_PICTURES = 4
FEWEST_DRAWINGS = 3
"""A concept of which the artist drew less is left out: one drawing would be asked for over and over."""


def entry_to_concept(entry: Entry) -> str | None:
    """What a model draws, in the words of ``FAMILIES``, or a fine-tune's label; None for a procedural style."""
    if entry.kind == "procedural":
        return None
    return str(entry.options.get("label", entry.options["concept"]))


def write_unseen(entries: Sequence[Entry], out: Path) -> Path:
    """Draw what is missing and write ``unseen.jsonl``; its path.

    Each line has ``models``, every right answer, and ``image`` or ``sketch``.
    """
    owners: dict[str, list[Entry]] = {}
    for entry in entries:
        concept = entry_to_concept(entry)
        if concept is not None:
            owners.setdefault(concept, []).append(entry)
    lines: list[dict[str, Any]] = []
    for concept, owning in tqdm(owners.items(), desc="unseen queries", unit="concept"):
        tuned = owning[0].kind == "finetune"
        glyphs = unseen_glyphs(out, concept, tuned)
        if len(glyphs) < (1 if tuned else FEWEST_DRAWINGS):
            continue
        stems = _write_concept(concept, glyphs, out, FINETUNE_PICTURES if tuned else PICTURES)
        right = {"models": [entry.name for entry in owning], "concept": concept}
        lines += [{**right, "image": f"{stem}.png"} for stem in stems]
        lines += [{**right, "sketch": f"{stem}-{method}.png"} for stem in stems for method in METHODS]
    path = out / "unseen.jsonl"
    write_atomically(path, "".join(json.dumps(line) + "\n" for line in lines).encode())
    return path


def unseen_glyphs(out: Path, concept: str, tuned: bool) -> NDArray[np.uint8]:
    """The unseen artist's drawings ``(n, 144, 144, 4)`` of a concept, or of one label; none where there is none."""
    try:
        if tuned:
            return draw_labels(UNSEEN, [concept], concept)
        return load_glyphs(str(out / "renders"), UNSEEN, concept)
    except InvalidInput:
        return np.empty((0, 1, 1, 4), np.uint8)


def _write_concept(concept: str, glyphs: NDArray[np.uint8], out: Path, count: int) -> list[str]:
    """Pictures and sketches of one concept, unless they are there; their paths from ``out``, without the ending."""
    folder = out / "unseen"
    stems = [f"unseen/{concept.replace(' ', '-')}-{number}" for number in range(count)]
    stamp = parts_to_stamp(glyphs.tobytes(), count, Path(composing.__file__), Path(sketches.__file__), Path(__file__))
    vouched = folder / f".{concept.replace(' ', '-')}.stamp"
    if is_current(vouched, stamp):
        return stems
    for number, stem in enumerate(stems):
        rng = np.random.default_rng((zlib.crc32(concept.encode()), number))
        one = glyphs[number % len(glyphs)][None]  # in turn, so that every drawing is asked for
        picture = compose(one, rng, layout="single", backdrop="plain", palette="any")
        save_png(out / f"{stem}.png", picture)
        for method in METHODS:
            save_png(out / f"{stem}-{method}.png", image_to_sketch(picture, method))
    set_stamp(vouched, stamp)
    return stems
