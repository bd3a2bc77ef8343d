"""Imports run one way, no part knows what it must not, nothing heavy is loaded, and nothing is ever unpickled."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "engine"
FILES = sorted(PACKAGE.rglob("*.py"))

# Each row may import the rows above it and, within the row, itself.
ORDER = [
    {"errors", "texts", "single_flight", "version"},
    {"numbers"},
    {"records", "config", "blas", "compiled", "files", "covariances", "filters"},
    {"options"},
    {"samples", "encoders", "statistics", "scores", "storage", "index"},
    {"distances"},
    {"rerank", "learning"},
    {"session"},
    {"ingest", "search"},
    {"evaluation", "bench", "doctor", "exchange"},
    {"services"},
    {"engine"},
    {"shapes"},
    {"client"},
    {"server", "cli"},
]
LEVEL = {part: level for level, parts in enumerate(ORDER) for part in parts}
# Of the parts of one row, who may know whom.
NEIGHBOURS = {("storage", "statistics"), ("cli", "server")}
HEAVY = {"torch", "torchvision", "open_clip", "timm", "diffusers", "transformers", "onnxruntime", "faiss"}
MUST_NOT = {
    "records": HEAVY | {"sqlalchemy", "alembic", "PIL", "scipy"},
    "errors": HEAVY | {"sqlalchemy", "alembic", "numpy", "PIL"},
    "config": HEAVY | {"sqlalchemy", "alembic", "numpy", "PIL"},
    "statistics": HEAVY | {"sqlalchemy", "alembic", "PIL", "pathlib", "os", "logging"},
    "scores": HEAVY | {"sqlalchemy", "alembic", "PIL", "pathlib", "os", "logging"},
    "samples": {"faiss", "sqlalchemy", "alembic", "open_clip", "timm"},
    "encoders": {"sqlalchemy", "alembic", "faiss"},
    "storage": HEAVY | {"PIL"},
    "index": (HEAVY - {"faiss", "torch"}) | {"PIL", "sqlalchemy", "alembic"},
    "rerank": (HEAVY - {"torch"}) | {"sqlalchemy", "alembic", "click", "PIL"},
    "learning": (HEAVY - {"torch"}) | {"sqlalchemy", "alembic", "click", "PIL"},
    "ingest": HEAVY | {"sqlalchemy", "alembic", "click"},
    "search": HEAVY | {"alembic", "click", "PIL"},
    "evaluation": HEAVY | {"sqlalchemy", "alembic", "click", "PIL"},
    "doctor": HEAVY | {"sqlalchemy", "alembic", "click", "PIL"},
    "exchange": HEAVY | {"alembic", "click", "PIL"},
    "bench": {"sqlalchemy", "alembic", "click", "PIL"},
    "cli": {"sqlalchemy", "alembic", "torch", "faiss"},
    "server": {"sqlalchemy", "alembic", "torch", "faiss"},
}


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path, *, top_only: bool = False) -> Iterator[str]:
    """Dotted names that a file imports; ``from engine import x`` counts as ``engine.x``."""
    tree = tree_of(path)
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            assert node.module is not None
            yield node.module
            if node.module == "engine":
                yield from (f"engine.{alias.name}" for alias in node.names)


MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES
}


def known_modules(path: Path) -> set[str]:
    """The package's modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                found.add(submodule if submodule in MODULES else str(node.module))
    return found & MODULES.keys()


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Strongly connected components of more than one node (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == index[node]:
            at = stack.index(node)
            component = {*stack[at:]}
            del stack[at:]
            if len(component) > 1:
                found.append(component)

    for node in graph:
        if node not in index:
            visit(node)
    return found


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"d"}}
    assert circles(graph) == [{"a", "b", "c"}]
    assert circles({"a": {"b"}, "b": set()}) == []


def test_every_part_has_its_place() -> None:
    assert {part_of(path) for path in FILES} - {"__init__", "__main__"} <= LEVEL.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    part = part_of(path)
    if part in ("__init__", "__main__"):
        return
    for name in imports(path):
        pieces = name.split(".")
        if pieces[0] != "engine" or len(pieces) == 1 or pieces[1] not in LEVEL:
            continue
        other = pieces[1]
        allowed = other == part or LEVEL[other] < LEVEL[part] or (part, other) in NEIGHBOURS
        assert allowed, f"{part} imports {name}"


def test_no_file_imports_itself_through_others() -> None:
    """Imports inside functions and for type checking count: a circle is no less one for being hidden."""
    graph = {module: known_modules(path) - {module} for module, path in MODULES.items()}
    assert [sorted(circle) for circle in circles(graph)] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_part_knows_what_it_must_not(path: Path) -> None:
    forbidden = MUST_NOT.get(part_of(path), set())
    known = {name.split(".")[0] for name in imports(path)}
    assert not known & forbidden


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_is_heavy_is_imported_where_it_is_first_used(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path, top_only=True)} & HEAVY


@pytest.mark.parametrize(
    ("module", "unloaded"),
    [
        ("engine", {*HEAVY, "sqlalchemy", "alembic", "numpy", "scipy", "PIL", "click"}),
        ("engine.distances", {*HEAVY, "sqlalchemy", "numpy", "scipy", "PIL"}),
        ("engine.options", {*HEAVY, "sqlalchemy", "numpy", "scipy", "PIL"}),
        ("engine.records", {*HEAVY, "sqlalchemy", "scipy", "PIL"}),
        ("engine.errors", {*HEAVY, "sqlalchemy", "numpy"}),
        ("engine.cli", {*HEAVY, "sqlalchemy"}),
        ("engine.storage", HEAVY),
        ("engine.encoders", {*HEAVY, "sqlalchemy"}),
        ("engine.scores", {*HEAVY, "sqlalchemy", "numba"}),
    ],
)
def test_importing_loads_nothing_heavy(module: str, unloaded: set[str]) -> None:
    script = f"import sys, {module}; print(sorted(set(sys.modules) & {unloaded!r}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- nothing is unpickled, nothing is evaluated

UNSAFE = {
    "pickle.load", "pickle.loads", "pickle.Unpickler", "dill.load", "dill.loads", "joblib.load", "cloudpickle.load",
    "marshal.load", "marshal.loads", "shelve.open", "pandas.read_pickle", "yaml.load", "yaml.unsafe_load",
    "yaml.full_load", "os.system", "os.popen", "eval", "exec", "compile", "__import__",
}  # fmt: skip


def dotted(node: ast.expr) -> str:
    """``np.load`` of a call's function."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def objections(tree: ast.Module) -> list[str]:
    """What in a module could run code that its input carries."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        given = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
        if name in UNSAFE:
            found.append(name)
        if given.get("allow_pickle") is True or given.get("weights_only") is False or given.get("shell") is True:
            found.append(f"{name} with {given}")
        if name == "torch.load" and given.get("weights_only") is not True:
            found.append("torch.load without weights_only=True")
        if name in ("np.load", "numpy.load", "npy.read_array") and given.get("allow_pickle") is not False:
            found.append(f"{name} without allow_pickle=False")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_is_unpickled_or_evaluated(path: Path) -> None:
    assert objections(tree_of(path)) == []
    assert "pickle" not in {name.split(".")[0] for name in imports(path)}


@pytest.mark.parametrize(
    "source",
    [
        "pickle.load(f)", "np.load(f)", "np.load(f, allow_pickle=True)", "torch.load(f)", "eval('1')",
        "torch.load(f, weights_only=False)", "subprocess.run('x', shell=True)", "yaml.load(f)",
    ],
)  # fmt: skip
def test_the_objections_are_raised(source: str) -> None:
    assert objections(ast.parse(source))


BENCHMARKS = PACKAGE.parent / "benchmarks"


def test_every_benchmark_imports() -> None:
    """No test runs them all; a name they take from the engine must still be there."""
    modules = sorted(
        ".".join(file.relative_to(BENCHMARKS.parent).with_suffix("").parts).removesuffix(".__init__")
        for file in BENCHMARKS.rglob("*.py")
        if "node_modules" not in file.parts and ".cache" not in file.parts
    )
    code = "import importlib, sys\nfor name in sys.argv[1:]:\n    importlib.import_module(name)"
    done = subprocess.run(
        [sys.executable, "-c", code, *modules], cwd=BENCHMARKS.parent, capture_output=True, text=True, check=False
    )
    assert modules
    assert done.returncode == 0, done.stderr


def test_names_of_tests_are_short() -> None:
    tests = Path(__file__).resolve().parents[1]
    names = [
        node.name
        for path in tests.rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert len(names) > 1000
    assert [name for name in names if len(name) >= 60] == []
