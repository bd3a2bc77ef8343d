"""The torture: kills, faults, interrupted ingests, mutated inputs, many processes, abuse. One line a section on stdout.

python -m tests.torture [--kills 300] [--postgres-kills 100] [--rounds 30] [--inputs 100000] [--seconds 120]
                        [--abuse 60] [--only SECTION] [--seed N] [--short] [--jobs N]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.torture.tally import Tally

Section = Callable[[Path], Tally]
SHORT = {"kills": 30, "postgres_kills": 18, "rounds": 4, "inputs": 4000, "seconds": 10, "abuse": 8, "slowest": 20}
"""What ``--short`` does: within five minutes on two cores, beside other work, which a bound on time must bear."""
NUMBERS = "kills", "postgres_kills", "rounds", "inputs", "seconds", "abuse", "slowest", "seed"


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--kills", type=int, default=300, help="kills on SQLite (default 300)")
    parser.add_argument("--postgres-kills", type=int, default=100, help="kills on Postgres (default 100)")
    parser.add_argument("--rounds", type=int, default=30, help="interrupted ingests of each source (default 30)")
    parser.add_argument("--inputs", type=int, default=100_000, help="mutated inputs (default 100000)")
    parser.add_argument("--seconds", type=float, default=120, help="of many processes, on each database (default 120)")
    parser.add_argument("--abuse", type=float, default=60, help="seconds of abuse, on each database (default 60)")
    parser.add_argument("--slowest", type=float, default=3, help="seconds, honest clients' 99th percentile (default 3)")
    parser.add_argument("--only", action="append", help="a section, or the beginning of its name; may be repeated")
    parser.add_argument("--seed", type=int, default=1, help="what is drawn (default 1)")
    parser.add_argument("--short", action="store_true", help="all sections in about five minutes")
    parser.add_argument("--jobs", type=int, default=1, help="sections beside one another (default 1)")
    options = parser.parse_args(arguments)
    if options.short:
        vars(options).update(SHORT)
    return options


def sections(options: argparse.Namespace) -> dict[str, Section]:
    """Every section that there is, by name."""
    from tests.torture.abuse import abuse
    from tests.torture.concurrency import concurrency
    from tests.torture.faults import faults
    from tests.torture.inputs import mutated_inputs
    from tests.torture.kills import kills
    from tests.torture.resumption import resumption
    from tests.torture.threads import threads

    seed = options.seed
    return {
        "kills-sqlite": lambda folder: kills(folder, "sqlite", options.kills, seed, say),
        "kills-postgres": lambda folder: kills(folder, "postgres", options.postgres_kills, seed, say),
        "faults": lambda folder: faults(folder, seed, say),
        "resumption": lambda folder: resumption(folder, options.rounds, seed, say),
        "concurrency-sqlite": lambda folder: concurrency(folder, "sqlite", options.seconds, seed, say),
        "concurrency-postgres": lambda folder: concurrency(folder, "postgres", options.seconds, seed, say),
        "threads": lambda folder: threads(folder, options.seconds / 4, seed, say),
        "abuse-sqlite": lambda folder: abuse(folder, "sqlite", options.abuse, options.slowest, say),
        "abuse-postgres": lambda folder: abuse(folder, "postgres", options.abuse, options.slowest, say),
        "inputs": lambda _folder: mutated_inputs(options.inputs, seed, say),
    }


def say(what: str) -> None:
    """Progress."""
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def wanted(options: argparse.Namespace) -> Iterator[tuple[str, Section]]:
    """The sections that were asked for."""
    for name, section in sections(options).items():
        if not options.only or any(name.startswith(one) for one in options.only):
            yield name, section


def beside(options: argparse.Namespace) -> int:
    """Run each section in a process of its own, some at once, and print what each says, in order; 1 if any found."""
    numbers = [word for name in NUMBERS for word in (f"--{name.replace('_', '-')}", str(getattr(options, name)))]

    def run(section: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tests.torture", *numbers, "--only", section]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)

    names, found = [name for name, _ in wanted(options)], 0
    if len(names) > 1:  # what is compiled is kept on disk: two sections that begin at once would each compile the same
        subprocess.run([sys.executable, "-m", "tests.torture.warm"], check=True)
    with ThreadPoolExecutor(options.jobs) as pool:
        for done in pool.map(run, names):
            print(done.stdout, end="", flush=True)
            found |= done.returncode
    if not names:
        say(f"no section is called {options.only}")
    return int(not names or found != 0)


def main(arguments: list[str] | None = None) -> int:
    """Run the sections, print a line for each and what was found after them; 1 if anything was."""
    options = parsed(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory(prefix="torture-state-") as state:  # what is trusted is trusted for this run alone
        os.environ.setdefault("XDG_STATE_HOME", state)
        return beside(options) if options.jobs > 1 else one_by_one(options)


def one_by_one(options: argparse.Namespace) -> int:
    """Run the sections in this process; 1 if any found something."""
    tallies = []
    for name, section in wanted(options):
        folder, started = Path(tempfile.mkdtemp(prefix=f"torture-{name}-")), time.monotonic()
        tally = section(folder)
        tallies.append(tally)
        say(f"{name}: {time.monotonic() - started:.0f} s")
        print(tally.line(), flush=True)
        if tally.is_clean:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            say(f"{name}: what it left is in {folder}")
    for tally in tallies:
        for kind in ("losses", "wrong", "untyped"):
            for one, times in Counter(getattr(tally, kind)).items():
                print(f"{tally.section}, {kind}: {one}" + (f" ({times} times)" if times > 1 else ""))
    if not tallies:
        say(f"no section is called {options.only}")
    return int(not tallies or not all(tally.is_clean for tally in tallies))


if __name__ == "__main__":
    sys.exit(main())
