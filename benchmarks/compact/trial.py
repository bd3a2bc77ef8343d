"""The shipped recipe under the easier protocol of an earlier trial: is a difference the protocol's or the encoder's?

    python -m benchmarks.compact.trial        # after benchmarks.compact.train; about five minutes a seed

Heads are trained anew on concepts split 80/20 by label at random, variants of a concept on both sides, once for each of
three splits. Writes ``benchmarks/results/compact_trial.json`` and ``.md``; the shipped heads are left alone. Trained
heads and upright sketches are kept in ``benchmarks/.cache``, so that a run that was cut off goes on.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass

import click
import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.compact.captions import Concept, read_concepts
from benchmarks.compact.features import CACHE, VERSION
from benchmarks.compact.heads import Head, Pictures, Recipe, train_heads
from benchmarks.compact.pictures import ARTISTS, GLYPHS, MAKERS, on_background, render_artist
from benchmarks.compact.siblings import drop_siblings
from benchmarks.compact.sketches import image_to_canny
from benchmarks.compact.train import CANNY, PLAIN, RESULTS, SKETCHES, load, recall
from engine.encoders.compact_export import image_session
from engine.encoders.compact_prepare import prepare

SEEDS = (0, 1, 2)
HELD = 0.2
FULL = 0.9
"""A set is full if it draws this share of all concepts."""
EARLIER = {
    "text → image": ("17–20", "48–53"),
    "image → image": ("78", "95"),
    "Canny → image": ("54", "87"),
    "line glyph → image": ("53", "84"),
}
"""What the trial's notes say, in per cent, @1 and @10: one seed, nothing said of which pairs of sets."""
EARLIER_GALLERY = 266
Recall = tuple[float, float]
Pairs = dict[tuple[str, str], Recall]


@dataclass(frozen=True)
class Drawings:
    """One set's pictures: ``features`` ``(concept, f)`` float16, ``there`` ``(concept,)`` the mask of those it has."""

    features: NDArray[np.float16]
    there: NDArray[np.bool_]


def split(drawn: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Concepts for training and for testing, 80/20, whatever their labels have in common."""
    order = np.random.default_rng(seed).permutation(drawn)
    held = round(HELD * len(order))
    return np.sort(order[held:]), np.sort(order[:held])


def trained(
    pictures: Pictures, captions: list[NDArray[np.float32]], train: NDArray[np.int64], recipe: Recipe, seed: int
) -> tuple[Head, Head]:
    """The image and the text head of one split, from the cache if they are there."""
    path = CACHE / f"trial-{hashlib.sha256(repr((recipe, seed, VERSION)).encode()).hexdigest()[:12]}.pt"
    if not path.is_file():
        heads = train_heads(pictures, captions, train, recipe, seed, sketch_views=SKETCHES)[:2]
        torch.save([head.state_dict() for head in heads], path)
    image_head = Head(torch.zeros(2, pictures.features.shape[-1]), recipe.image_hidden, recipe.dropout)
    text_head = Head(torch.zeros(2, captions[0].shape[-1]), recipe.text_hidden, recipe.dropout)
    for head, state in zip((image_head, text_head), torch.load(path, weights_only=True), strict=True):
        head.load_state_dict(state)
    return image_head.eval(), text_head.eval()


def artist_to_upright(artist: str, concepts: list[Concept]) -> Drawings:
    """Canny edges of a set's undistorted pictures: not turned, mirrored or shifted, as the training views are."""
    path = CACHE / f"{artist}-upright-{VERSION}.npz"
    if not path.is_file():
        session, indices, rows = image_session(), [], []
        for index, picture in tqdm(render_artist(artist, concepts), desc=f"{artist}: upright", file=sys.stderr):
            sketch = prepare(image_to_canny(on_background(picture, (255, 255, 255), 0.95, (0, 0))))
            indices.append(index)
            rows.append(session.run(None, {"images": sketch[None]})[0][0].astype(np.float16))
        np.savez(path, concepts=np.array(indices), features=np.stack(rows))
    with np.load(path, allow_pickle=False) as kept:
        return spread(kept["concepts"], kept["features"], len(concepts))


def spread(indices: NDArray[np.int64], features: NDArray[np.float16], concepts: int) -> Drawings:
    """Rows of some concepts to rows of all."""
    wide, there = np.zeros((concepts, features.shape[1]), np.float16), np.zeros(concepts, bool)
    wide[indices], there[indices] = features, True
    return Drawings(wide, there)


@torch.no_grad()
def pairs_to_recall(
    head: Head, queries: dict[str, Drawings], galleries: dict[str, Drawings], chosen: NDArray[np.int64]
) -> Pairs:
    """Recall of the chosen concepts for every query set and every gallery set but itself."""
    encode = lambda rows: head(torch.from_numpy(rows.astype(np.float32)))  # noqa: E731
    found = {}
    for place, gallery in galleries.items():
        own = chosen[gallery.there[chosen]]
        shown = encode(gallery.features[own])
        for name, query in queries.items():
            both = np.flatnonzero(query.there[own])
            if name != place:
                found[name, place] = recall(encode(query.features[own[both]]), shown, torch.from_numpy(both))
    return found


@torch.no_grad()
def texts_to_recall(
    image_head: Head,
    text_head: Head,
    labels: NDArray[np.float32],
    galleries: dict[str, Drawings],
    chosen: NDArray[np.int64],
) -> Pairs:
    """Recall of the chosen concepts by their labels' features ``(concept, 384)`` for every gallery set."""
    found = {}
    for place, gallery in galleries.items():
        own = chosen[gallery.there[chosen]]
        shown = image_head(torch.from_numpy(gallery.features[own].astype(np.float32)))
        found["text", place] = recall(text_head(torch.from_numpy(labels[own])), shown, torch.arange(len(own)))
    return found


def mean(values: list[Recall]) -> Recall:
    """Column means."""
    first, tenth = np.mean(values, axis=0).tolist()
    return first, tenth


def to_markdown(
    rows: dict[str, dict[str, list[Recall]]],
    pairs: dict[str, dict[str, Recall]],
    galleries: dict[str, int],
    full: list[str],
) -> str:
    """The table; a column for each kind of gallery."""
    columns = list(galleries)
    lines = [
        f"Recall in per cent, concepts split by label at random; mean [lowest–highest] of {len(SEEDS)} splits, each",
        "averaged over pairs of a query's set and a gallery's set; the last column has the worst and the best pair.",
        f"Full sets draw at least {FULL:.0%} of all concepts: {', '.join(full)}.",
        "",
        f"| query | recall | an earlier trial | {' | '.join(columns)} | pairs |",
        f"|---|---|--:|{'--:|' * len(columns)}--:|",
    ]
    for name, found in rows.items():
        for k, at in enumerate(("@1", "@10")):
            cells = []
            for column in columns:
                figures = [100 * value[k] for value in found[column]]
                cells.append(f"{np.mean(figures):.1f} [{min(figures):.1f}–{max(figures):.1f}]")
            single = sorted(100 * value[k] for value in pairs[name].values())
            earlier = EARLIER[name][k] if name in EARLIER else "–"
            lines.append(f"| {name} | {at} | {earlier} | {' | '.join(cells)} | {single[0]:.0f}–{single[-1]:.0f} |")
    sizes = " | ".join(str(size) for size in galleries.values())
    return "\n".join([*lines, f"| pictures in a gallery | | {EARLIER_GALLERY} | {sizes} | |", ""])


@dataclass(frozen=True)
class Kind:
    """A kind of gallery: whether variants of trained concepts are left out, and which pairs of sets count."""

    strict: bool
    counts: Callable[[str, str], bool]


def full_to_kinds(full: list[str]) -> dict[str, Kind]:
    """The table's columns. A text has no maker; the unseen glyphs' set is full."""

    def whole(query: str, place: str) -> bool:
        return place in full and (query in full or query not in ARTISTS)

    def foreign(query: str, place: str) -> bool:
        return MAKERS.get(query) != MAKERS[place]

    return {
        "another set": Kind(False, lambda query, place: True),
        "another maker's set": Kind(False, foreign),
        "another full set": Kind(False, whole),
        "another maker's full set": Kind(False, lambda query, place: whole(query, place) and foreign(query, place)),
        "another maker's set, no variants": Kind(True, foreign),
    }


@click.command(help=__doc__)
def main() -> None:
    """Train on each split, measure under each protocol, report."""
    recipe = Recipe(**json.loads((RESULTS / "compact.json").read_text(encoding="utf-8"))["recipe"])
    concepts = read_concepts()
    pictures, captions, glyph_concepts, glyphs = load(concepts)
    labels = np.stack([own[0] for own in captions])
    plain, canny = (
        {name: Drawings(pictures.features[:, i, view], pictures.there[:, i]) for i, name in enumerate(ARTISTS)}
        for view in (PLAIN, CANNY)
    )
    queries = {
        "image → image": plain,
        "Canny → image": canny,
        "upright Canny → image": {artist: artist_to_upright(artist, concepts) for artist in ARTISTS},
        "line glyph → image": {GLYPHS: spread(glyph_concepts, glyphs, len(concepts))},
    }
    drawn = np.flatnonzero(pictures.there.any(axis=1))
    full = [artist for artist in ARTISTS if plain[artist].there[drawn].mean() >= FULL]
    kinds = full_to_kinds(full)
    names = ("text → image", *queries)
    rows: dict[str, dict[str, list[Recall]]] = {name: {kind: [] for kind in kinds} for name in names}
    pairs: dict[str, list[Pairs]] = {name: [] for name in names}
    sizes: dict[str, list[int]] = {kind: [] for kind in kinds}
    trained_on = []
    for seed in tqdm(SEEDS, desc="splits", file=sys.stderr):
        train, test = split(drawn, seed)
        trained_on.append(int(pictures.there[train].sum()))
        image_head, text_head = trained(pictures, captions, train, recipe, seed)
        strict = drop_siblings(concepts, pictures.features[:, :, PLAIN], pictures.there, test, train)
        for kind, asked in kinds.items():
            chosen = strict if asked.strict else test
            places = {place: one for place, one in plain.items() if asked.counts("text", place)}
            sizes[kind] += [int(one.there[chosen].sum()) for one in places.values()]
            found = {"text → image": texts_to_recall(image_head, text_head, labels, plain, chosen)}
            found |= {name: pairs_to_recall(image_head, sets, plain, chosen) for name, sets in queries.items()}
            for name, values in found.items():
                rows[name][kind].append(mean([value for pair, value in values.items() if asked.counts(*pair)]))
                if kind == "another set":
                    pairs[name].append(values)
    galleries = {kind: round(float(np.mean(values))) for kind, values in sizes.items()}
    single = {
        name: {" → ".join(pair): mean([run[pair] for run in runs]) for pair in runs[0]} for name, runs in pairs.items()
    }
    report = {
        "seeds": list(SEEDS),
        "concepts": len(drawn),
        "training_pictures": trained_on,
        "galleries": galleries,
        "full_sets": full,
        "earlier_trial": EARLIER,
        "rows": rows,
        "pairs": single,
    }
    (RESULTS / "compact_trial.json").write_text(
        json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    table = to_markdown(rows, single, galleries, full)
    (RESULTS / "compact_trial.md").write_text(table, encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main()
