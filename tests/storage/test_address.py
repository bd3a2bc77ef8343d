"""Database URLs: what is taken, what is refused with the right spelling, and that no part of a password shows."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine import Engine
from engine.cli import app
from engine.config import Settings
from engine.errors import EngineError, InvalidInput, StorageError
from engine.storage import Database
from engine.storage.address import text_to_address
from engine.storage.copying import copy_collection

SOON = Settings(busy_timeout=1.0)
HOST = "127.0.0.1:1"
"""Where nobody listens."""
PIECES = ("tRout", "sAlmon")
"""Of a password, on both sides of what stands in it unescaped."""
BETWEEN = ["@", "/", ":", "#", "%", "?", "&", "@@", "?x=", "&x=", "@x/", "/@", "?@", "@a?user=", "%2", " ", "[", "]"]
PLACES = {
    "authority": "postgresql://me:{}@" + HOST + "/zoo",
    "authority, other driver": "postgres://me:{}@" + HOST + "/zoo?sslmode=disable",
    "authority, no host": "postgresql://me:{}@/zoo",
    "authority, no at": "postgresql://me:{}/zoo",
    "authority, bad port": "postgresql://me:{}@host:abc/zoo",
    "no slashes": "postgresql:me:{}@" + HOST + "/zoo",
    "one slash": "postgresql:/me:{}@" + HOST + "/zoo",
    "no scheme": "me:{}@" + HOST + "/zoo",
    "other system": "mysql://me:{}@" + HOST + "/zoo",
    "sqlite": "sqlite://me:{}@" + HOST + "/zoo.db",
    "query": "postgresql://" + HOST + "/zoo?user=me&password={}",
    "query, first": "postgresql://" + HOST + "/zoo?password={}&user=me",
    "query, with user": "postgresql://me@" + HOST + "/zoo?password={}",
    "query, sslpassword": "postgresql://me@" + HOST + "/zoo?sslpassword={}",
    "query, passfile": "postgresql://me@" + HOST + "/zoo?passfile=/home/{}",
    "query, oauth": "postgresql://me@" + HOST + "/zoo?oauth_client_secret={}",
    "query, misspelt": "postgresql://me@" + HOST + "/zoo?pasword={}",
}


def everything_said(error: BaseException) -> str:
    """Its message and hint, and those of all that led to it."""
    told = "".join(traceback.TracebackException.from_exception(error).format(chain=True))
    lines = [line for line in told.splitlines() if not line.startswith("    ")]  # source lines are the test's own
    hints, at = "", error
    while at is not None:
        hints += f" {at!s} {getattr(at, 'hint', '')}"
        at = at.__cause__ or at.__context__
    return "\n".join(lines) + hints


@pytest.mark.parametrize(
    ("place", "between"),
    [(p, b) for p in PLACES for b in BETWEEN if p != "authority, no at" or "@" not in b],  # else what follows is a host
)
def test_no_part_of_a_password_shows(place: str, between: str, caplog: pytest.LogCaptureFixture) -> None:
    url = PLACES[place].format(between.join(PIECES))
    with caplog.at_level(logging.DEBUG):
        try:
            said = Database(url, SOON)
            shown = f"{said.shown_url} {said.address!r} {said.url!r} {said._engine!r}"
        except EngineError as error:
            shown = everything_said(error)
    for piece in PIECES:
        assert piece.lower() not in (shown + caplog.text).lower()


@pytest.mark.parametrize("place", ["authority", "query", "query, sslpassword", "query, passfile"])
@pytest.mark.parametrize("command", ["list", "doctor", "init", "serve", "copy"])
def test_no_command_shows_a_password(command: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = PLACES[place].format("tRout")
    given = [command, url, "sqlite:///none.db"] if command == "copy" else [command, "--database", url]
    monkeypatch.setenv("ENGINE_BUSY_TIMEOUT", "1")
    monkeypatch.setenv("ENGINE_DATABASE", url)
    failed = CliRunner().invoke(app, given)
    assert failed.exit_code not in (0, 3)
    assert "reachable" in failed.output
    helped = CliRunner().invoke(app, [command, "--help"])
    assert "trout" not in (failed.output + helped.output + str(failed.exception)).lower()


def test_what_a_driver_repeats_is_censored() -> None:
    address = text_to_address("postgresql://me:tRout@host/zoo?sslpassword=sAlmon&sslmode=disable")
    assert address.censored("cannot use tRout and sAlmon") == "cannot use *** and ***"
    assert address.shown == "postgresql+psycopg://me:***@host/zoo?sslmode=disable"
    assert (address.url.password, dict(address.secrets)) == ("tRout", {"sslpassword": "sAlmon"})


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg", "postgres+psycopg"])
def test_every_name_of_postgres_is_taken(scheme: str) -> None:
    address = text_to_address(f"{scheme}://me:a%40b%2F@host:5433/zoo?connect_timeout=3")
    assert address.url.render_as_string(hide_password=False) == (
        "postgresql+psycopg://me:a%40b%2F@host:5433/zoo?connect_timeout=3"
    )


@pytest.mark.backends("postgres")
def test_a_collection_opens_by_the_short_name(database: Database, url: str, settings: Settings) -> None:
    with Engine.open(url.replace("postgresql+psycopg", "postgres"), settings=settings) as eng:
        assert eng.models() == []


@pytest.mark.parametrize("user", ["me", "me@tenant"])
@pytest.mark.parametrize("password", ["a/b", "a:b", "a#b", "a?b", "a%zb"])
def test_what_has_one_reading_is_taken(user: str, password: str) -> None:
    address = text_to_address(f"postgresql://{user}:{password}@host/zoo")
    assert (address.url.username, address.url.password, address.url.host) == (user, password, "host")


# --- refusals


@pytest.mark.parametrize(
    ("url", "spelled"),
    [
        ("sqlite://zoo.db", "sqlite:///zoo.db"), ("sqlite:zoo.db", "sqlite:///zoo.db"), ("zoo.db", "sqlite:///zoo.db"),
        ("sqlite:/x/zoo.db", "sqlite:////x/zoo.db"), ("/x/zoo.db", "sqlite:////x/zoo.db"),
        ("sqlite:///folder/", "sqlite:///folder/zoo.db"), ("sqlite:////x/.", "sqlite:////x/zoo.db"),
        ("sqlite:///file:zoo.db?mode=ro", "sqlite:///zoo.db?mode=ro"), ("sqlite://", "sqlite:///zoo.db"),
        ("sqlite:///:memory:", "sqlite:///zoo.db"), ("sqlite:///a%00b", "sqlite:///zoo.db"),
        ("sqlite:///a\0b", "sqlite:///zoo.db"), ("sqlite:///a\udcff.db", "rename"), ("sqlite:///a%ff.db", "rename"),
        ("sqlite:///z.db?mode=r", "ro, rw, rwc"), ("sqlite:///z.db?mod=ro", "did you mean mode"),
        ("sqlite:///z.db?imutable=1", "did you mean immutable"), ("sqlite:///z.db?immutable=yes", "0, 1"),
        ("sqlite:///z.db?mode=ro&mode=rw", "twice"), ("sqlite:///z.db?mode", "has no value"),
        ("sqlite:///z.db?uri=true", "leave it out"), ("sqlite:///z.db?timeout=3", "busy_timeout"),
        ("sqlite:///z.db?cache=shared", "mode, immutable"), ("sqlite:///z.db?immutable=1&mode=rw", "contradict"),
        ("sqlite:///a?b.db", "unknown"), ("sqlite+aiosqlite:///z.db", "SQLite and Postgres"),
        ("oracle://h/z", "SQLite and Postgres"), ("postgresql://h/z?sslmod=x", "did you mean sslmode"),
        ("postgresql://h/z?autocommit=1", "unknown"), ("postgresql://h/z\0", "zero byte"),
        ("postgresql://h/\udcff", "UTF-8"), (f"postgresql://{'h' * 80}/z", "host"), ("postgresql://h:70000/z", "port"),
        ("postgresql://h:0/z", "port"), ("postgresql:///z?port=x", "port"), ("postgresql:///z?host=a..b", "host"),
        ("postgresql:///z?host=a,b&port=1,2,3", "one for each host"),
        ("postgresql://a:b@h/z?password=c", "two passwords"), ("postgresql://me:p@ss@h/z", "%40"), ("", "sqlite:///"),
        (b"sqlite:///z.db", "bytes"), (None, "NoneType"), (Path("zoo.db"), "text"),
    ],
    ids=lambda value: ascii(value)[:40],
)  # fmt: skip
def test_a_refused_url_names_the_right_spelling(url: str, spelled: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for create in (False, True):
        with pytest.raises(InvalidInput) as caught:
            Engine.open(url, create=create)
        assert spelled in f"{caught.value} {caught.value.hint}"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("create", [False, True])
def test_what_is_no_file_is_refused(tmp_path: Path, create: bool) -> None:
    (tmp_path / "pipe").mkdir()
    with pytest.raises(InvalidInput, match="folder") as caught:
        Engine.open(f"sqlite:///{tmp_path / 'pipe'}", create=create)
    assert "zoo.db" in str(caught.value.hint)
    with pytest.raises(InvalidInput, match="no ordinary file"):
        Engine.open("sqlite:////dev/null", create=create)
    with pytest.raises(StorageError, match="cannot be reached"):
        Engine.open(f"sqlite:///{tmp_path / ('n' * 300)}", create=create)


def test_copying_refuses_them_alike(tmp_path: Path) -> None:
    for source, target in [("sqlite://zoo.db", "sqlite:///x.db"), ("postgresql://me:p@ss@h/z", "sqlite:///x.db")]:
        with pytest.raises(InvalidInput):
            copy_collection(source, target, Settings())
