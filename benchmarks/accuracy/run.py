"""``make accuracy``: every table of the accuracy experiments, from the zoo as it was built.

    python -m benchmarks.accuracy.run --zoo zoo

Writes ``benchmarks/results/accuracy_*.md`` and ``.json``; ``benchmarks.accuracy.plots`` and ``benchmarks.readme`` put
them into ``docs/accuracy.md``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import perf_counter

import click
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.accuracy.confusions import confusion_table
from benchmarks.accuracy.encoders import encoders_table
from benchmarks.accuracy.few import few_samples
from benchmarks.accuracy.further import Further, further_table, sample_sizes, two_stage
from benchmarks.accuracy.learned import ENCODERS, learned_table, read_claims
from benchmarks.accuracy.load import Models, load_models, load_queries
from benchmarks.accuracy.many_samples import many_samples
from benchmarks.accuracy.mixed import mixed
from benchmarks.accuracy.papers import drop_off, metadata, retrieval, similar_models, stratum_table
from benchmarks.accuracy.precision import precision_table
from benchmarks.accuracy.required import required, with_learned
from benchmarks.accuracy.tables import RESULTS, Table
from engine.encoders import load_encoder


@click.command(help=__doc__)
@click.option("--zoo", type=click.Path(path_type=Path, exists=True, file_okay=False), default=Path("zoo"))
@click.option("--keep-learned", is_flag=True, help="Do not learn the transforms again: keep their table as it is.")
def main(zoo: Path, keep_learned: bool) -> None:
    """Load, score, write."""
    started = perf_counter()

    def write(table: Table) -> Table:
        table.write()
        print(f"{perf_counter() - started:.0f} s: {table.name}", file=sys.stderr, flush=True)
        return table

    threadpool_limits(1)  # the matrices are small: more threads spend their time waiting for one another
    models, queries = load_models(zoo), load_queries(zoo)
    all_ = Further(models, queries)
    main_, moments = all_.parts["main"], all_.moments["main"]
    asked = ("image", "in-sample"), ("image", "unseen"), ("sketch", "in-sample"), ("sketch", "unseen")
    texts = [key for key in queries if key[0] in ("text", "text:an image of {}", "text:a photo of {}")]
    sets = {key: all_.scored("main", *key) for key in (*asked, *texts)}
    encoder = load_encoder("compact")
    write(retrieval(sets))
    write(stratum_table({key: sets[key] for key in asked}))
    write(drop_off({key: sets[key] for key in (*asked, texts[0])}))
    in_sample = [key for key in (*asked, texts[0]) if key[1] == "in-sample"]
    write(precision_table({key: sets[key] for key in in_sample}))
    said = {json.loads(line)["model"]: json.loads(line)["text"] for line in _texts(zoo)}
    told = [said[right[0]] for right in sets[texts[0]].queries.right]
    write(metadata(encoder, main_, {key: sets[key] for key in (*asked, texts[0])}, told))
    write(mixed(main_, moments, sets["image", "in-sample"].queries, encoder))
    further, ranks = further_table(all_)
    write(further)
    choices = {**vars(all_.choices), "models": len(models), "main": len(main_)}
    (RESULTS / "accuracy_choices.json").write_text(json.dumps(choices, indent=1, default=_plain) + "\n", "utf-8")
    write(confusion_table(all_))
    write(sample_sizes(all_))
    few = write(few_samples(all_))
    collections = {"*main*": main_, "the whole zoo": models}
    write(many_samples(collections, queries["image", "in-sample"], all_.choices.pooled))
    staged = write(two_stage(models, queries["image", "in-sample"], all_.choices))
    write(similar_models(main_, moments))
    write(required(all_, ranks, few, staged))
    others = {name: _under(zoo, name, models) for name in ENCODERS[1:]}
    write(encoders_table({ENCODERS[0]: all_, **others}))
    if not keep_learned:
        write(learned_table(all_))
        for name, own in others.items():
            write(learned_table(own, name))
    write(with_learned(read_claims()))


def _under(zoo: Path, encoder: str, models: Models) -> Further:
    found = load_models(zoo, encoder)
    if found.names != models.names:
        raise click.ClickException(
            f"under {encoder} the zoo has {len(found)} of {len(models)} models; finish it: "
            f"python -m benchmarks.zoo.zoo --out {zoo} --encoder {encoder}"
        )
    return Further(found, load_queries(zoo, encoder))


def _texts(zoo: Path) -> list[str]:
    return [line for line in (zoo / "queries.jsonl").read_text(encoding="utf-8").splitlines() if '"text"' in line]


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else str(value)


if __name__ == "__main__":
    main()
