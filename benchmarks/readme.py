"""Put the measured tables into the README and the docs, so that none is typed in by hand.

    python -m benchmarks.readme            # write
    python -m benchmarks.readme --check    # fail if a page and benchmarks/results/ differ

A table stands between ``<!-- table NAME -->`` and ``<!-- end -->`` and comes from ``benchmarks/results/NAME.md``.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/accuracy.md", "docs/compact.md", "docs/scale.md", "docs/reliability.md", "docs/server.md")
TABLE = re.compile(r"(<!-- table ([a-z_]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str) -> str:
    """A page's text with every table replaced by its file's."""

    def table(found: re.Match[str]) -> str:
        content = (ROOT / "benchmarks" / "results" / f"{found[2]}.md").read_text(encoding="utf-8").strip()
        return f"{found[1]}{content}\n{found[3]}"

    return TABLE.sub(table, text)


@click.command(help=__doc__)
@click.option("--check", is_flag=True, help="Change nothing; exit 1 if something would change.")
def main(check: bool) -> None:
    """Fill or check."""
    for name in PAGES:
        page = ROOT / name
        if not page.is_file():
            continue
        old = page.read_text(encoding="utf-8")
        new = filled(old)
        if old == new:
            continue
        if check:
            print(f"{name}'s tables differ from benchmarks/results/: run python -m benchmarks.readme", file=sys.stderr)
            sys.exit(1)
        page.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
