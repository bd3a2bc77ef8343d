"""``docs/zoo.md``: the zoo's datasheet, counted from the catalogue and the packages' own credits.

python -m benchmarks.zoo.datasheet > docs/zoo.md
"""

from __future__ import annotations

from collections import Counter

from benchmarks.zoo.artists import ARTISTS, UNSEEN
from benchmarks.zoo.build import read_credits
from benchmarks.zoo.full import MANY, SAMPLES, entry_to_part, full_catalogue, many_samples, quick_catalogue
from benchmarks.zoo.unseen import FEWEST_DRAWINGS, FINETUNE_PICTURES, PICTURES
from benchmarks.zoo.zoo import PLAN

KINDS = {
    "procedural": "other people's avatar and pattern generators, run as external programs",
    "sampler": "one artist's drawings of one concept, freely arranged (layout × backdrop × palette)",
    "pca": "Gaussian over principal components of one artist's drawings of one concept",
    "vae": "variational autoencoder, the same",
    "gan": "generative adversarial network, the same",
    "diffusion": "denoising diffusion model with a few unrolled DDIM steps, the same",
    "autoregressive": "autoregressive prior over quantised codes, the same",
    "finetune": "a base decoder of a concept adapted to one drawing (the papers' customised models)",
}
INTRODUCTION = """\
# The zoo: a datasheet

<!-- Written by: python -m benchmarks.zoo.datasheet > docs/zoo.md -->

A collection of really generating models that anybody can rebuild offline from freely licensed parts, to compare
methods of model search on. `make zoo` builds it into `zoo/` (`make zoo QUICK=1`: {quick} models into `zoo-quick/`);
it resumes where it was stopped, and everything depends on fixed seeds alone.
"""
WEAKNESSES = """\
## Known weaknesses

- **Drawings only.** No freely licensed labelled photographs were to be had offline. Figures say nothing of photographs.
- **The encoder knows the artists.** The compact encoder was trained on emoji by the artists whose drawings the samplers
  and decoders are made of (other pictures of theirs, and these). Only procedural styles and the unseen artist
  are new to it.
- **Small models.** Decoders have 64 × 64 pixels and were trained for seconds: generative models, not good ones.
- **Samplers are compositions** of a few dozen drawings each: two pictures of one model often share a drawing.
- **One describer.** Descriptions and text queries were written for this zoo by one author, at one sitting.
- **Some words promise what the pictures lack**: several autoregressive models are described as tiled or patched, for
  codes were thought of as tiles, and theirs are of principal components. Text queries on these are judged on
  something that cannot be seen.
- **Unseen queries are judged by concept**: every model of the concept counts as right, although layouts differ. They
  are single drawings on a plain ground, by one artist.
- **Procedural styles have no unseen queries**, and those with few different pictures repeat themselves (queries are
  checked, pixel for pixel, not to be among the samples).
"""


def datasheet() -> str:
    """The page."""
    entries = full_catalogue()
    lines = [INTRODUCTION.format(quick=len(quick_catalogue()))]
    lines += ["## Models", "", "| kind | synthetic | main | what it is |", "|---|--:|--:|---|"]
    counts = Counter((entry.kind, entry_to_part(entry)) for entry in entries)
    for kind, what in KINDS.items():
        lines.append(f"| {kind} | {counts[kind, 'synthetic']} | {counts[kind, 'main']} | {what} |")
    total = {part: sum(n for (_, own), n in counts.items() if own == part) for part in ("synthetic", "main")}
    lines.append(f"| **all {len(entries)}** | {total['synthetic']} | {total['main']} | |")
    lines += [
        "",
        "The parts are disjoint, and no concept is on both sides: whatever is trained is trained on *synthetic* and",
        f"tested on *main*. Each model has {SAMPLES} samples ({MANY} for {len(many_samples(entries))} of them), a",
        "kind, a description, tags from a fixed vocabulary, author, licence and link.",
        "",
        "## Queries",
        "",
        f"- **in-sample** (`queries.jsonl`): {PLAN.images} fresh pictures a model from a seed that its statistics",
        f"  never saw, {PLAN.sketches} of them as sketches by Canny edges and by XDoG lines, and a searcher's phrase.",
        f"- **unseen** (`unseen.jsonl`): {PICTURES} pictures of each concept ({FINETUNE_PICTURES} of a fine-tune's",
        f"  drawing) by {ARTISTS[UNSEEN].author}, whose work is in no model and in no training set; concepts of which",
        f"  there are fewer than {FEWEST_DRAWINGS} drawings are left out. Every model of the concept is right.",
        "",
        "## Tags",
        "",
        ", ".join(f"{tag} {n}" for tag, n in sorted(Counter(t for e in entries for t in e.tags).items())) + ".",
        "",
        "## Sources and licences",
        "",
        "| source | used as | author | licence |",
        "|---|---|---|---|",
    ]
    used = Counter(str(entry.options["style"]) for entry in entries)
    for style, artist in ARTISTS.items():
        role = "unseen queries only" if style == UNSEEN else f"drawings of {used[style]} models"
        lines.append(f"| [{artist.package}]({artist.link}) | {role} | {artist.author} | {artist.license} |")
    for style, credit in sorted(read_credits().items()):
        name = f"[{style}]({credit['link']})" if credit.get("link") else style
        lines.append(f"| {name} | generator | {credit['author']} | {credit['license']} |")
    return "\n".join([*lines, "", WEAKNESSES])


if __name__ == "__main__":
    print(datasheet(), end="")
