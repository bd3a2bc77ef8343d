"""What a machine with one GPU is asked, within eight minutes: tests, searches, densities. One JSON on stdout.

    make gpu                                  # with all the package's dependencies; FAISS's rows where it sees the GPU
    make gpu TORCH_ONLY=1 PYTHON=python3      # with NumPy and torch alone: no network, nothing is installed
    make gpu TORCH_ONLY=1 ARGS="--device cpu" # a dry run, small, on the processor

Progress goes to stderr. Each section has a process and a deadline of its own; what does not fit is in the JSON as
``not_run``, with the reason. The exit status is 0 if there is a GPU, all ran and nothing failed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

from benchmarks.gpu.child import counted, pytested, section
from benchmarks.gpu.options import Options
from engine.index.cuda import may_see_cuda

TOTAL = 450.0
"""Seconds in all: half a minute less than eight minutes, for what starts this."""
LIMITS = {"machine": 60.0, "tests": 100.0, "search": 260.0, "density": 90.0}
"""Seconds of each section at most. What comes later keeps at least half of its own."""
TESTS = ("tests/index", "tests/rerank", "tests/search/test_recall.py")
"""Where those that are marked ``gpu`` are, of which ``benchmarks.gpu.checks`` are a part, that needs no pytest."""
DRY: dict[str, Any] = {"sizes": (300, 1000), "dimension": 32, "models": 30, "shortlist": 20, "seconds": 0.02}
Run = Callable[[float], dict[str, Any]]


def main(given: Sequence[str] | None = None) -> int:
    """Run everything and print what was found. Returns the exit status."""
    asked = _parser().parse_args(given)
    options = Options(device=asked.device, full=not asked.torch_only)
    if asked.device == "cpu":
        options = Options(**{**vars(options), **DRY})
    chosen = {name: getattr(asked, name) for name in ("sizes", "dimension", "models", "seconds")}
    options = Options(**{**vars(options), **{name: value for name, value in chosen.items() if value is not None}})
    why = "" if find_spec("torch") else "torch is not installed"
    if not why and options.device != "cpu" and not may_see_cuda():
        why = "there is no driver of CUDA"
    if why:
        return _without_gpu(why)
    began = time.monotonic()
    found = section("machine", options, min(LIMITS["machine"], asked.total))
    where = found["rows"][0] if found["rows"] else {"gpu": None}
    if options.device != "cpu" and where["gpu"] is None:
        return _without_gpu(found.get("not_run", "torch sees none"))
    by_pytest = options.full and options.device != "cpu" and find_spec("pytest") is not None
    sections: dict[str, Run] = {
        "tests": lambda limit: counted(pytested(TESTS, limit) if by_pytest else section("checks", options, limit)),
        "search": lambda limit: section("search", options, limit),
        "density": lambda limit: section("density", options, limit),
    }
    report: dict[str, Any] = {**where, "device": options.device, "torch_only": not options.full}
    report |= run_sections(sections, began + asked.total, asked.only)
    report["seconds"] = time.monotonic() - began
    print(json.dumps(report, indent=1))
    parts = [report[name] for name in sections if name in report]
    failed = sum(part.get("failed", 0) for part in parts) + sum("not_run" in part for part in parts)
    if options.device == "cpu":
        print("a dry run on the processor: none of this is about a GPU", file=sys.stderr)
    return 1 if failed else 0


def run_sections(sections: dict[str, Run], until: float, only: Sequence[str] | None = None) -> dict[str, Any]:
    """Each within its limit and what is left, of which half of their limits is kept for those that come later."""
    names = [name for name in sections if only is None or name in only]
    report = {}
    for place, name in enumerate(names):
        kept = sum(LIMITS[later] for later in names[place + 1 :]) / 2
        left = until - time.monotonic()
        limit = min(LIMITS[name], max(left - kept, left / 2))
        print(f"{name}: at most {limit:.0f} s", file=sys.stderr, flush=True)
        report[name] = sections[name](limit)
    return report


def _without_gpu(why: str) -> int:
    print(f"no GPU: {why}", file=sys.stderr)
    print(json.dumps({"gpu": None, "not_run": why}))
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make gpu", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--torch-only", action="store_true", help="import nothing but NumPy, torch, and Numba if there")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu for a dry run")
    sizes = {"type": lambda text: tuple(int(part) for part in text.split(",")), "help": "vectors, as 10000,100000"}
    parser.add_argument("--sizes", **sizes)
    parser.add_argument("--dimension", type=int)
    parser.add_argument("--models", type=int, help="whose densities are computed")
    parser.add_argument("--seconds", type=float, help="that a figure is measured")
    parser.add_argument("--total", type=float, default=TOTAL, help="seconds in all")
    parser.add_argument("--only", type=lambda text: text.split(","), help="some of tests,search,density")
    return parser


if __name__ == "__main__":
    sys.exit(main())
