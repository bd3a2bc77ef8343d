"""Processes with a deadline: what one has said until then counts, also if it is ended."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.gpu.options import Options

ROOT = Path(__file__).resolve().parents[2]
GRACE = 3.0
"""Seconds after its deadline that a section may take to end by itself."""


def section(name: str, options: Options, seconds: float) -> dict[str, Any]:
    """The section's ``rows``, its ``seconds``, and, if it did not end well, ``not_run`` says why."""
    if seconds <= GRACE:
        return {"rows": [], "seconds": 0.0, "not_run": "the time was up"}
    given = replace(options, deadline=time.monotonic() + seconds - GRACE)
    command = [sys.executable, "-m", "benchmarks.gpu.section", name, given.to_json()]
    taken, said, why = finished(command, seconds)
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{") and line.endswith("}")]
    return {"rows": lines, "seconds": taken, **({"not_run": why} if why else {})}


def finished(command: Sequence[str], seconds: float) -> tuple[float, str, str]:
    """Seconds that it took, what it wrote to stdout, and why it did not end well, or nothing."""
    started = time.monotonic()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out:
        child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out)
        try:
            code = child.wait(seconds)
            why = "" if code == 0 else f"its process ended with {code}"
        except subprocess.TimeoutExpired:
            why = f"ended after {seconds:.0f} s: the time was up"
        finally:
            child.kill()
            child.wait()
        out.seek(0)
        return time.monotonic() - started, out.read(), why


def pytested(paths: Sequence[str], seconds: float) -> dict[str, Any]:
    """The tests that are marked ``gpu``, by pytest: as ``section``, a row a test."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        taken, said, why = finished(
            [sys.executable, "-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider", f"--junitxml={report}", *paths],
            seconds,
        )
        print(said, file=sys.stderr)
        rows = report_to_rows(report.read_text(encoding="utf-8")) if report.is_file() else []
    if rows and why == "its process ended with 1":
        why = ""  # some failed: the rows say so
    return {"rows": rows, "seconds": taken, **({"not_run": why} if why else {})}


def report_to_rows(text: str) -> list[dict[str, str]]:
    """Of a report of JUnit's form: each test, its outcome, and what a failure or a skip said."""
    rows = []
    for case in ET.fromstring(text).iter("testcase"):
        bad = next((part for part in case if part.tag in ("failure", "error", "skipped")), None)
        outcome = {None: "passed", "skipped": "skipped"}.get(None if bad is None else bad.tag, "failed")
        said = "" if bad is None else (bad.get("message") or "")[:2000]
        rows.append({"check": f"{case.get('classname')}::{case.get('name')}", "outcome": outcome, "said": said})
    return rows


def counted(found: dict[str, Any]) -> dict[str, Any]:
    """The section with how many rows passed, failed and were skipped."""
    outcomes = [row["outcome"] for row in found["rows"]]
    return {**{name: outcomes.count(name) for name in ("passed", "failed", "skipped")}, **found}
