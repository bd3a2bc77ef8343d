"""How long `import engine` takes: a fresh process with it, less a bare interpreter; median of 15 interleaved runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

RESULTS = Path(__file__).resolve().parent / "results"
RUNS = 15
STATEMENTS = {
    "bare": "pass",
    "import engine": "import engine",
    "from engine import Engine": "from engine import Engine",
    "import engine.cli": "import engine.cli",
}


def seconds(statement: str) -> float:
    """Wall time of a fresh interpreter that runs a statement."""
    started = perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return perf_counter() - started


def measure(runs: int = RUNS) -> dict[str, list[float]]:
    """Milliseconds of each statement in each run; the first round warms the file cache and is dropped."""
    times: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for _ in range(runs + 1):
        for name, statement in STATEMENTS.items():
            times[name].append(1e3 * seconds(statement))
    return {name: values[1:] for name, values in times.items()}


def main() -> None:
    """Measure, print, write."""
    times = measure()
    bare = median(times["bare"])
    rows = {
        name: {
            "median": round(median(values) - bare, 1),
            "lowest": round(min(values) - bare, 1),
            "highest": round(max(values) - bare, 1),
        }
        for name, values in times.items()
        if name != "bare"
    }
    python = sys.version.split()[0]
    report = {"python": python, "runs": RUNS, "bare_interpreter_ms": round(bare, 1), "milliseconds": rows}
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "import_time.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for name, row in rows.items():
        print(
            f"{name}: {row['median']} ms [{row['lowest']}–{row['highest']}] beyond the bare interpreter's {bare:.1f} ms"
        )


if __name__ == "__main__":
    main()
