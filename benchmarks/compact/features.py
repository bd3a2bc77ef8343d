"""Frozen backbone features of every view and caption, computed once into ``benchmarks/.cache``.

python -m benchmarks.compact.features
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.compact.captions import Concept, read_concepts
from benchmarks.compact.pictures import ARTISTS, GLYPHS, VIEWS, picture_to_view, render_artist
from engine.encoders.compact_export import image_session, text_session
from engine.encoders.compact_prepare import prepare
from engine.encoders.compact_text import load_tokenizer, texts_to_tokens

CACHE = Path(__file__).resolve().parents[1] / ".cache" / "compact"
VERSION = 1


@dataclass(frozen=True)
class Views:
    """Features of one artist's pictures: ``concepts`` ``(n,)`` int64, ``features`` ``(n, views, d)`` float16."""

    concepts: NDArray[np.int64]
    features: NDArray[np.float16]


def _one(item: tuple[int, object], *, artist: str, views: tuple[str, ...]) -> NDArray[np.float32]:
    index, picture = item
    random = np.random.default_rng([sum(map(ord, artist)), index])
    return np.stack([prepare(picture_to_view(picture, view, random)) for view in views])


def artist_to_views(artist: str, concepts: list[Concept]) -> Views:
    """Every view of every picture of an artist."""
    path = CACHE / f"{artist}-{VERSION}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as kept:
            return Views(kept["concepts"], kept["features"])
    views = ("plain",) if artist == GLYPHS else VIEWS
    session = image_session()
    rendered = list(tqdm(render_artist(artist, concepts), desc=f"{artist}: drawing", file=sys.stderr))
    blocks = []
    with ProcessPoolExecutor(2) as pool:
        work = pool.map(partial(_one, artist=artist, views=views), rendered, chunksize=16)
        shown = tqdm(work, desc=f"{artist}: views", total=len(rendered), file=sys.stderr)
        blocks.extend(session.run(None, {"images": prepared})[0].astype(np.float16) for prepared in shown)
    result = Views(np.array([index for index, _ in rendered]), np.stack(blocks))
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, concepts=result.concepts, features=result.features)
    return result


def captions_to_features(concepts: list[Concept]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """``(concept of each caption (m,), features (m, 384))``."""
    path = CACHE / f"captions-{VERSION}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as kept:
            return kept["concepts"], kept["features"]
    owners = [i for i, concept in enumerate(concepts) for _ in concept.captions]
    texts = [caption for concept in concepts for caption in concept.captions]
    session, tokenizer = text_session(), load_tokenizer()
    blocks = []
    for start in tqdm(range(0, len(texts), 64), desc="captions", file=sys.stderr):
        ids, mask = texts_to_tokens(tokenizer, texts[start : start + 64])
        blocks.append(session.run(None, {"ids": ids, "mask": mask})[0])
    features = np.concatenate(blocks)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, concepts=np.array(owners), features=features)
    return np.array(owners), features


def main() -> None:
    """Compute and keep everything."""
    concepts = read_concepts()
    captions_to_features(concepts)
    for artist in (*ARTISTS, GLYPHS):
        artist_to_views(artist, concepts)


if __name__ == "__main__":
    main()
