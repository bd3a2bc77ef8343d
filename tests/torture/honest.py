"""Honest clients of a server that is abused: each knows the right answer to what it asks, and how long it waited."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException

from PIL import Image

from tests.torture import content

PATIENCE = 30.0
THINKING = 0.2
"""Seconds between an answer and the next request."""


@dataclass
class Client:
    """One person or program with a key of its own."""

    port: int
    key: str
    number: int
    seconds: list[float] = field(default_factory=list)
    """Of each request, connecting included."""
    failures: list[str] = field(default_factory=list)
    written: dict[str, list[float]] = field(default_factory=dict)
    """Models whose writing was acknowledged, with their means."""

    def ask(self, method: str, path: str, body: object = None, *, expected: int = 200) -> bytes:
        """The answer to one request on a new connection; one that fails is noted."""
        data = b"" if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        began = time.monotonic()
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            said = answer.read()
        except (OSError, HTTPException) as error:
            self.failures.append(f"{method} {path}: {type(error).__name__}: {error}")
            return b""
        finally:
            connection.close()
            self.seconds.append(time.monotonic() - began)
        if answer.status != expected:
            self.failures.append(f"{method} {path}: {answer.status} {said[:200]!r}")
            return b""
        return said


def by_model(client: Client) -> None:
    """Models like one of them; it is not among them."""
    found = client.ask("POST", "/v1/search", {"model": f"m-{client.number}", "k": 5})
    names = [hit["name"] for hit in json.loads(found)["hits"]] if found else []
    if found and (len(names) != 5 or f"m-{client.number}" in names):
        client.failures.append(f"a model's neighbours were {names}")


def by_picture(client: Client) -> None:
    """A picture of a model, which comes first."""
    stream = io.BytesIO()
    Image.fromarray(content.picture(client.number % 2, client.number)).save(stream, "PNG")
    image = base64.b64encode(stream.getvalue()).decode()
    found = client.ask("POST", "/v1/search", {"image": image, "k": 3, "where": {"tag": "drawn"}})
    if found and not json.loads(found)["hits"]:
        client.failures.append("a picture found nothing")


def by_text(client: Client) -> None:
    """A text."""
    found = client.ask("POST", "/v1/search", {"text": f"a red thing, number {len(client.seconds)}", "k": 5})
    if found and len(json.loads(found)["hits"]) != 5:
        client.failures.append(f"a text found {found[:200]!r}")


def by_filter(client: Client) -> None:
    """A small filter."""
    found = client.ask("GET", "/v1/models?tag=drawn&limit=5")
    if found and not json.loads(found)["models"]:
        client.failures.append("a filter found nothing")


def one_model(client: Client) -> None:
    """One model's record."""
    found = client.ask("GET", f"/v1/models/m-{client.number}")
    if found and json.loads(found)["name"] != f"m-{client.number}":
        client.failures.append(f"the wrong model: {found[:200]!r}")


def health(client: Client) -> None:
    """Whether the server lives."""
    client.ask("GET", "/healthz")


def write(client: Client) -> None:
    """A model by its moments, which must be there afterwards."""
    name = f"honest-{client.number}-{len(client.written)}"
    mean = [0.6, 0.8, 0.01 * (len(client.written) % 100)]
    if client.ask("PUT", f"/v1/models/{name}", {"encoder": "external:honest", "mean": mean, "samples": 5}):
        client.written[name] = mean


HABITS: tuple[tuple[Callable[[Client], None], ...], ...] = (
    (by_model, one_model), (by_picture,), (by_text,), (by_filter, by_model), (one_model, by_filter),
    (health, by_model), (write,), (write, one_model), (by_text, by_model), (by_picture, by_text),
)  # fmt: skip
"""What each of the clients does, in turn."""


def clients_ask(clients: list[Client], seconds: float) -> None:
    """Have them ask, beside one another, for so long."""
    until = time.monotonic() + seconds

    def live(client: Client) -> None:
        habits, step = HABITS[client.number % len(HABITS)], 0
        while time.monotonic() < until:
            habits[step % len(habits)](client)
            step += 1
            time.sleep(THINKING)

    threads = [threading.Thread(target=live, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
