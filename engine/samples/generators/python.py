"""A Python callable that draws: ``draw(count=…, seed=…, **options)`` → PIL images or an ``(n, h, w, c)`` array.

A callable that is named in a manifest or a database runs only with trust; one that is handed over alive is the
caller's own code and needs none.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import inspect
import json
import sys
import threading
import types
import uuid
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from engine.config import Settings
from engine.errors import EngineError, GeneratorError, InvalidManifest, SourceNotFound
from engine.samples.generators.drawn import drawn_to_images
from engine.samples.generators.options import checked_keys, mapping, required_text, resolved, text, whole
from engine.samples.protocol import Options

if TYPE_CHECKING:
    from collections.abc import Iterator

GROUP = "engine.generators"
"""The entry-point group in which an installed package can offer callables by name."""
BATCH = 32


class PythonGenerator:
    """A callable found by name. Making one imports its module: ask for trust first."""

    kind = "python"

    def __init__(self, entry: str, options: dict[str, Any], path: Path | None, batch: int, max_pixels: int) -> None:
        self._entry = entry
        self._options = options
        self._path = path
        self.batch = batch
        self._max_pixels = max_pixels
        self._function = entry_to_callable(entry, path)

    @classmethod
    def from_options(cls, options: Options, base: Path | None, settings: Settings) -> PythonGenerator:
        """Read the options.

        Raises:
            InvalidManifest: wrong options, or no such module, callable or entry point.
            SourceNotFound: the folder ``path`` is not there.
            GeneratorError: the module fails while it is imported.
        """
        checked_keys(options, ("entry", "options", "path"))
        written = text(options, "path")
        path = None if written is None else resolved(written, base)
        if path is not None and not path.is_dir():
            raise SourceNotFound(f"the generator's folder {path} is not there")
        batch = whole(options, "batch") or BATCH
        return cls(required_text(options, "entry"), mapping(options, "options"), path, batch, settings.max_pixels)

    def describe(self) -> dict[str, Any]:
        """Entry, options and folder."""
        path = {} if self._path is None else {"path": str(self._path)}
        return {"type": self.kind, "entry": self._entry, "options": self._options, **path, "batch": self.batch}

    def digest(self) -> str:
        """SHA-256 of the entry, its options and the file that defines it (not of what that file imports)."""
        marks = [self._entry, json.dumps(self._options, sort_keys=True), callable_to_mark(self._function)]
        return hashlib.sha256("\0".join(marks).encode()).hexdigest()

    def draw(self, count: int, seed: int) -> list[Image.Image]:
        """Call it."""
        return call(self._function, count, seed, self._options, self._entry, self._max_pixels)


class CallableGenerator:
    """A live callable, given from Python. It can be drawn from again later only if it can be imported by name."""

    kind = "python"

    def __init__(
        self,
        function: Callable[..., Any],
        name: str | None = None,
        *,
        batch: int = BATCH,
        settings: Settings | None = None,
    ) -> None:
        self._function = function
        self._name = name or str(getattr(function, "__qualname__", type(function).__qualname__))
        self._mark: str | None = None
        self.batch = batch
        self._max_pixels = (settings or Settings()).max_pixels

    def describe(self) -> dict[str, Any]:
        """``python`` with its entry where it can be imported again, else ``callable``, which cannot be rebuilt."""
        entry = callable_to_entry(self._function)
        if entry is not None:
            return {"type": "python", "entry": entry, "options": {}, "batch": self.batch}
        return {"type": "callable", "name": self._name, "batch": self.batch}

    def digest(self) -> str:
        """SHA-256 of its source. What holds state that cannot be seen is never taken for unchanged."""
        if self._mark is None:
            self._mark = callable_to_mark(self._function)
        return hashlib.sha256(self._mark.encode()).hexdigest()

    def draw(self, count: int, seed: int) -> list[Image.Image]:
        """Call it."""
        return call(self._function, count, seed, {}, self._name, self._max_pixels)


def call(
    function: Callable[..., Any], count: int, seed: int, options: dict[str, Any], who: str, max_pixels: int
) -> list[Image.Image]:
    """Draw with somebody's code; whatever it raises becomes ours.

    Raises:
        GeneratorError: it raised, or drew something else than ``count`` pictures.
    """
    try:
        return drawn_to_images(function(count=count, seed=seed, **options), count, who=who, max_pixels=max_pixels)
    except EngineError:
        raise
    except (Exception, SystemExit) as exc:  # lazily drawn pictures raise here too
        raise GeneratorError(f"{who} failed: {type(exc).__name__}: {exc}", hint="run it alone to see why") from exc


def entry_to_callable(entry: str, path: Path | None = None) -> Callable[..., Any]:
    """``module:callable``, or a name in the entry-point group ``engine.generators``, to what it names.

    Raises:
        InvalidManifest: there is no such thing, or it cannot be called.
        GeneratorError: importing it fails.
    """
    try:
        with _IMPORTING, _importing_from(path, entry):
            target = _import(entry)
    except EngineError:
        raise
    except (Exception, SystemExit) as exc:
        raise GeneratorError(f"importing {entry!r} failed: {type(exc).__name__}: {exc}") from exc
    if not callable(target):
        raise InvalidManifest(f"{entry!r} is {type(target).__name__}, which cannot be called")
    function: Callable[..., Any] = target
    return function


def callable_to_entry(function: Callable[..., Any]) -> str | None:
    """``module:qualname`` if importing that gives the same object again, else None."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not module or not name or module == "__main__":
        return None
    target: Any = sys.modules.get(module)
    for part in name.split("."):
        target = getattr(target, part, None)
    return f"{module}:{name}" if target is function else None


def callable_to_mark(function: Callable[..., Any]) -> str:
    """What changes when the function does: its file's content, else its own source, else something always new."""
    if isinstance(function, types.FunctionType) and function.__closure__ is None:
        if callable_to_entry(function) is not None:
            source = inspect.getsourcefile(function)
            if source is not None and Path(source).is_file():
                return f"{function.__qualname__}\n{Path(source).read_text('utf-8', 'replace')}"
        try:
            return f"{inspect.getsource(function)}\n{function.__defaults__!r}"
        except (OSError, TypeError):
            pass
    return uuid.uuid4().hex


def _import(entry: str) -> Any:
    if ":" not in entry:
        found = list(importlib.metadata.entry_points(group=GROUP, name=entry))
        if not found:
            known = sorted({point.name for point in importlib.metadata.entry_points(group=GROUP)})
            raise InvalidManifest(
                f"no installed package offers the generator {entry!r}",
                hint=f"write module:callable, or one of: {', '.join(known) or '(none installed)'}",
            )
        return found[0].load()
    module, _, attributes = entry.partition(":")
    try:
        target: Any = importlib.import_module(module)
    except ModuleNotFoundError as exc:
        if exc.name is None or not (module == exc.name or module.startswith(exc.name + ".")):
            raise
        raise InvalidManifest(
            f"there is no module {module!r}", hint="install it, or give its folder as the option 'path'"
        ) from exc
    for part in attributes.split("."):
        if not hasattr(target, part):
            raise InvalidManifest(f"{module!r} has no {attributes!r}")
        target = getattr(target, part)
    return target


_IMPORTING = threading.RLock()
"""``sys.path`` and ``sys.modules`` are the whole process's: one import at a time."""


@contextmanager
def _importing_from(path: Path | None, entry: str) -> Iterator[None]:
    """Put a folder first on ``sys.path``. Two folders may hold modules of one name, so the module is read afresh."""
    if path is None:
        yield
        return
    top = entry.partition(":")[0].partition(".")[0]
    for name in [name for name in sys.modules if name == top or name.startswith(top + ".")]:
        origin = getattr(sys.modules[name], "__file__", None)
        if origin is not None and (path / top in Path(origin).parents or (path / f"{top}.py").is_file()):
            del sys.modules[name]
    importlib.invalidate_caches()
    sys.path.insert(0, str(path))
    try:
        yield
    finally:
        sys.path.remove(str(path))
