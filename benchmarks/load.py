"""What ``engine serve`` bears: searches by vector among a million models, and by text on the demo's zoo.

    python -m benchmarks.load --zoo demo/zoo.db              # make load; the collection is made first: ten minutes
    python -m benchmarks.load --models 10000 --seconds 2     # a quick look

The server is a process of its own, and so are its clients, which ask one request after another over connections kept
open. Kinds of requests and numbers of clients take turns in each round; a row's figures are medians over the rounds.
HTTP's share is what the client's wall time has beyond the stages that the answer names: connection, validation,
queueing for a place, JSON. A client that only asks ``/healthz`` shows what the client and the connection cost.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from threading import Thread
from time import perf_counter, sleep
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import click
import numpy as np

from benchmarks.suite.tasks import ENCODER, names_of, opened
from engine import Engine
from engine.bench.data import draw, read
from engine.bench.machine import machine

HERE = Path(__file__).resolve().parent
CLIENTS = (1, 8, 64)
ROUNDS = 3
QUERIES = 200
K = 10
STAGES = {
    "encoding": ("encode",), "shortlist": ("shortlist", "search"), "re-rank": ("rerank",), "records": ("records",),
}  # fmt: skip
"""Of the answers' ``timings_ms``; what is left of them, opening the view, stands with the records."""
DESCRIPTIONS = ("a colourful {}", "{} in the rain", "a small {}", "many {}", "{} at night", "a drawing of {}")


@dataclass
class Kind:
    """A kind of request: where it goes, its bodies, asked in turn, and what it is called."""

    name: str
    path: str
    bodies: list[bytes]
    fresh: bool = False
    """Whether no body is asked twice, so that no cache answers."""


@dataclass
class Asked:
    """What the clients of one row saw: seconds a request, the answers' stages, statuses."""

    seconds: list[float] = field(default_factory=list)
    stages: list[dict[str, float]] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    wall: float = 0.0


@contextmanager
def served(database: str, *arguments: str, index: Path | None = None) -> Iterator[str]:
    """``engine serve`` in a process of its own; its address."""
    environment = {**os.environ, **({} if index is None else {"ENGINE_INDEX_FOLDER": str(index)})}
    command = [sys.executable, "-m", "engine", "serve", "--port", "0", "--database", database, *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    reader = None
    try:
        for line in process.stderr:
            found = re.search(r"running on (http://\S+)", line)
            if found:
                reader = Thread(target=process.stderr.read)  # a full pipe would stop the server
                reader.start()
                wait_until_ready(found[1])
                yield found[1]
                return
        raise click.ClickException(f"engine serve ended with {process.wait()}")
    finally:
        process.terminate()
        process.wait(60)
        if reader is not None:
            reader.join()
        process.stderr.close()


def wait_until_ready(address: str) -> None:
    """Until the server has built and opened what searches need."""
    while True:
        try:
            with urlopen(f"{address}/readyz"):
                return
        except HTTPError as error:
            if error.code != 503:
                raise
            sleep(0.2)


def clients_ask(address: str, kind: Kind, clients: int, seconds: float, start: int) -> Asked:
    """Have so many clients ask for so long, in this process."""
    return asyncio.run(_clients_ask(address, kind, clients, seconds, start))


async def _clients_ask(address: str, kind: Kind, clients: int, seconds: float, start: int) -> Asked:
    found, place = Asked(), start
    until = perf_counter() + seconds
    host, port = urlsplit(address).hostname, urlsplit(address).port

    async def client() -> None:
        nonlocal place
        reader, writer = await asyncio.open_connection(host, port)
        while perf_counter() < until:
            body, place = kind.bodies[place % len(kind.bodies)], place + 1
            verb = "POST" if body else "GET"
            head = f"{verb} {kind.path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
            began = perf_counter()
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            status, answer = await _answer(reader)
            found.seconds.append(perf_counter() - began)
            found.statuses[status] = found.statuses.get(status, 0) + 1
            if status == 200 and body:
                said = json.loads(answer)
                found.stages.append(said["timings_ms"])
        writer.close()
        await writer.wait_closed()

    began = perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    found.wall = perf_counter() - began
    return found


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    assert length is not None, head
    return int(head.split(b" ", 2)[1]), await reader.readexactly(int(length[1]))


def shares(asked: Asked) -> dict[str, float]:
    """Of the clients' waiting, what share each stage took; the rest is HTTP's."""
    total = 1e3 * sum(asked.seconds)
    found = {
        name: sum(one.get(stage, 0.0) for one in asked.stages for stage in of) / total for name, of in STAGES.items()
    }
    known = sum(one["total"] for one in asked.stages) / total
    found["records"] += known - sum(found.values())
    return {"HTTP": 1 - known, **found}


def row(kind: Kind, clients: int, rounds: list[Asked]) -> dict[str, Any]:
    """Medians over the rounds, and how far they lie apart."""
    quantiles = [np.percentile(1e3 * np.array(one.seconds), (50, 95, 99)) for one in rounds]
    rates = [len(one.seconds) / one.wall for one in rounds]
    statuses: dict[str, int] = {}
    for one in rounds:
        for status, count in one.statuses.items():
            statuses[str(status)] = statuses.get(str(status), 0) + count
    each = [shares(one) for one in rounds if one.stages]
    return {
        "request": kind.name, "clients": clients, "requests": sum(len(one.seconds) for one in rounds),
        **{f"p{p}_ms": median(float(q[i]) for q in quantiles) for i, p in enumerate((50, 95, 99))},
        "per_s": median(rates), "per_s_lowest": min(rates), "per_s_highest": max(rates),
        "statuses": statuses, "shares": {name: median(one[name] for one in each) for name in each[0]} if each else {},
    }  # fmt: skip


def measure(
    address: str, kinds: list[Kind], clients: tuple[int, ...], rounds: int, seconds: float
) -> list[dict[str, Any]]:
    """Every kind at every number of clients, in turns."""
    found: dict[tuple[str, int], list[Asked]] = {}
    places = dict.fromkeys((kind.name for kind in kinds), 0)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        for number in range(rounds + 1):
            for kind, count in product(kinds, clients):
                lasting = seconds if number else min(seconds, 1.0)  # the first round warms
                asked = pool.submit(clients_ask, address, kind, count, lasting, places[kind.name]).result()
                places[kind.name] += len(asked.seconds)
                if kind.fresh and places[kind.name] > len(kind.bodies):
                    raise click.ClickException(f"{kind.name}: only {len(kind.bodies)} differ")
                if number:
                    found.setdefault((kind.name, count), []).append(asked)
                print(f"round {number}: {kind.name}, {count} clients: {len(asked.seconds)} requests", file=sys.stderr)
    return [row(kind, count, found[kind.name, count]) for kind, count in product(kinds, clients)]


def vector_kind(folder: Path, models: int) -> tuple[Kind, Any]:
    """The collection, made if it is not there, and its queries as requests."""
    draw(folder / "drawn", "clustered", models, queries=QUERIES)
    drawn = read(folder / "drawn")
    with opened(folder) as eng:
        if len(eng.page(limit=1).models) == 0:
            eng.ingest_statistics(names_of(models), np.ascontiguousarray(drawn.vectors), encoder=ENCODER, samples=100)
        eng.search_vectors(drawn.queries[0], K)
    bodies = [json.dumps({"vector": [round(float(x), 6) for x in query], "k": K}).encode() for query in drawn.queries]
    return Kind(f"by vector, {models:,} models", "/v1/search", bodies), drawn.queries


def text_kinds(zoo: Path) -> tuple[list[Kind], list[str]]:
    """Texts of the zoo's own words: all different, and a few again and again."""
    with Engine.open(f"sqlite:///{zoo}") as eng:
        models = eng.models()
        words = sorted({word for model in models for word in (*model.tags, *model.name.split("-"))})
    pairs = [f"{a} and {b}" for a, b in product(words, words) if a < b]
    texts = [form.format(pair) for form in DESCRIPTIONS for pair in pairs]
    np.random.default_rng(0).shuffle(texts)
    bodies = [json.dumps({"text": text, "k": K}).encode() for text in texts]
    name = f"text, {len(models)} models"
    new = Kind(f"by new {name}", "/v1/search", bodies, fresh=True)
    return [new, Kind(f"by known {name}", "/v1/search", bodies[-50:])], texts


def check_answers(address: str, bodies: list[bytes], expected: list[list[str]]) -> None:
    """What the server answers is what the engine does."""
    for body, names in zip(bodies, expected, strict=True):
        request = Request(f"{address}/v1/search", body, {"Content-Type": "application/json"})
        with urlopen(request) as answer:
            found = [hit["name"] for hit in json.load(answer)["hits"]]
        if found != names:
            raise click.ClickException(f"the server answers {found}, the engine {names}")


def embedded(eng: Engine, ask: Any, count: int) -> float:
    """Median milliseconds of the same searches in this process, without a server."""
    taken = []
    for i in range(count):
        began = perf_counter()
        ask(eng, i)
        taken.append(1e3 * (perf_counter() - began))
    return median(taken[len(taken) // 5 :])


def to_markdown(report: dict[str, Any]) -> str:
    """The table."""
    names = ["HTTP", *STAGES]
    where = f"{report['machine']['cores']} cores of {report['machine']['cpu']}"
    taken = f"medians over {report['rounds']} rounds of {report['seconds']:g} s"
    lines = [
        f"Milliseconds a request as its client sees it, {taken}; server and clients share {where}. In brackets the"
        " lowest and the highest round.",
        "",
        f"| request | clients | p50 | p95 | p99 | requests/s | not 200 | {' | '.join(names)} |",
        f"|---|--:|--:|--:|--:|--:|--:|{'--:|' * len(names)}",
    ]
    for one in report["rows"]:
        failed = sum(count for status, count in one["statuses"].items() if status != "200")
        parts = [f"{100 * one['shares'][name]:.0f} %" if one["shares"] else "" for name in names]
        rates = f"{one['per_s']:.0f} [{one['per_s_lowest']:.0f}–{one['per_s_highest']:.0f}]"
        times = " | ".join(f"{one[f'p{p}_ms']:.3g}" for p in (50, 95, 99))
        lines.append(f"| {one['request']} | {one['clients']} | {times} | {rates} | {failed} | {' | '.join(parts)} |")
    lines.append("")
    alone = ", ".join(f"{name} {value:.3g} ms" for name, value in report["embedded_ms"].items())
    lines.append(f"The same searches embedded, one after another: {alone}.")
    return "\n".join(lines) + "\n"


@click.command(help=__doc__)
@click.option("--models", default=1_000_000, show_default=True)
@click.option("--zoo", type=click.Path(path_type=Path, exists=True, dir_okay=False), default=Path("demo/zoo.db"))
@click.option("--data", type=click.Path(path_type=Path), default=HERE / ".cache", show_default=False)
@click.option("--out", type=click.Path(path_type=Path), default=HERE / "results", show_default=False)
@click.option("--seconds", default=5.0, show_default=True, help="A row and round.")
@click.option("--rounds", default=ROUNDS, show_default=True)
@click.option("--clients", default=",".join(map(str, CLIENTS)), show_default=True)
def main(models: int, zoo: Path, data: Path, out: Path, seconds: float, rounds: int, clients: str) -> None:
    """Measure, print, write."""
    counts = tuple(int(part) for part in clients.split(","))
    folder = data / f"load-{models}"
    by_vector, queries = vector_kind(folder, models)
    health = Kind("/healthz", "/healthz", [b""])
    with opened(folder) as eng:
        expected = [eng.names(eng.search_vectors(query, K)[1]) for query in queries[:20]]
    with served(f"sqlite:///{folder / 'zoo.db'}", index=folder / "index") as address:
        check_answers(address, by_vector.bodies[:20], expected)
        rows = measure(address, [health, by_vector], counts, rounds, seconds)
    by_text, texts = text_kinds(zoo)
    with served(f"sqlite:///{zoo}") as address:
        rows += measure(address, by_text, counts, rounds, seconds)
    alone = {}
    with opened(folder) as eng:
        alone[by_vector.name] = embedded(eng, lambda eng, i: eng.search_vectors(queries[i % len(queries)], K), QUERIES)
    with Engine.open(f"sqlite:///{zoo}") as eng:
        alone[by_text[0].name] = embedded(eng, lambda eng, i: eng.search(text=texts[-1 - i], k=K), 100)
    report = {
        "rows": rows, "embedded_ms": alone, "rounds": rounds, "seconds": seconds, "models": models,
        "machine": machine(),
    }  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    (out / "load.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (out / "load.md").write_text(to_markdown(report), encoding="utf-8")
    print(to_markdown(report))


if __name__ == "__main__":
    main()
