"""``make zoo``: build the full zoo, draw its queries and ingest it. Resumable: what is finished is kept.

    python -m benchmarks.zoo.zoo --out zoo            # 276 models, about an hour on two cores
    python -m benchmarks.zoo.zoo --out zoo --quick    # 60 of them, in seven minutes

Writes into the folder: ``zoo.yaml`` (the manifest), ``decoders/*.onnx``, ``queries.jsonl`` and ``queries/`` (fresh
pictures of each model, their sketches, a searcher's words), ``unseen.jsonl`` and ``unseen/`` (pictures of the same
concepts by an artist in no model), and ``zoo.db``.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import click
from tqdm import tqdm

from benchmarks.zoo.build import (
    DRAWN_AT,
    build_decoder,
    by_artist,
    check_node,
    entry_to_credit,
    entry_to_manifest,
    read_credits,
    write_manifest,
)
from benchmarks.zoo.catalogue import Entry
from benchmarks.zoo.database import engine_command, prepare_database
from benchmarks.zoo.full import MANY, SAMPLES, entry_to_part, full_catalogue, many_samples, quick_catalogue
from benchmarks.zoo.glyphs import load_glyphs
from benchmarks.zoo.queries import Plan, write_queries
from benchmarks.zoo.unseen import entry_to_concept, write_unseen
from engine.errors import EngineError

PLAN = Plan(images=20, sketches=20, both=True, candidates=80)


def build(entries: Sequence[Entry], out: Path, *, many: frozenset[str]) -> Path:
    """Decoders, manifest and queries; the manifest's path."""
    check_node()
    procedural = read_credits()
    made = by_artist(entries)
    for entry in tqdm(made, desc="drawings", unit="model", file=sys.stderr):
        load_glyphs(str(out / "renders"), entry.options["style"], entry.options["concept"])
    fitted = [entry for entry in made if entry.kind not in DRAWN_AT]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        work = pool.map(partial(build_decoder, out=out), fitted)
        for _ in tqdm(work, desc="decoders", unit="model", total=len(fitted), file=sys.stderr):
            pass
    listed = [_listed(entry, procedural, out, MANY if entry.name in many else SAMPLES) for entry in entries]
    manifest = write_manifest(listed, out)
    write_queries(entries, listed, out, PLAN)
    write_unseen(entries, out)
    return manifest


def _listed(entry: Entry, procedural: dict[str, dict[str, str]], out: Path, samples: int) -> dict[str, Any]:
    listed = entry_to_manifest(entry, entry_to_credit(entry, procedural), out, samples)
    facts = {"part": entry_to_part(entry), "style": entry.options["style"], "concept": entry_to_concept(entry)}
    return {**listed, "metadata": {key: value for key, value in facts.items() if value is not None}}


def ingest(manifest: Path, out: Path, encoder: str | None) -> None:
    """Run the command line as a user would. Every sample's feature is kept, for Monte-Carlo with all of them."""
    database = prepare_database(out / "zoo.db")
    environment = {**os.environ, "ENGINE_KEPT_FEATURES": str(MANY)}
    chosen = () if encoder is None else ("--encoder", encoder)
    engine_command("ingest", "--database", database, *chosen, str(manifest), "--trust", environment=environment)
    engine_command("index", "build", "--database", database, environment=environment)


@click.command(help=__doc__)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("zoo"), show_default=True)
@click.option("--quick", is_flag=True, help="60 models instead of all.")
@click.option("--encoder", help="Take the statistics under this encoder, besides the default's.")
@click.option("--no-ingest", is_flag=True, help="Stop before the statistics are taken.")
def main(out: Path, quick: bool, encoder: str | None, no_ingest: bool) -> None:
    """Build and ingest."""
    started = perf_counter()
    out = out.resolve()
    entries = quick_catalogue() if quick else full_catalogue()
    many = frozenset[str]() if quick else many_samples(entries)
    try:
        manifest = build(entries, out, many=many)
    except EngineError as exc:
        raise click.ClickException(f"{exc}\n{exc.hint or ''}".rstrip()) from exc
    built = perf_counter()
    print(f"built {len(entries)} models and their queries in {built - started:.0f} s", file=sys.stderr)
    if not no_ingest:
        ingest(manifest, out, encoder)
        print(f"ingested them in {perf_counter() - built:.0f} s", file=sys.stderr)
    print(out)


if __name__ == "__main__":
    main()
