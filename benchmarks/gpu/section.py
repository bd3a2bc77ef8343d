"""One section in a process of its own: what it finds goes to stdout, a JSON object a line, as soon as it is there.

python -m benchmarks.gpu.section NAME OPTIONS
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from benchmarks.gpu.options import Options

PACKAGES = ("engine", "numpy", "torch", "numba", "scipy", "faiss-cpu", "faiss-gpu", "faiss-gpu-cu12")
Rows = Iterator[dict[str, Any]]


def machine(options: Options) -> Rows:
    """The card and what is installed, in one row; ``gpu`` is None where torch sees none."""
    import torch

    from engine.index.faiss_device import faiss_sees_gpu

    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    found: dict[str, Any] = {"gpu": None, "python": platform.python_version(), "versions": versions}
    if torch.cuda.is_available():
        about = torch.cuda.get_device_properties(0)
        found |= {"gpu": about.name, "memory_bytes": about.total_memory, "count": torch.cuda.device_count()}
        found |= {"cuda": torch.version.cuda, "capability": f"{about.major}.{about.minor}"}
        found["faiss_sees_gpu"] = options.full and faiss_sees_gpu()
    yield found


def checks(options: Options) -> Rows:
    """One row a check."""
    from benchmarks.gpu.checks import CHECKS, Skipped

    for check in CHECKS:
        row = {"check": check.__name__, "outcome": "passed", "said": ""}
        try:
            check(options.device)
        except Skipped as why:
            row |= {"outcome": "skipped", "said": str(why)}
        except Exception as error:
            row |= {"outcome": "failed", "said": f"{type(error).__name__}: {error}"[:2000]}
        print(f"check: {row['check']} {row['outcome']}", file=sys.stderr, flush=True)
        yield row


def search(options: Options) -> Rows:
    """See ``benchmarks.gpu.search``."""
    from benchmarks.gpu.search import rows

    yield from rows(options)


def density(options: Options) -> Rows:
    """See ``benchmarks.gpu.density``."""
    from benchmarks.gpu.density import rows

    yield from rows(options)


SECTIONS: dict[str, Callable[[Options], Rows]] = {
    "machine": machine, "checks": checks, "search": search, "density": density,
}  # fmt: skip


def main(name: str, text: str) -> None:
    """Run one and print its rows."""
    for row in SECTIONS[name](Options.from_json(text)):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
