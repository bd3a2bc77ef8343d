"""A database's URL: what is taken, how it is shown, and which spelling is meant where it is refused.

Passwords are often pasted unescaped, and then any part of a URL may be a part of the password. So a URL that is refused
is not quoted, and one that is taken is shown without its secrets, wherever they stood in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import unquote_plus, unquote_to_bytes

from sqlalchemy import exc, make_url
from sqlalchemy.engine import URL

from engine.errors import InvalidInput, MissingDependency

EXAMPLES = "for example sqlite:///zoo.db or postgresql+psycopg://user@host/name"
ESCAPE = "percent-encode user and password: @ is %40, : %3A, / %2F, ? %3F, # %23, & %26, % %25"
POSTGRES = ("postgres", "postgresql")
SQLITE = ("sqlite", "sqlite+pysqlite")
SECRET = re.compile(r"pass|secret|token|key", re.IGNORECASE)
"""What parameters are called whose values are not shown."""
MODES = {"mode": ("ro", "rw", "rwc"), "immutable": ("0", "1")}
"""Parameters of a SQLite URL, and their values."""
INSTEAD = {
    "uri": "leave it out: mode and immutable are understood without it",
    "timeout": "set busy_timeout, or ENGINE_BUSY_TIMEOUT",
}
REPEATED = ("host", "port")
LARGEST_PORT = 65_535


@dataclass(frozen=True)
class Address:
    """A checked URL. ``url`` may be shown with its password hidden; ``secrets`` are parameters that stood in its query.

    ``read_only`` and ``immutable`` are SQLite's ``mode=ro`` and ``immutable=1``; the latter includes the former.
    ``may_create`` is false under ``mode=rw``, too.
    """

    url: URL
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    read_only: bool = False
    immutable: bool = False
    may_create: bool = True

    @property
    def shown(self) -> str:
        """The URL without any secret: the only form that is for people."""
        return self.url.render_as_string(hide_password=True)

    def censored(self, said: str) -> str:
        """What a driver says, without the secrets that it may repeat."""
        for secret in (str(self.url.password or ""), *self.secrets.values()):
            if len(secret) > 2:
                said = said.replace(secret, "***")
        return said


def text_to_address(url: str) -> Address:
    """A database URL, checked.

    Raises:
        InvalidInput: not a URL, another database system, an in-memory SQLite, or a parameter that is not known. What is
            said names the right spelling, and quotes nothing that may be part of a password.
        MissingDependency: psycopg is not installed.
    """
    if not isinstance(url, str):
        raise InvalidInput(f"a database URL is a text, got {type(url).__name__}", hint=EXAMPLES)
    if "\0" in url or "%00" in url:
        raise InvalidInput("the database URL holds a zero byte", hint=EXAMPLES)
    if not _is_utf8(url):
        raise InvalidInput(
            "the database URL holds bytes that are not UTF-8",
            hint="rename the file" if url.startswith("sqlite") else ESCAPE,
        )
    scheme, separator, rest = url.partition("://")
    if separator and scheme in SQLITE:
        return _sqlite(url, rest)
    if separator and scheme.partition("+")[0] in POSTGRES:
        return _postgres(f"postgresql://{rest}", rest)
    if separator and re.fullmatch(r"[a-z0-9]+(\+[a-z0-9]+)?", scheme):
        raise InvalidInput(f"{scheme!r} is not a supported database: SQLite and Postgres are", hint=EXAMPLES)
    path = url.removeprefix("sqlite:")
    hint = f"a SQLite file is written as {_spelled(path)}" if _is_plain(path) else EXAMPLES
    raise InvalidInput("not a database URL", hint=hint)


def _sqlite(url: str, rest: str) -> Address:
    if not rest.startswith("/"):
        if not rest or rest.startswith("?"):
            raise InvalidInput("an in-memory database cannot hold a collection", hint=EXAMPLES)
        hint = f"write {_spelled(rest)}" if _is_plain(rest) else EXAMPLES
        raise InvalidInput("a SQLite URL has three slashes and then the path, four before an absolute path", hint=hint)
    query = _parameters(rest, tuple(MODES))
    for key, value in query.items():
        if value not in MODES[key]:
            raise InvalidInput(f"{key} in a SQLite URL is one of {', '.join(MODES[key])}, got {value!r}")
    parsed = _parsed(url)
    path = parsed.database
    if not path or path.startswith((":memory:", "file::memory:")):
        raise InvalidInput("an in-memory database cannot hold a collection", hint=EXAMPLES)
    if path.startswith("file:"):
        hint = "write the path itself, as sqlite:///zoo.db?mode=ro"
        raise InvalidInput("a file: URI inside a SQLite URL is not supported", hint=hint)
    if path.endswith(("/", "/.", "/..")):
        raise InvalidInput(
            f"{path!r} is a folder; a collection is a file", hint=f"write {_spelled(str(Path(path) / 'zoo.db'))}"
        )
    immutable = query.get("immutable") == "1"
    if immutable and query.get("mode", "ro") != "ro":
        raise InvalidInput("an immutable database cannot be written: mode and immutable contradict each other")
    mode = "ro" if immutable else query.get("mode", "rwc")
    return Address(parsed, read_only=mode == "ro", immutable=immutable, may_create=mode == "rwc")


def _postgres(url: str, rest: str) -> Address:
    found = re.match(r"(?:([^:/]*)(?::([^@]*))?@)?(.*)", rest, re.DOTALL)  # as SQLAlchemy takes it apart
    assert found is not None, "it matches anything"
    _, password, after = found.groups()
    swallowed = password is not None and re.search(r"\?.*=", password, re.DOTALL)  # host:5432/db?password=x@y
    if swallowed or "@" in (after if password else after.partition("?")[0]):
        raise InvalidInput("the database URL has an unescaped @", hint=ESCAPE)
    query = _parameters(after, _known_to_libpq())
    parsed = _parsed(url)
    if parsed.port is not None and not 1 <= parsed.port <= LARGEST_PORT:
        raise InvalidInput("the database URL has an invalid port", hint=ESCAPE)
    given = parsed.query.get("host", "")
    hosts = [parsed.host or "", *(given.split(",") if isinstance(given, str) else given)]
    if not all(_is_host(host.partition(":")[0]) for host in hosts):
        raise InvalidInput("the database URL has an invalid host", hint=ESCAPE)
    if "password" in query:
        if parsed.password is not None:
            raise InvalidInput("the database URL has two passwords", hint="give one, or none and a passfile")
        parsed = parsed.set(password=query["password"])
    secrets = {key: value for key, value in query.items() if SECRET.search(key)}
    parsed = parsed.set(drivername="postgresql+psycopg").difference_update_query(list(secrets))
    secrets.pop("password", None)
    return Address(parsed, secrets)


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except (exc.ArgumentError, ValueError):  # ValueError: a port that is no number
        pass
    raise InvalidInput("not a database URL", hint=f"{EXAMPLES}; {ESCAPE}")  # no cause: it may quote the URL


def _parameters(rest: str, known: Sequence[str]) -> dict[str, str]:
    """The query of a URL, every part of it known and whole."""
    pieces = [piece for piece in rest.partition("?")[2].split("&") if piece]
    pairs = [tuple(map(unquote_plus, piece.partition("=")[::2])) for piece in pieces]
    nameless = any(SECRET.search(key) for key, _ in pairs)  # what follows may be the rest of a password with an &
    query: dict[str, str] = {}
    for (key, value), piece in zip(pairs, pieces, strict=True):
        if key not in known or "=" not in piece or (key in query and key not in REPEATED):
            what = "a parameter" if nameless or not re.fullmatch(r"\w{1,40}", key) else f"the parameter {key!r}"
            near = get_close_matches(key, known, 1)
            allowed = f"known are {', '.join(known)}" if len(known) < 5 else EXAMPLES
            meant = f"did you mean {near[0]}?" if near and key not in known else allowed
            why = "is given twice" if key in query else "has no value" if key in known else "is unknown"
            raise InvalidInput(
                f"{what} of the database URL {why}", hint=ESCAPE if nameless else INSTEAD.get(key, meant)
            )
        query[key] = value
    return query


def _known_to_libpq() -> tuple[str, ...]:
    try:
        from psycopg.pq import Conninfo
    except ImportError as error:
        raise MissingDependency("Postgres needs the package psycopg", hint="pip install 'engine[postgres]'") from error
    return tuple(option.keyword.decode() for option in Conninfo.get_defaults())


def _is_utf8(url: str) -> bool:
    """Whether the URL is, and what is percent-encoded in it."""
    try:
        unquote_to_bytes(url).decode()
    except UnicodeError:
        return False
    return True


def _is_host(name: str) -> bool:
    """Whether a resolver takes it, or it is a folder of sockets. What a resolver raises is no database's error."""
    try:
        return name.startswith("/") or name.encode("idna") is not None
    except UnicodeError:
        return False


def _is_plain(path: str) -> bool:
    """Whether it can only be meant as a path, and so has no password in it."""
    return bool(path) and not re.search(r"[@:?&=#%\s]", path)


def _spelled(path: str) -> str:
    return f"sqlite:///{path if not path.startswith('/') else '/' + path.lstrip('/')}"
