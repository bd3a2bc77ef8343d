"""The README's tables are the measured ones, its links lead somewhere, and its commands exist."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_tables_are_those_that_were_measured():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.readme", "--check"], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_local_links_and_pictures_exist():
    targets = re.findall(r"\]\(([^)#:]+)\)|src=\"([^\":]+)\"", README)
    assert targets
    missing = [a or b for a, b in targets if not (ROOT / (a or b)).exists()]
    assert not missing


def test_make_targets_that_it_names_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"\bmake ([a-z-]+)", README))
    assert {"demo", "test"} <= named
    assert not [name for name in named if not re.search(rf"^{name}:", makefile, re.MULTILINE)]


def test_it_opens_with_the_two_commands():
    assert README.index("make demo") < README.index("make test") < 2500
