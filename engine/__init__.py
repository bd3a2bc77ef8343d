"""A content-based search engine over generative models.

    from engine import Engine
    with Engine.open("sqlite:///zoo.db") as eng:
        for hit in eng.search(text="a watercolour fox"):
            print(hit.rank, hit.name, hit.score)

Importing this package loads neither torch nor FAISS: names are resolved when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from engine.version import __version__

if TYPE_CHECKING:
    from engine.config import Settings
    from engine.engine import Engine
    from engine.errors import EngineError
    from engine.records import Hit, Hits, Model, Statistics

__all__ = ["Engine", "EngineError", "Hit", "Hits", "Model", "Settings", "Statistics", "__version__"]

_HOMES = {
    "Engine": "engine.engine",
    "EngineError": "engine.errors",
    "Hit": "engine.records",
    "Hits": "engine.records",
    "Model": "engine.records",
    "Settings": "engine.config",
    "Statistics": "engine.records",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'engine' has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
