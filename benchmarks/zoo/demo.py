"""``make demo``: build a zoo of real generative models, ingest it, search it five ways, and draw contact sheets.

    python -m benchmarks.zoo.demo --out demo

Everything it makes lies in the folder: ``zoo.yaml`` (the manifest), ``zoo.db``, ``queries.jsonl`` (judged queries,
drawn from seeds that the statistics never saw) and ``sheets/*.png``. Run again, it keeps what is done.
"""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import click
from PIL import Image

from benchmarks.zoo.accuracy import measure
from benchmarks.zoo.database import engine_command, prepare_database
from benchmarks.zoo.sheets import contact_sheet
from engine import Engine, EngineError, Hits


@dataclass(frozen=True)
class Question:
    """One of the demo's own queries: the file name of its sheet, a caption, and what is asked."""

    sheet: str
    caption: str
    ask: dict[str, Any] = field(default_factory=dict)
    similar: str | None = None


def judged(queries: Path, modality: str, wanted: str) -> tuple[str, Path]:
    """The first judged query of a modality whose model's name contains ``wanted``: (model, picture)."""
    lines = [json.loads(line) for line in queries.read_text(encoding="utf-8").splitlines()]
    of_modality = [line for line in lines if modality in line]
    chosen = next((line for line in of_modality if wanted in line["model"]), of_modality[0])
    return chosen["model"], queries.parent / chosen[modality]


def questions(queries: Path) -> list[Question]:
    """A text, an image, a sketch, a mixed and a similar-models query."""
    pictured, image = judged(queries, "image", "bird")
    sketched, sketch = judged(queries, "sketch", "cat")
    mixed, second = judged(queries, "image", "fruit")
    return [
        Question("text", "a colourful tropical fish", {"text": "a colourful tropical fish"}),
        Question("text-style", "cars and buses", {"text": "cars and buses"}),
        Question("image", f"a fresh picture by {pictured}", {"image": image}),
        Question("sketch", f"a sketch of a picture by {sketched}", {"sketch": sketch}),
        Question("mixed", f"like this picture by {mixed}, but “flowers”", {"image": second, "text": "flowers"}),
        Question("similar", f"models like {pictured}", similar=pictured),
    ]


def hits_to_sheet(eng: Engine, question: Question, hits: Hits) -> Image.Image:
    """The query at the left, the top five models' samples with their scores."""
    picture = question.ask.get("image") or question.ask.get("sketch")
    shown = Image.open(picture).convert("RGB") if picture else None
    if question.similar is not None:
        shown = previews(eng, question.similar)[0]
    rows = [(hit.name, hit.score, hit.model.kind, previews(eng, hit.name)) for hit in hits[:5]]
    return contact_sheet(question.caption, shown, rows)


def previews(eng: Engine, name: str) -> list[Image.Image]:
    """A model's stored previews."""
    return [Image.open(io.BytesIO(thumbnail.data)).convert("RGB") for thumbnail in eng.thumbnails(name)]


def answer(eng: Engine, question: Question) -> Hits:
    """Ask one question."""
    if question.similar is not None:
        return eng.similar(question.similar, k=5)
    return eng.search(k=5, **question.ask)


def print_hits(question: Question, hits: Hits) -> None:
    """The answers, as text."""
    print(f"\n{question.caption}   [{hits.method}, {hits.timings_ms['total']:.1f} ms]")
    for hit in hits:
        print(f"  {hit.rank}. {hit.name:<34.34} {hit.score:>10.3f}  {hit.model.kind}")


@click.command(help=__doc__)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("demo"), show_default=True)
@click.option("--samples", default=300, show_default=True, help="Samples drawn from each model.")
def main(out: Path, samples: int) -> None:
    """Build, ingest, ask, draw, measure."""
    from benchmarks.zoo.build import build

    started = perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    try:
        build(out, samples=samples)
    except EngineError as error:
        raise click.ClickException("\n".join(filter(None, (error.message, error.hint)))) from error
    database = prepare_database(out / "zoo.db")
    engine_command("ingest", str(out / "zoo.yaml"), "--trust", "--database", database)
    engine_command("index", "map", "--database", database)
    sheets = out / "sheets"
    sheets.mkdir(exist_ok=True)
    with Engine.open(database) as eng:
        for question in questions(out / "queries.jsonl"):
            hits = answer(eng, question)
            print_hits(question, hits)
            hits_to_sheet(eng, question, hits).save(sheets / f"{question.sheet}.png")
        print("\nmeasuring accuracy on judged queries …", file=sys.stderr)
        table = measure(eng, out / "queries.jsonl")
        count = len(eng.models())
    table.write(out / "results")
    print(f"\n{table.to_markdown()}")
    print(f"{count} models, {perf_counter() - started:.0f} s. Contact sheets: {sheets.resolve()}")
    print("\nAsk for yourself:")
    print(f"  .venv/bin/engine search --text 'a sad face' --database {database}")
    print("\nOr open the page: start this, and visit http://127.0.0.1:8000")
    print(f"  .venv/bin/engine serve --trust --database {database}")


if __name__ == "__main__":
    main()
