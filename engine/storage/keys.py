"""API keys of a collection: what a server's callers show. Only a hash of each is kept."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select

from engine.errors import InvalidInput, KeyNotFound
from engine.storage.database import Database
from engine.storage.details import checked_name
from engine.storage.model_rows import now
from engine.storage.tables import CollectionRow
from engine.texts import is_storable

PREFIX = "api_key:"
READ, WRITE, DRAW, ADMIN = "read", "write", "draw", "admin"
SCOPES = (READ, WRITE, DRAW, ADMIN)
"""What keys may do. ``admin`` includes the others; of those, none includes another."""
SECRET_BYTES = 32
"""Drawn at random, so that one fast hash is enough: there is nothing to guess."""


@dataclass(frozen=True)
class Key:
    """A key, without its secret. ``id`` names it to ``revoke``; ``scopes`` are of ``SCOPES``."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime

    def may(self, scope: str) -> bool:
        """Whether the key has a scope, or is an admin's."""
        return scope in self.scopes or ADMIN in self.scopes


def token_to_id(token: str) -> str | None:
    """The id of the key that a token claims to be; None if it has not the form of one."""
    parts = token.split("_", 2)
    well_formed = len(parts) == 3 and parts[0] == "ek" and parts[1].isalnum() and token.isascii()
    return parts[1] if well_formed else None


def is_token_of(token: str, digest: str) -> bool:
    """Whether a token's secret has that digest. Comparing takes the same time wherever they differ."""
    return hmac.compare_digest(digest, _hash(token.split("_", 2)[2]))


class Keys:
    """The keys of an open database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def create(self, name: str, scopes: Sequence[str]) -> tuple[Key, str]:
        """A new key, and its token, which cannot be had again.

        Raises:
            InvalidInput: an unknown scope, none, or a name that cannot be stored.
        """
        wanted = tuple(scope for scope in SCOPES if scope in scopes)
        if not wanted or set(scopes) - set(SCOPES):
            raise InvalidInput(f"scopes are {', '.join(SCOPES)}, got {', '.join(scopes) or 'none'}")
        key = Key(secrets.token_hex(4), checked_name(name), wanted, now())
        secret = secrets.token_urlsafe(SECRET_BYTES)
        said = {"name": key.name, "scopes": key.scopes, "created_at": key.created_at.isoformat(), "hash": _hash(secret)}
        with self.database.write() as session:
            session.add(CollectionRow(key=PREFIX + key.id, value=json.dumps(said)))
        return key, f"ek_{key.id}_{secret}"

    def all(self) -> list[Key]:
        """Every key, oldest first."""
        with self.database.read() as session:
            rows = session.scalars(select(CollectionRow).where(CollectionRow.key.startswith(PREFIX))).all()
            return sorted((_key(row) for row in rows), key=lambda key: (key.created_at, key.id))

    def revoke(self, key_id: str) -> None:
        """Forget a key: from now on it opens nothing.

        Raises:
            KeyNotFound
        """
        gone = False
        if is_storable(key_id):
            with self.database.write() as session:
                named = delete(CollectionRow).where(CollectionRow.key == PREFIX + key_id)
                gone = bool(session.execute(named.returning(CollectionRow.key)).all())
        if not gone:
            raise KeyNotFound(f"there is no key {key_id!r}", hint="engine keys list shows what there is")

    def digests(self) -> dict[str, tuple[str, Key]]:
        """By id: the digest of each key's secret, and the key."""
        with self.database.read() as session:
            rows = session.scalars(select(CollectionRow).where(CollectionRow.key.startswith(PREFIX))).all()
            keys = [(_key(row), str(json.loads(row.value)["hash"])) for row in rows]
        return {key.id: (digest, key) for key, digest in keys}


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _key(row: CollectionRow) -> Key:
    said = json.loads(row.value)
    return Key(
        row.key.removeprefix(PREFIX), said["name"], tuple(said["scopes"]), datetime.fromisoformat(said["created_at"])
    )
