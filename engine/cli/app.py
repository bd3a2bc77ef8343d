"""The tree of commands."""

from __future__ import annotations

from engine import __version__
from engine.cli import (
    bench,
    collection,
    copy,
    database,
    draw,
    evaluate,
    exchange,
    index,
    ingest,
    learn,
    models,
    search,
    serve,
)
from engine.cli.group import App, version_option

app = App(
    "engine",
    help="""Find generative models by what they draw.

    A query is a text, an image, a sketch, another model, or several of these together. Every command takes
    --database URL (or ENGINE_DATABASE) and, where it has results, --json; both come after the command's name.

    \b
    Example:
      engine init --encoder compact
      engine ingest pictures/ --tag animal
      engine search --text "a bird that talks"

    \b
    Exit codes:
      0    done
      1    an error; the message says what to do next
      2    the command line could not be understood
      3    some of several sources failed (ingest), or stored data is damaged (doctor, copy, export, backup)
      4    the result could not be written: standard output is closed, or its disk is full
      5    the server cannot listen there: the port is in use, say
      130  interrupted by Ctrl-C
      141  whoever read the output has gone, as with | head
    """,
)
version_option(app, __version__)

for command in (
    collection.init, ingest.ingest, models.list_models, models.show, models.update, models.remove,
    search.search, search.similar, evaluate.evaluate, learn.learn, learn.transforms, draw.draw, collection.encoders,
    index.index, collection.doctor, exchange.export, exchange.import_, exchange.backup, copy.copy, database.database,
    serve.serve, serve.keys, bench.bench,
):  # fmt: skip
    app.add_command(command)


def main() -> None:
    """The console script ``engine``."""
    app.main(prog_name="engine")
