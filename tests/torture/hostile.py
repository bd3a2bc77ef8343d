"""Hostile clients of a server: each kind of abuse that ``docs/security.md`` names, repeated by niced processes.

    python -m tests.torture.hostile PORT SECONDS READ_KEY WRITE_KEY KIND…

runs one thread a kind and prints the statuses it was answered with.
"""

from __future__ import annotations

import io
import json
import os
import random
import socket
import sys
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection, HTTPException

import numpy as np
from PIL import Image

PATIENCE = 30.0
"""Seconds that a hostile client waits for an answer or holds what it holds."""
SILENT = 100
"""Connections that a silent client holds at once."""


@dataclass
class Abuser:
    """One client: where the server is, its keys, what it was answered."""

    port: int
    until: float
    read: str
    write: str
    answered: Counter[str]

    def ask(
        self, method: str, path: str, body: bytes = b"", key: str | None = None, kind: str = "application/json"
    ) -> bytes:
        """One request on a connection of its own; its status is counted."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, _headers(key, kind))
            answer = connection.getresponse()
            data = answer.read()
        except (OSError, HTTPException) as error:
            self.answered[type(error).__name__] += 1
            return b""
        finally:
            connection.close()
        self.answered[str(answer.status)] += 1
        return data

    def begin(self, method: str, path: str, length: int, sent: bytes, key: str | None = None) -> socket.socket:
        """A request whose body is announced as ``length`` bytes and of which ``sent`` is sent; still open."""
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {length}"]
        lines += [f"{name}: {value}" for name, value in _headers(key, "application/json").items()]
        held = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        with suppress(OSError):
            held.sendall("\r\n".join([*lines, "", ""]).encode() + sent)
        return held

    def hold(self, held: list[socket.socket], seconds: float) -> None:
        """Keep connections open for a while, then close them."""
        time.sleep(max(0.0, min(seconds, self.until - time.monotonic())))
        for one in held:
            one.close()


def _headers(key: str | None, kind: str) -> dict[str, str]:
    return {"Content-Type": kind, **({} if key is None else {"Authorization": f"Bearer {key}"})}


# --- connections and bodies


def silent(client: Abuser) -> None:
    """Many connections that say nothing."""
    held = []
    for _ in range(SILENT):
        with suppress(OSError):
            held.append(socket.create_connection(("127.0.0.1", client.port), 5))
    client.hold(held, PATIENCE)


def dribble(client: Abuser) -> None:
    """A head, a byte a second."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", client.port), 5) as held:
        for byte in b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 1000:
            held.sendall(bytes([byte]))
            time.sleep(1)
            if time.monotonic() > client.until:
                return


def half_body(client: Abuser, key: str | None) -> None:
    """Bodies of 33 MB of which a megabyte is missing, two at once."""
    sent = b'{"text": "' + b"x" * (32 * 2**20 - 20)
    client.hold([client.begin("POST", "/v1/search", 33 * 2**20, sent, key) for _ in range(2)], PATIENCE)


def small_half_bodies(client: Abuser) -> None:
    """Admissible bodies that never end, ten at once."""
    sent = b'{"text": "' + b"x" * (8 * 2**20)
    client.hold([client.begin("POST", "/v1/search", 9 * 2**20, sent, client.read) for _ in range(10)], PATIENCE)


def brackets(client: Abuser, key: str | None) -> None:
    """31 MB of ``[],`` where moments are expected."""
    client.ask("PUT", "/v1/models/x", b"[" + b"[]," * 10_600_000 + b"[]]", key)


def deep(client: Abuser) -> None:
    """Metadata that is nested ten thousand deep."""
    client.ask("PATCH", "/v1/models/m-1", b'{"metadata": {"a": ' + b"[" * 10_000 + b"]" * 10_000 + b"}}", client.write)


def slow_reader(client: Abuser) -> None:
    """Asks for large answers and reads none of them."""
    held = []
    for _ in range(10):
        with suppress(OSError):
            one = client.begin("GET", "/v1/models?limit=500", 0, b"", client.read)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            held.append(one)
    client.hold(held, PATIENCE)


def gone(client: Abuser) -> None:
    """Asks for what takes long, and is gone."""
    body = json.dumps({"model": "m-1", "where": _many_parts(200), "k": 1000}).encode()
    held = [client.begin("POST", "/v1/search", len(body), body, client.read) for _ in range(4)]
    client.hold(held, 0.2)
    client.answered["gone"] += 4


# --- keys and paths


def wrong_key(client: Abuser) -> None:
    """Keys that are none."""
    client.ask("GET", "/v1/models", key=f"ek_{random.getrandbits(32):08x}_{random.getrandbits(200):050x}")


def login(client: Abuser) -> None:
    """Sign-ins with wrong keys, some of them long."""
    body = b"key=" + b"k" * random.choice([10, 3000, 2**20])
    client.ask("POST", "/login", body, kind="application/x-www-form-urlencoded")


def invented(client: Abuser) -> None:
    """Methods and paths that nobody has."""
    client.ask(f"BREW{random.randrange(10**6)}", f"/v1/coffee/{random.random()}", key=client.read)


def paths(client: Abuser) -> None:
    """Encoders that name files of the server."""
    body = json.dumps({"encoder": "timm:resnet18@/etc/hostname", "mean": [0.6, 0.8], "samples": 5}).encode()
    client.ask("PUT", "/v1/models/pathfinder", body, client.write)


def long_names(client: Abuser) -> None:
    """Models that do not exist, by names as long as a head may be."""
    client.ask("GET", "/v1/models/" + "m-" * 20_000, key=client.read)


# --- work


def _many_parts(values: int) -> dict[str, list[str]]:
    return {"name~!": [f"part {random.random()}" for _ in range(values)]}


def filters(client: Abuser) -> None:
    """As many parts and as many values as a filter may have, none of which any name contains or is."""
    client.ask("POST", "/v1/search", _json(model="m-1", where=_many_parts(200)), client.read)
    values = [f"value {random.random()}" for _ in range(1000)]
    client.ask("POST", "/v1/search", _json(model="m-1", where={"name!": values}), client.read)


def too_many_filters(client: Abuser) -> None:
    """More values than a filter may have."""
    client.ask("POST", "/v1/search", _json(model="m-1", where=_many_parts(5000)), client.read)


def batches(client: Abuser) -> None:
    """As many searches as one request may have, with as many answers each."""
    queries = [{"model": f"m-{random.randrange(1000)}", "k": 64} for _ in range(64)]
    client.ask("POST", "/v1/search/batch", _json(queries=queries), client.read)


def listings(client: Abuser) -> None:
    """The largest pages."""
    client.ask("GET", "/v1/models?limit=500&sort=-updated_at&name~=7", key=client.read)
    client.ask("GET", "/explore.json", key=client.read)


@cache
def _picture(width: int, height: int, mode: str) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, (width, height)).save(stream, "PNG", compress_level=9)
    return stream.getvalue()


def _form(name: str, file_name: str, data: bytes, **fields: str) -> tuple[bytes, str]:
    boundary = "abuse"
    lines = [f'--{boundary}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
    lines.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{file_name}"\r\n\r\n')
    return "".join(
        lines
    ).encode() + data + f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def pixels(client: Abuser) -> None:
    """A picture of 64 megapixels of 16 bits, in 124 KB."""
    body, kind = _form("image", "p.png", _picture(8000, 8000, "I;16"), query="{}")
    client.ask("POST", "/v1/search", body, client.read, kind)


def thin(client: Abuser) -> None:
    """A picture of 100 000 x 1."""
    body, kind = _form("image", "p.png", _picture(100_000, 1, "RGB"), query="{}")
    client.ask("POST", "/v1/search", body, client.read, kind)


@cache
def _array(rows: int, columns: int) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.ones((rows, columns), np.float16))
    return stream.getvalue()


@cache
def _zeros() -> bytes:
    stream, member = io.BytesIO(), io.BytesIO()
    np.save(member, np.zeros((100_000, 512), np.float16))
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("features.npy", member.getbuffer())
    return stream.getvalue()


def wide_array(client: Abuser) -> None:
    """Two features of 12 000 numbers, whose covariance would take a gigabyte."""
    _upload(client, "wide.npy", _array(2, 12_000))


def zeros(client: Abuser) -> None:
    """Zeros, well compressed."""
    _upload(client, "zeros.npz", _zeros())


def _upload(client: Abuser, file_name: str, data: bytes) -> None:
    details = json.dumps({"name": f"upload-{random.random()}", "encoder": "external:abuse"})
    body, kind = _form("file", file_name, data, details=details)
    client.ask("POST", "/v1/ingest", body, client.write, kind)


def _json(**members: object) -> bytes:
    return json.dumps(members).encode()


KINDS: dict[str, Callable[[Abuser], None]] = {
    "silent": silent, "dribble": dribble, "slow_reader": slow_reader, "gone": gone,
    "half_body": lambda client: half_body(client, None),
    "half_body_read": lambda client: half_body(client, client.read), "small_half_bodies": small_half_bodies,
    "brackets": lambda client: brackets(client, None),
    "brackets_write": lambda client: brackets(client, client.write),
    "deep": deep, "wrong_key": wrong_key, "login": login, "invented": invented, "paths": paths,
    "long_names": long_names, "filters": filters, "too_many_filters": too_many_filters, "batches": batches,
    "listings": listings, "pixels": pixels, "thin": thin, "wide_array": wide_array, "zeros": zeros,
}  # fmt: skip


def main(port: int, seconds: float, read: str, write: str, kinds: list[str]) -> None:
    """A thread a kind, each over and over until the time is up; one JSON object on stdout."""
    os.nice(19)
    clients = [(kind, Abuser(port, time.monotonic() + seconds, read, write, Counter())) for kind in kinds]

    def abuse(kind: str, client: Abuser) -> None:
        while time.monotonic() < client.until:
            with suppress(OSError):
                KINDS[kind](client)
            time.sleep(0.01)

    threads = [threading.Thread(target=abuse, args=one) for one in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answered: dict[str, Counter[str]] = {}
    for kind, client in clients:
        answered.setdefault(kind, Counter()).update(client.answered)
    print(json.dumps(answered))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5:])
