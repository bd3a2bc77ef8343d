"""``engine serve`` and ``engine keys``: the HTTP API and who may call it."""

from __future__ import annotations

import copy
import ipaddress
import re
import signal
from typing import TYPE_CHECKING

import click

from engine.cli.group import Group
from engine.cli.options import database_option, open_collection, shared
from engine.cli.output import say, show_json
from engine.cli.table import Column, show_table
from engine.errors import InvalidInput, MissingDependency

if TYPE_CHECKING:
    import socket

    import uvicorn

    from engine.storage.keys import Key

HOST = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9_.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]+\]")
"""A name, all names below one, or an address."""
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@click.command()
@click.option("--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", metavar="N", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any.")
@click.option(
    "--auth", type=click.Choice(["auto", "keys", "off"]), default="auto", show_default=True, metavar="WHICH",
    help="keys: callers must show an API key; off: everybody may do everything, on loopback alone; auto: off on "
    "loopback for requests that come from this machine directly, else keys.",
)  # fmt: skip
@click.option(
    "--allow-host", "allowed", multiple=True, metavar="NAME",
    help="A name that requests may be for, as api.example.org or *.example.org. Repeatable; needed beyond loopback.",
)  # fmt: skip
@click.option(
    "--workers", metavar="N", type=click.IntRange(min=1), default=8, show_default=True,
    help="Requests that are worked on at the same time; others wait.",
)  # fmt: skip
@click.option(
    "--trust", is_flag=True,
    help="Draw more samples also from programs and Python code that are trusted on this machine: what was ingested "
    "here with --trust, and what engine trust recorded.",
)  # fmt: skip
@database_option
def serve(url: str, host: str, port: int, auth: str, allowed: tuple[str, ...], workers: int, trust: bool) -> None:
    """Serve the search page and the HTTP API until interrupted; what was accepted is finished.

    Open the address in a browser. /docs describes the API, /openapi.json is its OpenAPI document. One process serves:
    its requests share one index, one encoder and one cache.

    \b
    Example:
      engine keys create laptop --scope read
      engine serve --host 0.0.0.0 --port 8080 --allow-host zoo.example.org
    """
    try:
        import uvicorn

        from engine.server import Limits, create_app
        from engine.server.connections import IDLE_SECONDS, limited
        from engine.server.listening import Server, listening
        from engine.server.warming import Warming
    except ImportError as error:
        raise MissingDependency(
            f"serving needs the package {error.name}", hint="pip install 'engine[server]'"
        ) from error
    near = is_loopback(host)
    wrong = next((name for name in allowed if not HOST.fullmatch(name.lower())), None)
    if wrong is not None:
        raise InvalidInput(
            f"{wrong!r:.100} is not a host name", hint="without scheme and port: zoo.example.org, *.example.org, [::1]"
        )
    with_keys = auth == "keys" or (auth == "auto" and not near)
    if not near and not with_keys:
        raise InvalidInput(
            f"--auth off is for loopback alone, and others reach {host}",
            hint="create a key: engine keys create NAME --scope read; and leave --auth out",
        )
    if not near and not allowed:
        raise InvalidInput(
            f"requests to a server on {host} must be for a name that it knows",
            hint="give the names that it is reached by: --allow-host zoo.example.org",
        )
    with listening(host, port) as sockets, open_collection(url, encode_together=True) as eng:
        if with_keys and not eng.keys.all():
            raise InvalidInput(
                f"nobody could call a server on {host}: there are no API keys",
                hint="create one: engine keys create NAME --scope read",
            )
        hosts = frozenset({*(LOOPBACK if near else ()), host, *(name.lower() for name in allowed)})
        limits = Limits(searches=workers)
        warming = Warming(eng)
        app = create_app(
            eng,
            limits=limits,
            with_keys=with_keys,
            trust=trust,
            hosts=hosts,
            direct=auth == "auto" and near,
            warming=warming,
        )
        logs = copy.deepcopy(uvicorn.config.LOGGING_CONFIG)
        logs["handlers"]["access"]["stream"] = "ext://sys.stderr"
        logs["loggers"]["python_multipart"] = {"level": "ERROR"}  # each form that is none would leave a line
        config = uvicorn.Config(
            app, log_config=logs, timeout_graceful_shutdown=limits.grace, server_header=False, proxy_headers=False,
            http=limited(limits), ws="none", timeout_keep_alive=IDLE_SECONDS,
        )  # fmt: skip
        warming.start()
        _run_until_told(Server(config), sockets)


def _run_until_told(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
    """Serve until SIGINT or SIGTERM; both let it finish, and the collection be closed."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)  # uvicorn raises what it was told once more when it has ended
    try:
        server.run(sockets)
    except KeyboardInterrupt:
        say("stopped")
    finally:
        signal.signal(signal.SIGTERM, before)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@click.group(cls=Group)
def keys() -> None:
    """Create, list and revoke the API keys of the collection's server.

    \b
    Example:
      engine keys create laptop --scope read
    """


@keys.command()
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice(["read", "write", "draw", "admin"]), default=("read",),
    show_default=True,
    help="What the key may do: read; write; draw new pictures; admin, which is everything. Repeatable.",
)  # fmt: skip
@shared
def create(url: str, as_json: bool, name: str, scopes: tuple[str, ...]) -> None:
    """Create a key and show it, this one time: only a hash of it is kept.

    \b
    Example:
      engine keys create robot --scope read --scope write
    """
    with open_collection(url) as eng:
        key, token = eng.keys.create(name, scopes)
    if as_json:
        show_json({"key": _to_json(key), "token": token})
        return
    click.echo(token)
    say(f"key {key.id} ({key.name}) may {' and '.join(key.scopes)}; it cannot be shown again")


@keys.command("list")
@shared
def list_keys(url: str, as_json: bool) -> None:
    """List the keys, without their secrets.

    \b
    Example:
      engine keys list
    """
    with open_collection(url) as eng:
        found = eng.keys.all()
    if as_json:
        show_json({"keys": [_to_json(key) for key in found]})
        return
    if not found:
        say("no keys yet: engine keys create NAME makes one")
        return
    columns = [Column("id", keep=True), Column("name", least=8), Column("scopes"), Column("created")]
    show_table(columns, [[k.id, k.name, ", ".join(k.scopes), f"{k.created_at:%Y-%m-%d %H:%M}"] for k in found])


@keys.command()
@click.argument("key_id", metavar="ID")
@shared
def revoke(url: str, as_json: bool, key_id: str) -> None:
    """Revoke a key; a running server turns it away within five seconds.

    \b
    Example:
      engine keys revoke 1a2b3c4d
    """
    with open_collection(url) as eng:
        eng.keys.revoke(key_id)
    if as_json:
        show_json({"revoked": key_id})
    else:
        click.echo(f"revoked {key_id}")


def _to_json(key: Key) -> dict[str, object]:
    return {"id": key.id, "name": key.name, "scopes": list(key.scopes), "created_at": key.created_at}
