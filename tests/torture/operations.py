"""What a worker does to a collection, and what must stand there when it is killed in the middle of it.

An operation is data: the worker performs it, and ``stages`` says, without the engine, through which states it takes a
collection, from "nothing of it happened" to "all of it". A killed operation must leave exactly one of them.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from engine import Engine
from engine.config import Settings
from engine.ingest import OnProgress
from tests.torture import content

BLOCK = 8
"""Models that the worker's bulk path writes in one transaction."""


@dataclass(frozen=True)
class Entry:
    """A model as it must be stored: ``content`` names its moments (``entry_to_moments``), ``id`` is None until seen.

    ``place`` is where its source is.
    """

    content: tuple[str, int, int]
    tags: tuple[str, ...] = ()
    description: str | None = None
    id: int | None = None
    place: str = "memory"


State = dict[str, Entry]


def entry_to_moments(entry: Entry) -> content.Moments:
    """The moments that an entry's content must have given."""
    kind, seed, rows = entry.content
    return content.picture_moments(seed, rows) if kind == "pictures" else content.moments(seed, rows)


@dataclass(frozen=True)
class Operation:
    """``kind`` is a key of ``DO``; ``names`` are models, ``extra`` whatever else the kind takes."""

    kind: str
    names: tuple[str, ...] = ()
    seed: int = 0
    extra: tuple[str, ...] = ()


@dataclass
class Bench:
    """What a worker has: the open collection, how to open it again, and whom to tell of samples that are merged."""

    url: str
    settings: Settings
    on_progress: OnProgress | None = None
    eng: Engine = field(init=False)

    def open(self) -> None:
        """Open the collection with the test encoder."""
        self.eng = opened(self.url, self.settings)


def opened(url: str, settings: Settings, *, create: bool = False) -> Engine:
    """The collection at ``url``, whose encoder needs no weights."""
    encoder = content.ProjectionEncoder()
    eng = Engine.open(url, create=create, encoder=encoder.identity.name if create else None, settings=settings)
    eng.services.session.use_encoder(encoder.identity.name, encoder)
    if create:
        eng.services.catalog.register_encoder(encoder.identity)
    return eng


def abandon(eng: Engine) -> None:
    """Let go of a collection without publishing anything: what lies on disk stays as it was found."""
    eng.services.search.close()
    eng.services.views.wait()
    eng.services.database.close()


# --- what the worker does


def _features(bench: Bench, op: Operation) -> None:
    bench.eng.ingest(content.features(op.seed), name=op.names[0], tags=op.extra)


def _pictures(bench: Bench, op: Operation) -> None:
    source, count, *tags = op.extra
    drawn: dict[str, Any] = {"samples": int(count), "trust": True} if source.startswith("python:") else {}
    bench.eng.ingest(source, name=op.names[0], tags=tags, replace=True, on_progress=bench.on_progress, **drawn)


def _bulk(bench: Bench, op: Operation) -> None:
    means, covariances = content.arrays([op.seed + place for place in range(len(op.names))])
    bench.eng.ingest_statistics(
        op.names, means, covariances, encoder=content.ENCODER, samples=40, tags=list(op.extra), replace=True
    )  # fmt: skip


def _again(bench: Bench, op: Operation) -> None:
    bench.eng.ingest(content.features(op.seed), name=op.names[0], replace=True)


def _update(bench: Bench, op: Operation) -> None:
    bench.eng.update(op.names[0], description=f"said {op.seed}", tags=op.extra)


def _rename(bench: Bench, op: Operation) -> None:
    bench.eng.update(op.names[0], name=op.extra[0])


def _remove(bench: Bench, op: Operation) -> None:
    bench.eng.remove(op.names[0])


def _publish(bench: Bench, op: Operation) -> None:
    bench.eng.search_vectors(content.query(op.seed), 5)
    bench.eng.close()
    bench.open()


def _build(bench: Bench, op: Operation) -> None:
    bench.eng.build_index()


def _compact(bench: Bench, op: Operation) -> None:
    bench.eng.search_vectors(content.query(op.seed), 5)
    bench.eng.services.views.wait()
    bench.eng.services.views.publish_stale()


def _factors(bench: Bench, op: Operation) -> None:
    for method in ("gaussian_density", "blend"):
        bench.eng.search_vectors(content.query(op.seed), 5, method)
    bench.eng.services.statistics.stores.flush()


def _similar(bench: Bench, op: Operation) -> None:
    bench.eng.similar(op.names[0], k=5)


def _command(bench: Bench, op: Operation) -> None:
    run_command(*op.extra)


def run_command(*arguments: str) -> None:
    """A command line, in this process. Raises: RuntimeError: its exit code is not 0."""
    from engine.cli.app import app

    try:
        app.main(list(arguments))
    except SystemExit as ended:
        if ended.code:
            raise RuntimeError(f"engine {' '.join(arguments)} ended with {ended.code}") from None


DO: dict[str, Callable[[Bench, Operation], None]] = {
    "features": _features, "pictures": _pictures, "bulk": _bulk, "again": _again, "update": _update, "rename": _rename,
    "remove": _remove, "publish": _publish, "build": _build, "compact": _compact, "factors": _factors,
    "similar": _similar, "migrate": _command, "copy": _command,
}  # fmt: skip


# --- through which states that takes a collection


def stages(state: State, op: Operation) -> list[State]:
    """Every state that a kill within ``op`` may leave, the one before it first, the one after it last."""
    name = op.names[0] if op.names else ""
    match op.kind:
        case "features":
            return [state, _put(state, name, ("features", op.seed, 40), op.extra)]
        case "pictures":
            source, count, *tags = op.extra
            return [state, _put(state, name, ("pictures", op.seed, int(count)), tags, source)]
        case "again":
            kept = state[name].tags if state[name].place == "memory" else ()
            return [state, _put(state, name, ("features", op.seed, 40), kept)]
        case "bulk":
            found = [state]
            for start in range(0, len(op.names), BLOCK):
                after = found[-1]
                for place, each in enumerate(op.names[start : start + BLOCK], start):
                    after = _put(after, each, ("features", op.seed + place, 40), op.extra)
                found.append(after)
            return found
        case "update":
            changed = replace(state[name], description=f"said {op.seed}", tags=tuple(sorted(op.extra)))
            return [state, {**state, name: changed}]
        case "rename":
            moved = {each: entry for each, entry in state.items() if each != name}
            return [state, {**moved, op.extra[0]: state[name]}]
        case "remove":
            return [state, {each: entry for each, entry in state.items() if each != name}]
    return [state]


def _put(
    state: State, name: str, what: tuple[str, int, int], tags: Sequence[str], place: str = "memory"
) -> State:  # fmt: skip
    """With that content; a model that was there keeps its id and its description, if its source is the same."""
    fresh = Entry(what, place=place)
    known = state.get(name, fresh)
    entry = known if known.place == place else fresh
    return {**state, name: replace(entry, content=what, tags=tuple(sorted(tags)))}


def compact_soon() -> None:
    """Let an index of some dozen models fold, and files of some dozen factors grow, as large ones do."""
    from engine.index.live import LiveIndex
    from engine.ingest import bulk
    from engine.rerank import scorer as stores

    over: Any = LiveIndex.over
    over.__func__.__kwdefaults__["least"] = 4
    bulk.BLOCK_MODELS = BLOCK
    stores.ENOUGH, stores.PUBLISHED, stores.BLOCK = 8, 20_000, 4


def fold_behind() -> None:
    """Let an index of some dozen models be large: folded by a thread, and not written anew for a few writes."""
    from engine.search import views

    views.LARGE = 16


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep what a command prints from our own results."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
