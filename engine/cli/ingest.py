"""``engine ingest``."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.details import detail_options, given_details
from engine.cli.failures import PARTIAL, exception_to_failure
from engine.cli.options import encoder_option, open_collection, shared, value_to_mapping
from engine.cli.output import printable, say, show_json
from engine.cli.progress import IngestProgress, StageProgress
from engine.cli.table import Column, show_table
from engine.errors import DuplicateName, EngineError, InvalidInput, InvalidManifest, SourceNotFound
from engine.shapes import outcomes_to_json

if TYPE_CHECKING:
    from engine import Engine
    from engine.ingest.report import IngestOutcome

DIFFUSERS = "diffusers:"
ONNX = ".onnx"


@click.command()
@click.argument("sources", metavar="SOURCE...", nargs=-1)
@click.option(
    "--statistics",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="An .npz or .parquet of many models' moments, in place of sources; needs --encoder.",
)
@click.option(
    "--name", metavar="NAME",
    help="The model's name. Default: the file's or folder's. One source only. If a model from another source has it, "
    "the new one is refused unless --replace is given.",
)  # fmt: skip
@click.option(
    "--replace", is_flag=True,
    help="Replace a model of the same name that came from another source. Its description, tags and statistics are "
    "dropped; the new model has only what is given here.",
)  # fmt: skip
@click.option(
    "--as-one",
    is_flag=True,
    help="Take a folder or archive as one model, although its pictures lie in several folders or beside weights.",
)
@click.option("--each", is_flag=True, help="Make each sub-folder of SOURCE a model named after it.")
@encoder_option
@detail_options
@click.option(
    "--samples", metavar="N", type=click.IntRange(min=1),
    help="Number of samples to draw from a generator (default: 500), or the sample count of moments whose file lacks "
    "it.",
)  # fmt: skip
@click.option(
    "--seed", metavar="N", type=click.IntRange(0, 2**31 - 1), help="Where a generator's drawing starts. Default: 0."
)
@click.option("--prompt", "prompts", metavar="TEXT", multiple=True, help="A prompt for diffusers:. Repeatable.")
@click.option(
    "--input",
    "inputs",
    metavar="NAME=HOW",
    multiple=True,
    callback=value_to_mapping,
    help="What to feed an input of an .onnx decoder: a number, latent, normal, uniform, one-hot or labels. Repeatable.",
)
@click.option(
    "--trust", is_flag=True,
    help="Let generators run their programs or Python code, here and when more is drawn from them on this machine.",
)  # fmt: skip
@shared
def ingest(
    url: str,
    as_json: bool,
    sources: tuple[str, ...],
    statistics: Path | None,
    name: str | None,
    encoder: str | None,
    samples: int | None,
    seed: int | None,
    prompts: tuple[str, ...],
    inputs: dict[str, str],
    trust: bool,
    replace: bool,
    as_one: bool,
    each: bool,
    **given: Any,
) -> None:
    """Add models to the collection, or replace those whose content has changed.

    A SOURCE is a folder or an archive (zip, tar, shard-{000..010}.tar) of images; a .npy or .npz of features, or of
    moments mu and sigma; a generator: an .onnx decoder, program:COMMAND, python:MODULE:CALLABLE,
    diffusers:PATH_OR_ID; or a manifest (.yaml, .yml, .jsonl, .ndjson) of many of these.

    A model is replaced only by its own source: the same path or generator, or the same content. A folder or archive
    with pictures in several folders, or with a model's weights, is refused unless --each or --as-one is given. An
    option that does not apply to a source is refused.

    If one of several sources, sub-folders (--each) or manifest entries fails, it is reported, the others go on, and
    the exit code is 3. After an interruption, the same command continues where it stopped.

    \b
    Example:
      engine ingest foxes/ --name fox-gan --kind gan --tag animal --description "foxes in snow"
      engine ingest zoo.yaml --trust
      engine ingest library/ --each --tag mine
      engine ingest --statistics million.parquet --encoder external:my-clip
      engine ingest stylegan.onnx --input truncation_psi=0.7 --input label=one-hot
      engine ingest "program:node draw.mjs {seed} {count} {out}" --name faces --samples 300 --trust
    """
    from engine.ingest.names import source_to_name
    from engine.ingest.report import IngestOutcome
    from engine.samples.manifest import is_manifest

    details = given_details(given)
    if statistics is not None:
        others = (sources, name, samples, seed, prompts, inputs, as_one, each, set(details) - {"tags"})
        if any(other not in ((), None, False, {}, set()) for other in others):
            raise click.UsageError("with --statistics, give only --encoder, --tag, --replace and --database")
        if encoder is None:
            raise click.UsageError("--statistics needs --encoder: what made the features")
        _ingest_statistics(url, as_json, statistics, encoder, details.get("tags"), replace)
        return
    if not sources:
        raise click.UsageError("give a SOURCE, or --statistics FILE")
    asked = {"samples": samples, "seed": seed, "as_one": as_one or None, **details}
    asked = {key: value for key, value in asked.items() if value is not None}
    manifests = {source for source in sources if is_manifest(Path(source))}
    if manifests and (asked or prompts or inputs or each or name is not None):
        raise click.UsageError(
            "a manifest says this of each of its entries: with one, give only --encoder, --replace and --trust"
        )
    if each and name is not None:
        raise click.UsageError("--name is for one model: with --each, models are named by their folders")
    if each and prompts:
        raise click.UsageError("--prompt is for diffusers:PATH_OR_ID, and --each for folders")
    if each and inputs:
        raise click.UsageError("--input is for decoders (FILE.onnx), and --each for folders")
    if name is not None and len(sources) > 1:
        raise click.UsageError(f"--name is for one source, and there are {len(sources)}")
    if name is None:
        _refuse_equal_names(sources, manifests, each=each)
    common: dict[str, Any] = {"encoder": encoder, "trust": trust, "replace": replace}
    with open_collection(url) as eng, IngestProgress() as progress:
        outcomes: list[IngestOutcome] = []
        told: dict[str, Any] = {"on_entry": progress.entry, "on_outcome": progress.outcome}
        for number, source in enumerate(sources, 1):
            if each or source in manifests:
                try:
                    if source in manifests:
                        outcomes += eng.ingest_manifest(source, **common, **told).outcomes
                    else:
                        outcomes += eng.ingest_each(source, **common, **asked, **told).outcomes
                        _say_left_out(source)
                except (InvalidInput, SourceNotFound) as error:
                    if len(sources) == 1:
                        raise
                    outcomes.append(IngestOutcome(source, "failed", error=error))
                continue
            on_progress = progress.entry(number, len(sources), name or source)
            outcome = eng.ingest_outcome(
                _with_options(source, prompts, inputs),
                name=source_to_name(source) if inputs and name is None else name,
                on_progress=on_progress, **common, **asked,
            )  # fmt: skip
            if outcome.error is not None and len(sources) == 1:
                raise outcome.error
            outcomes.append(outcome)
            progress.outcome(outcome)
        _complete_neighbours(eng, progress)
    _show(outcomes, as_json)
    if any(outcome.error is not None for outcome in outcomes):
        raise click.exceptions.Exit(PARTIAL)


def _say_left_out(source: str) -> None:
    from engine.samples.several import count_beside

    count = count_beside(Path(source).expanduser())
    if count:
        say(f"with --each, pictures directly in a folder are in no model: {count} in {source}")


def _ingest_statistics(url: str, as_json: bool, path: Path, encoder: str, tags: Any, replace: bool) -> None:
    from engine.ingest.statistics_file import read_statistics

    counts = dict.fromkeys(("added", "replaced", "unchanged"), 0)
    done = 0
    with open_collection(url) as eng, StageProgress() as progress:
        for table in read_statistics(path):
            if tags is not None and table.tags is not None:
                raise InvalidInput(f"{path.name} has tags of its own", hint="leave --tag out, or the tags in the file")
            found = eng.ingest_statistics(
                table.names, table.means, table.covariances, encoder=encoder, samples=table.samples,
                tags=tags if table.tags is None else table.tags,
                replace=replace, on_progress=partial(_told, progress, done, table.total),
            )  # fmt: skip
            done += len(table.names)
            for key in counts:
                counts[key] += getattr(found, key)
    if as_json:
        show_json(counts)
    else:
        click.echo(", ".join(f"{count} {status}" for status, count in counts.items()))


def _told(progress: StageProgress, before: int, total: int, done: int, _: int) -> None:
    progress("statistics", before + done, total)


def _refuse_equal_names(sources: tuple[str, ...], manifests: set[str], *, each: bool) -> None:
    """Two sources that would become one model would replace one another without a word."""
    from engine.ingest.names import source_to_name
    from engine.samples.manifest import ManifestError, read_manifest
    from engine.samples.several import folder_to_folders

    named: list[tuple[str, str]] = []
    for source in sources:
        if source in manifests:
            try:
                entries = read_manifest(Path(source))
            except InvalidManifest:  # reported in its turn
                continue
            named += [(entry.name, source) for entry in entries if not isinstance(entry, ManifestError)]
        elif each:
            try:
                named += [(folder.name, source) for folder in folder_to_folders(Path(source).expanduser())]
            except (InvalidInput, SourceNotFound):  # likewise
                continue
        else:
            named.append((source_to_name(source), source))
    counts = Counter(name for name, _ in named)
    for name, times in counts.items():
        if times > 1:
            where = ", ".join(source for other, source in named if other == name)
            raise DuplicateName(
                f"{times} sources would be named {name!r}: {where}", hint="ingest them one by one, with --name"
            )


def _with_options(source: str, prompts: tuple[str, ...], inputs: dict[str, str]) -> Any:
    if prompts and not source.startswith(DIFFUSERS):
        raise InvalidInput(f"{source!r} takes no prompts", hint=f"--prompt is for {DIFFUSERS}PATH_OR_ID")
    if inputs and not source.lower().endswith(ONNX):
        raise InvalidInput(f"{source!r} has no named inputs", hint=f"--input is for decoders: FILE{ONNX}")
    if prompts:
        model = source.removeprefix(DIFFUSERS)
        return {"generator": {"type": "diffusers", "model": model, "prompts": list(prompts)}}
    if inputs:
        ways = {name: _text_to_way(way) for name, way in inputs.items()}
        return {"generator": {"type": "onnx", "path": source, "inputs": ways}}
    return source


def _text_to_way(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _complete_neighbours(eng: Engine, progress: IngestProgress) -> None:
    try:
        eng.complete_neighbours(progress.neighbours)
    except EngineError as error:  # the models are in; the lists are completed when they are asked for
        say(f"the lists of similar models are not complete: {error.message}")


def _show(outcomes: list[IngestOutcome], as_json: bool) -> None:
    if as_json:
        show_json(outcomes_to_json(outcomes))
        return
    columns = [
        Column("name", least=16, keep=True),
        Column("status"),
        Column("samples", right=True),
        Column("tags", least=8),
    ]
    rows = [
        [
            outcome.name,
            outcome.status,
            str(outcome.model.samples) if outcome.model else "",
            ", ".join(outcome.model.tags) if outcome.model else "",
        ]
        for outcome in outcomes
    ]
    show_table(columns, rows)
    for outcome in outcomes:
        if outcome.error is not None:
            click.echo(exception_to_failure(outcome.error).trace or "", err=True, nl=False)
            click.echo(f"{click.style(printable(outcome.name), fg='red')}: {printable(outcome.error.message)}")
            if outcome.error.hint:
                click.echo(f"  hint: {printable(outcome.error.hint)}")
    counts = Counter(outcome.status for outcome in outcomes)
    click.echo(", ".join(f"{counts[status]} {status}" for status in ("added", "replaced", "unchanged", "failed")))
