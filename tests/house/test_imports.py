"""Imports run one way, and importing the package loads nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "engine"
FORBIDDEN = {
    "records.py": {"torch", "sqlalchemy", "faiss", "engine.storage", "engine.search"},
    "scores": {"sqlalchemy", "faiss", "torch", "engine.storage", "engine.search", "engine.ingest", "engine.index"},
    "storage": {"torch", "faiss", "engine.encoders", "engine.scores", "engine.search", "engine.ingest", "engine.index"},
    "index": {"torch", "PIL", "sqlalchemy", "engine.storage", "engine.search", "engine.ingest", "engine.cli"},
    "samples": {"sqlalchemy", "faiss", "engine.encoders", "engine.storage", "engine.search", "engine.ingest"},
    "encoders": {"sqlalchemy", "faiss", "engine.storage", "engine.search", "engine.ingest", "engine.index"},
    "ingest": {"click", "faiss", "engine.search", "engine.cli"},
    "search": {"click", "faiss", "engine.ingest", "engine.cli"},
    "cli": {"sqlalchemy", "torch", "faiss"},
}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
    return names


def test_no_part_knows_what_it_must_not():
    for part, forbidden in FORBIDDEN.items():
        place = PACKAGE / part
        files = [place] if place.is_file() else sorted(place.rglob("*.py"))
        assert files
        for path in files:
            for name in imported(path):
                broken = [f for f in forbidden if name == f or name.startswith(f + ".")]
                assert not broken, f"{path.relative_to(PACKAGE)} imports {name}"


def test_importing_the_package_loads_nothing_heavy():
    script = "import sys, engine; print([m for m in ('torch', 'open_clip', 'faiss', 'sqlalchemy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
