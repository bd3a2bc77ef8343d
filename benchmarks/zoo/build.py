"""Build the zoo's models, its manifest and its judged queries.

    python -m benchmarks.zoo.build --out demo

Writes ``zoo.yaml`` (the manifest), ``decoders/*.onnx``, ``renders/`` (rasterised drawings), ``queries.jsonl`` and
``queries/*.png``. What is finished is kept: a second run does only what is missing.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import yaml
from tqdm import tqdm

from benchmarks.zoo.artists import ARTISTS
from benchmarks.zoo.atomic import write_atomically
from benchmarks.zoo.catalogue import CATALOGUE, TAGS, Entry
from benchmarks.zoo.decoders.pictures import DECODER_SIZE
from benchmarks.zoo.glyphs import load_glyphs
from benchmarks.zoo.queries import write_queries
from benchmarks.zoo.stamps import is_current, parts_to_stamp, set_stamp
from engine.errors import EngineError, MissingDependency

ROOT = Path(__file__).resolve().parents[2]
NODE = Path(__file__).resolve().parent / "node"
RECIPE = (*sorted((Path(__file__).parent / "decoders").glob("*.py")), Path(__file__).parent / "glyphs.py")
"""The source that a decoder is made by: when it changes, decoders are fitted again."""
SPDX = {"CC BY 4.0": "CC-BY-4.0", "CC0 1.0": "CC0-1.0"}
AUTHORS = {
    "geopattern": "Jason Long, Brandon Mills",
    **dict.fromkeys(("boring-bauhaus", "boring-beam", "boring-marble"), "Boring Designers"),
}
"""Whose package names nobody: from the projects' own pages."""
DRAWN_AT = {"procedural": 128, "sampler": 128}
"""Pixels of what is drawn and needs no fitting; decoders make ``DECODER_SIZE``."""


def check_node() -> None:
    """Node and the packages that draw must be there.

    Raises:
        MissingDependency: they are not.
    """
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise MissingDependency(
                f"{program} is not installed: other people's generators run on Node.js",
                hint="install Node.js 18 or newer, then run make demo again",
            )
    if not (NODE / "node_modules" / ".package-lock.json").is_file():
        installed = subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=NODE, check=False)
        if installed.returncode:
            raise MissingDependency(
                f"npm could not install the generators (exit code {installed.returncode}; it says why above)",
                hint=f"run `npm ci` in {NODE} until it succeeds",
            )


def read_credits() -> dict[str, dict[str, str]]:
    """Author, licence and link of every procedural style, from the packages themselves where they say.

    Licences are written as SPDX identifiers, so that ``--where license=CC-BY-4.0`` finds them all.
    """
    said = subprocess.run(["node", "meta.mjs"], cwd=NODE, check=True, capture_output=True, text=True).stdout
    found: dict[str, dict[str, str]] = json.loads(said)
    for style, credit in found.items():
        credit["license"] = SPDX.get(credit["license"], credit["license"])
        credit["author"] = credit.get("author") or AUTHORS[style]
    return found


def build_decoder(entry: Entry, out: Path) -> Path:
    """Fit one decoder, unless it is there."""
    from benchmarks.zoo.decoders import fit

    path = out / "decoders" / f"{entry.name}.onnx"
    vouched = path.with_suffix(".stamp")
    stamp = parts_to_stamp(entry.options, entry.kind, *RECIPE)
    if not path.is_file() or not is_current(vouched, stamp):
        write_atomically(path, fit.fit_decoder(entry, str(out / "renders")))
        set_stamp(vouched, stamp)
    return path


def entry_to_generator(entry: Entry, out: Path) -> dict[str, Any]:
    """What the engine needs to draw from a model."""
    if entry.kind == "procedural":
        command = ["node", "draw.mjs", "--style", entry.options["style"], "--seed", "{seed}", "--count", "{count}"]
        return {"type": "program", "command": [*command, "--out", "{out}"], "folder": str(NODE), "batch": 100}
    if entry.kind == "sampler":
        options = {**entry.options, "renders": str((out / "renders").resolve())}
        return {"type": "python", "entry": "benchmarks.zoo.samplers:draw", "path": str(ROOT), "options": options}
    return {"type": "onnx", "path": f"decoders/{entry.name}.onnx"}


def entry_to_manifest(entry: Entry, credit: dict[str, str], out: Path, samples: int) -> dict[str, Any]:
    """One entry of the manifest."""
    assert set(entry.tags) <= set(TAGS), f"{entry.name} has a tag outside the vocabulary"
    return {
        "name": entry.name,
        "kind": entry.kind,
        "description": entry.description,
        "tags": list(entry.tags),
        "author": credit["author"],
        "license": credit["license"],
        "links": {"source": credit["link"]} if credit.get("link") else {},
        "resolution": DRAWN_AT.get(entry.kind, DECODER_SIZE),
        "generator": entry_to_generator(entry, out),
        "samples": samples,
        "seed": 0,
    }


def entry_to_credit(entry: Entry, procedural: dict[str, dict[str, str]]) -> dict[str, str]:
    """Who made what a model draws, and on what terms."""
    if entry.kind == "procedural":
        return procedural[entry.name]
    artist = ARTISTS[entry.options["style"]]
    return {"author": artist.author, "license": artist.license, "link": artist.link}


def by_artist(entries: Sequence[Entry]) -> list[Entry]:
    """The models that are made of drawings, one artist after another.

    Opening an artist's drawings (up to 100 MB of JSON) costs more than rasterising them.
    """
    return sorted((e for e in entries if e.kind != "procedural"), key=lambda e: str(e.options["style"]))


def write_manifest(listed: Sequence[dict[str, Any]], out: Path) -> Path:
    """``zoo.yaml``; its path."""
    manifest = out / "zoo.yaml"
    text = yaml.safe_dump({"models": list(listed)}, sort_keys=False, allow_unicode=True, width=110)
    write_atomically(manifest, text.encode())
    return manifest


def build(out: Path, *, samples: int = 300, models: int | None = None) -> Path:
    """Build everything; the manifest's path.

    Raises:
        MissingDependency: Node.js or npm is missing.
    """
    check_node()
    out = out.resolve()
    entries = CATALOGUE[:models]
    procedural = read_credits()
    for entry in tqdm(by_artist(entries), desc="drawings and decoders", unit="model", file=sys.stderr):
        if entry.kind == "sampler":
            load_glyphs(str(out / "renders"), entry.options["style"], entry.options["concept"])
        else:
            build_decoder(entry, out)
    listed = [entry_to_manifest(entry, entry_to_credit(entry, procedural), out, samples) for entry in entries]
    manifest = write_manifest(listed, out)
    write_queries(entries, listed, out)
    return manifest


@click.command(help=__doc__)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("demo"), show_default=True)
@click.option("--models", type=int, help="Only the first N models.")
@click.option("--samples", default=300, show_default=True, help="Samples drawn from each model.")
def main(out: Path, models: int | None, samples: int) -> None:
    """Build."""
    try:
        print(build(out, samples=samples, models=models))
    except EngineError as exc:
        raise click.ClickException(f"{exc}\n{exc.hint or ''}".rstrip()) from exc


if __name__ == "__main__":
    main()
