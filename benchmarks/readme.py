"""Put the measured tables into the README, so that none is typed in by hand.

    python -m benchmarks.readme            # write
    python -m benchmarks.readme --check    # fail if the README and benchmarks/results/ differ

A table stands between ``<!-- table NAME -->`` and ``<!-- end -->`` and comes from ``benchmarks/results/NAME.md``.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
TABLE = re.compile(r"(<!-- table ([a-z_]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str) -> str:
    """The README's text with every table replaced by its file's."""

    def table(found: re.Match[str]) -> str:
        content = (ROOT / "benchmarks" / "results" / f"{found[2]}.md").read_text(encoding="utf-8").strip()
        return f"{found[1]}{content}\n{found[3]}"

    return TABLE.sub(table, text)


@click.command(help=__doc__)
@click.option("--check", is_flag=True, help="Change nothing; exit 1 if something would change.")
def main(check: bool) -> None:
    """Fill or check."""
    old = README.read_text(encoding="utf-8")
    new = filled(old)
    if old == new:
        return
    if check:
        print("README.md's tables differ from benchmarks/results/: run python -m benchmarks.readme", file=sys.stderr)
        sys.exit(1)
    README.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
