"""Where a server listens: bound before anything else is done, so that a port in use is told at once."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import uvicorn

from engine.errors import AddressUnavailable

BACKLOG = 2048
REASONS = {
    errno.EADDRINUSE: ("it is in use", "stop what listens there, or give another --port; 0 takes any that is free"),
    errno.EACCES: ("that is not permitted", "give a --port above 1023"),
    errno.EADDRNOTAVAIL: ("this machine has no such address", "give --host an address of this machine, or 0.0.0.0"),
}


@contextmanager
def listening(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Sockets that listen, one an address of ``host``; with port 0 all on one that is free.

    Raises:
        AddressUnavailable
    """
    with ExitStack() as opened:
        yield _bound(host, port, opened)


def _bound(host: str, port: int, opened: ExitStack) -> list[socket.socket]:
    found: list[socket.socket] = []
    failed: OSError | None = None
    try:
        every = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        hint = "give --host an address of this machine, or 0.0.0.0"
        raise AddressUnavailable(f"cannot listen on {host!r}: no address has that name", hint=hint) from error
    for family, address in dict.fromkeys((one[0], one[4]) for one in every):
        place = (str(address[0]), port or (found[0].getsockname()[1] if found else 0))
        try:
            made = socket.create_server(place, family=family, backlog=BACKLOG)
        except OSError as error:
            failed = error
            if error.errno == errno.EADDRINUSE:
                break
            continue  # localhost may have an IPv6 address that this machine lacks
        # asyncio sends without delay only where it reads this protocol off the socket: else answers take 40 ms
        named = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, made.detach())
        found.append(opened.enter_context(named))
    if found and (failed is None or failed.errno != errno.EADDRINUSE):
        return found
    if failed is None:
        raise AddressUnavailable(f"cannot listen on {host!r}: it has no address")
    why, hint = REASONS.get(failed.errno or 0, (failed.strerror or str(failed), "give another --host or --port"))
    raise AddressUnavailable(f"cannot listen on {host}:{port}: {why}", hint=hint) from failed


class Server(uvicorn.Server):
    """Says where it listens, as uvicorn does for sockets of its own."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve."""
        await super().startup(sockets)
        for one in sockets or ():
            with suppress(OSError):
                host, port = one.getsockname()[:2]
                shown = f"[{host}]" if ":" in host else host
                logging.getLogger("uvicorn.error").info("engine running on http://%s:%d (Ctrl+C ends it)", shown, port)
