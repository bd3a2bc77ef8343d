"""``engine draw``: new images from a model's generator."""

from __future__ import annotations

import re
from pathlib import Path

import click

from engine.cli.options import open_collection, shared
from engine.cli.output import show_json
from engine.files import write_error


@click.command()
@click.argument("name")
@click.option("--count", metavar="N", type=click.IntRange(min=1), default=4, show_default=True, help="How many.")
@click.option(
    "--seed", metavar="N", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True,
    help="The same seed and count draw the same images.",
)  # fmt: skip
@click.option(
    "--out", metavar="DIR", type=click.Path(path_type=Path, file_okay=False), default=Path("drawn"),
    show_default=True, help="Where the PNG files go; made if it is not there.",
)  # fmt: skip
@click.option("--trust", is_flag=True, help="Draw although the generator is not trusted on this machine, this once.")
@shared
def draw(url: str, as_json: bool, name: str, count: int, seed: int, out: Path, trust: bool) -> None:
    """Draw new images from the generator that a model was ingested from.

    The generator must be trusted on this machine: what was ingested here is (programs and Python code if with
    --trust); of what an archive or a copy brought, engine trust shows what it runs or opens.

    \b
    Example:
      engine draw fox-gan --count 9 --seed 7 --out foxes
    """
    with open_collection(url) as eng:
        images = eng.draw(name, count, seed=seed, trust=trust)
    stem = re.sub(r"[^\w.-]+", "-", name).strip(".-") or "model"
    files = [out / f"{stem}-{seed}-{number:04d}.png" for number in range(1, len(images) + 1)]
    try:
        out.mkdir(parents=True, exist_ok=True)
        for file, image in zip(files, images, strict=True):
            image.save(file)
    except OSError as error:
        raise write_error(f"cannot write to {out}", error, hint="give another folder with --out") from error
    if as_json:
        show_json({"model": name, "seed": seed, "files": [str(file) for file in files]})
    else:
        for file in files:
            click.echo(str(file))
