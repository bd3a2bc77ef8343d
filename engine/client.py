"""A collection that is served elsewhere, with the embedded ``Engine``'s ``search``: switching is one line.

    eng = Engine.open("sqlite:///zoo.db")                    # embedded
    eng = Client("http://127.0.0.1:8000", key="ek_…")        # served

Pictures are sent as PNG, a path's bytes as they are. Errors are those that the engine raises, by their names.
"""

from __future__ import annotations

import base64
import io
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import errors
from engine.distances import FRECHET
from engine.errors import (
    EngineError,
    InvalidImage,
    InvalidQuery,
    MissingDependency,
    ModelNotFound,
    SourceNotFound,
)
from engine.filters import Where, values_to_text, where_to_pairs
from engine.options import NAMES, SearchKeywords, SearchOptions, keywords_to_options, with_options
from engine.records import Hit, Hits, Model, Models, Part
from engine.texts import quoted

try:
    import httpx
except ImportError as error:
    raise MissingDependency("the client needs the package httpx", hint="pip install 'engine[client]'") from error

if TYPE_CHECKING:
    from PIL.Image import Image
    from typing_extensions import Unpack

POLL = 0.1
"""Seconds between questions for a job's progress."""
TIMEOUT = 30.0
"""Seconds to wait for an answer."""


class ServerError(EngineError):
    """The server could not be reached, or answered with what the engine has no error for; ``status`` is None or its."""

    def __init__(self, message: str, *, hint: str | None = None, status: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class _Requests:
    """What both clients send, and how they read what comes."""

    def __init__(self, url: str, key: str | None) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    @staticmethod
    def search_form(
        given: Mapping[str, Any], parts: Sequence[Part], weights: Mapping[str, float] | None, options: SearchOptions
    ) -> dict[str, Any]:
        """The arguments of an HTTP request for a search."""
        query: dict[str, Any] = {name: getattr(options, name) for name in NAMES}
        query["where"] = None if options.where is None else where_to_pairs(options.where)
        query |= {"text": given["text"], "model": given["model"], "weights": weights}
        if isinstance(given["text"], (list, tuple)):
            query["text"] = None
            parts = [*(Part("text", one) for one in given["text"]), *parts]
        query = {name: value for name, value in query.items() if value is not None or name == "transform"}
        if parts:
            query["parts"] = [_part_to_json(part) for part in parts]
        files = {
            name: (name, image_to_bytes(given[name])) for name in ("image", "sketch") if given[name] is not None
        }  # fmt: skip
        if not files:
            return {"json": query}
        return {"data": {"query": json.dumps(query)}, "files": files}

    @staticmethod
    def read(response: httpx.Response) -> Any:
        """The answer's JSON.

        Raises:
            EngineError: the one that the server names, else ``ServerError``.
        """
        if response.status_code == 204:
            return None
        try:
            said = response.json()
        except ValueError as error:
            text = f"{response.request.url} answered {response.status_code} with what is not JSON"
            raise ServerError(text, hint="is it an engine server?", status=response.status_code) from error
        if response.is_success:
            return said
        raise problem_to_error(said, response.status_code)

    def unreachable(self, error: httpx.TransportError) -> ServerError:
        """What is raised where no answer came."""
        return ServerError(f"{self._url} does not answer: {error}", hint="is it running? engine serve")


class Client(_Requests):
    """Asks a server. Threads may share it; use it as a context manager, or call ``close``."""

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout: float = TIMEOUT,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        super().__init__(url, key)
        self._http = httpx.Client(base_url=self._url, headers=self._headers, timeout=timeout, transport=transport)

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        try:
            return self.read(self._http.request(method, path, **more))
        except httpx.TransportError as error:
            raise self.unreachable(error) from error
        except UnicodeEncodeError as error:
            raise unsendable(error) from error

    @with_options
    def search(
        self,
        *,
        text: str | Sequence[str] | None = None,
        image: Any = None,
        sketch: Any = None,
        model: str | None = None,
        parts: Sequence[Part] = (),
        weights: Mapping[str, float] | None = None,
        **options: Unpack[SearchKeywords],
    ) -> Hits:
        """As ``Engine.search``; hits hold of a model what an answer says: its name, id, kind, tags and description."""
        given = {"text": text, "image": image, "sketch": sketch, "model": model}
        form = self.search_form(given, parts, weights, keywords_to_options(options))
        return json_to_hits(self._ask("POST", "/v1/search", **form))

    def similar(self, name: str, k: int = 10, *, distance: str = FRECHET.name, encoder: str | None = None) -> Hits:
        """As ``Engine.similar``."""
        asked = {"k": k, "distance": distance, **({} if encoder is None else {"encoder": encoder})}
        return json_to_hits(self._ask("GET", "/v1/model/similar", params={**_named(name), **asked}))

    def get(self, name: str) -> Model:
        """As ``Engine.get``."""
        return json_to_model(self._ask("GET", "/v1/model", params=_named(name)))

    def models(self, where: Where | None = None) -> Models:
        """As ``Engine.models``."""
        found = Models()
        asked, cursor = [(key, values_to_text(values)) for key, values in where_to_pairs(where)], None
        while True:
            page = self._ask("GET", "/v1/models", params=[*asked, *([("cursor", cursor)] if cursor else [])])
            found += map(json_to_model, page["models"])
            found.remarks = tuple(page["remarks"])
            cursor = page["next"]
            if cursor is None:
                return found

    def update(self, name: str, /, **changes: Any) -> Model:
        """As ``Engine.update``."""
        return json_to_model(self._ask("PATCH", "/v1/model", params=_named(name), json=changes))

    def remove(self, name: str) -> None:
        """As ``Engine.remove``."""
        self._ask("DELETE", "/v1/model", params=_named(name))

    def draw(self, name: str, count: int = 1, *, seed: int = 0) -> list[Image]:
        """As ``Engine.draw``; whether code is trusted is the server's affair."""
        return list(self.drawing(name, count, seed=seed))

    def drawing(self, name: str, count: int = 1, *, seed: int = 0) -> Iterator[Image]:
        """As ``Engine.drawing``: images come as they are drawn."""
        from PIL import Image

        asked = {"count": count, "seed": seed}
        try:
            with self._http.stream("POST", "/v1/model/samples", params=_named(name), json=asked) as response:
                if not response.is_success:
                    response.read()
                    self.read(response)
                for line in response.iter_lines():
                    said = json.loads(line)
                    if "problem" in said:
                        raise problem_to_error(said["problem"], said["problem"]["status"])
                    yield Image.open(io.BytesIO(base64.b64decode(said["data"]))).convert("RGB")
        except httpx.TransportError as error:
            raise self.unreachable(error) from error

    def ingest(
        self,
        source: str | Path,
        *,
        name: str,
        on_progress: Callable[[int, int | None, int], None] | None = None,
        **details: Any,
    ) -> Model:
        """Upload a model's samples, and wait until the server has ingested them.

        Args:
            source: an archive of pictures (.zip, .tar, .tar.gz), or a .npy or .npz of features or moments.
            on_progress: called with (done, total, quarantined) while the server works; total is None until known.
            **details: ``tags``, ``description``, ``encoder``, ``samples``, ``as_one``, ``replace``, ``author`` …, as
                for ``Engine.ingest``. The same file name under the same model's name is the same source.

        Raises:
            SourceNotFound: it cannot be read.
            EngineError: what the server says of it; interrupting this cancels the job.

        Returns:
            The model's record; its name alone where the key may not read.
        """
        path = Path(source)
        said = json.dumps({"name": name, **details})
        try:
            with path.open("rb") as stream:
                job = self._ask("POST", "/v1/ingest", data={"details": said}, files={"file": (path.name, stream)})
        except OSError as error:
            raise SourceNotFound(f"{source} cannot be read: {error.strerror}") from error
        try:
            while job["ended_at"] is None:
                time.sleep(POLL)
                job = self._ask("GET", f"/v1/ingest/{job['id']}")
                if on_progress is not None:
                    on_progress(job["done"], job["total"] or None, job["quarantined"])
        except BaseException:
            with suppress(EngineError):
                self._ask("DELETE", f"/v1/ingest/{job['id']}")
            raise
        if job["problem"] is not None:
            raise problem_to_error(job["problem"], job["problem"]["status"])
        if job["model"] is None:
            raise ServerError(f"taking in {name!r} was cancelled", hint="send it again: it goes on where it was")
        try:
            return self.get(job["model"])
        except ServerError as error:
            if error.status != 403:
                raise
            return Model(0, job["model"], "")


class AsyncClient(_Requests):
    """Asks a server from asynchronous code. Use it as an asynchronous context manager, or await ``close``."""

    def __init__(
        self, url: str, *, key: str | None = None, timeout: float = TIMEOUT,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:  # fmt: skip
        super().__init__(url, key)
        self._http = httpx.AsyncClient(base_url=self._url, headers=self._headers, timeout=timeout, transport=transport)

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def _ask(self, method: str, path: str, **more: Any) -> Any:
        try:
            return self.read(await self._http.request(method, path, **more))
        except httpx.TransportError as error:
            raise self.unreachable(error) from error
        except UnicodeEncodeError as error:
            raise unsendable(error) from error

    @with_options
    async def search(
        self,
        *,
        text: str | Sequence[str] | None = None,
        image: Any = None,
        sketch: Any = None,
        model: str | None = None,
        parts: Sequence[Part] = (),
        weights: Mapping[str, float] | None = None,
        **options: Unpack[SearchKeywords],
    ) -> Hits:
        """As ``Client.search``."""
        given = {"text": text, "image": image, "sketch": sketch, "model": model}
        form = self.search_form(given, parts, weights, keywords_to_options(options))
        return json_to_hits(await self._ask("POST", "/v1/search", **form))

    async def similar(
        self, name: str, k: int = 10, *, distance: str = FRECHET.name, encoder: str | None = None
    ) -> Hits:
        """As ``Client.similar``."""
        asked = {"k": k, "distance": distance, **({} if encoder is None else {"encoder": encoder})}
        return json_to_hits(await self._ask("GET", "/v1/model/similar", params={**_named(name), **asked}))

    async def get(self, name: str) -> Model:
        """As ``Client.get``."""
        return json_to_model(await self._ask("GET", "/v1/model", params=_named(name)))


def _part_to_json(part: Part) -> dict[str, Any]:
    value = part.value
    if part.modality in ("image", "sketch"):
        value = base64.b64encode(image_to_bytes(value)).decode()
    told = {"modality": part.modality, "value": value, "weight": part.weight, "name": part.name}
    return {name: one for name, one in told.items() if one is not None}


def _named(name: str) -> dict[str, str]:
    """A model's name as a parameter: in a path, clients and proxies would resolve ``..`` and decode slashes."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ModelNotFound(f"there is no model named {quoted(name, 80)}", hint="it has a lone surrogate") from error
    return {"name": name}


def unsendable(error: UnicodeEncodeError) -> InvalidQuery:
    """What is raised for a text that is not Unicode."""
    at = slice(max(error.start - 20, 0), error.end + 20)
    return InvalidQuery(f"a lone surrogate cannot be sent: {error.object[at]!r}", hint="give texts in UTF-8")


def image_to_bytes(value: Any) -> bytes:
    """A picture as it is sent: a file's or given bytes as they are, a PIL image or an array as PNG.

    Raises:
        InvalidImage, SourceNotFound
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, (str, os.PathLike)):
        try:
            return Path(value).read_bytes()
        except OSError as error:
            raise SourceNotFound(f"{value} cannot be read: {error.strerror}") from error
    from PIL import Image

    from engine.samples.colour import array_to_image

    if isinstance(value, np.ndarray):
        value = array_to_image(value)
    if not isinstance(value, Image.Image):
        raise InvalidImage(f"a picture is a path, bytes, a PIL image or a NumPy array, got {type(value).__name__}")
    stream = io.BytesIO()
    value.save(stream, "PNG")
    return stream.getvalue()


def problem_to_error(said: Any, status: int) -> EngineError:
    """The engine's error that a problem names."""
    title, detail, hint = (said.get(key) if isinstance(said, dict) else None for key in ("title", "detail", "hint"))
    kind = getattr(errors, str(title), None)
    message = str(detail or f"the server answered {status}")
    if isinstance(kind, type) and issubclass(kind, EngineError):
        return kind(message, hint=hint)
    if status == 422:
        return InvalidQuery(message, hint=hint)
    return ServerError(message, hint=hint, status=status)


def json_to_hits(said: dict[str, Any]) -> Hits:
    """An answer."""
    hits = [
        Hit(
            one["rank"], one["name"], one["score"],
            Model(one["id"], one["name"], one["kind"], tuple(one["tags"]), one["description"]), one["parts"],
        )
        for one in said["hits"]
    ]  # fmt: skip
    rest = {name: said[name] for name in ("method", "timings_ms", "shortlist", "left_out", "transform")}
    nearer = said.get("lower_is_nearer", False)
    return Hits(hits, **rest, remarks=tuple(said["remarks"]), lower_is_nearer=nearer)


def json_to_model(said: dict[str, Any]) -> Model:
    """A model's record."""
    times = {name: said[name] and datetime.fromisoformat(said[name]) for name in ("created_at", "updated_at")}
    return Model(**{**said, "tags": tuple(said["tags"]), "encoders": tuple(said["encoders"]), **times})
