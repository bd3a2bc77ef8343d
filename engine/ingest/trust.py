"""Which generators of the collection may be drawn from on this machine. The collection itself says nothing of it."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

from engine.config import Settings, state_folder
from engine.errors import EngineError, MissingStatistics, NotTrusted, StorageError
from engine.records import Model
from engine.samples.generators import GENERATORS, GeneratorSource, options_to_generator
from engine.samples.trust import CODE, FILES, Grant, Grants, content_digest, named_files, record_digest
from engine.session import Session

log = logging.getLogger("engine.trust")
TRUSTED, CHANGED, NEW = "trusted", "changed", "not trusted"


@dataclass(frozen=True)
class Trust:
    """What a model's generator would do on this machine, and whether it may.

    Attributes:
        what: ``runs code`` or ``opens files``.
        generator: its record: the command, the callable, the decoder's path, the pipeline.
        files: what the record names here; trust is lost when their content changes.
        state: ``trusted``, ``changed`` (since it was trusted) or ``not trusted``.
        record, digest: SHA-256 of the record, and of the record with the files.
    """

    model: str
    what: str
    generator: Mapping[str, Any]
    files: tuple[Path, ...]
    state: str
    record: str
    digest: str


def settings_to_grants(settings: Settings) -> Grants:
    """What is trusted on this machine, of all collections."""
    given = settings.trust_file
    try:
        return Grants(state_folder() / "trusted.jsonl" if given is None else Path(given))
    except RuntimeError:  # the user has no home
        return Grants(None)


class TrustService:
    """Answers which generators of a collection this machine's user trusts. Threads may share it."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def trust_of(self, name: str) -> Trust:
        """What a model's generator would do here, and whether it may. Nothing of it is run.

        Raises:
            ModelNotFound
            MissingStatistics: it was not ingested from a generator.
            SourceNotFound: the files that its generator names are not on this machine.
            GeneratorError: its generator cannot be built again.
        """
        model = self._session.catalog.model(name)
        record = _generator_of(model)
        digest = content_digest(record)
        granted = self._grants.of(record_digest(record))
        state = TRUSTED if any(one.digest == digest for one in granted) else CHANGED if granted else NEW
        what = _what(record)
        return Trust(name, what, record, tuple(named_files(record)), state, record_digest(record), digest)

    def trust(self, wanted: str | Trust) -> Trust:
        """Let a model be drawn from on this machine, by its generator's digest.

        Args:
            wanted: the model's name; or what ``trust_of`` said, so that what was looked at is what is trusted.

        Raises:
            EngineError: as ``trust_of``.
            StorageError: it could not be recorded.
        """
        found = self.trust_of(wanted) if isinstance(wanted, str) else wanted
        self._grants.add(self._grant(found.model, found.what, found.record, found.digest))
        return found

    def revoke_trust(self, name: str) -> int:
        """Let a model no longer be drawn from, whatever its files hold; how many records of it there were.

        Raises:
            ModelNotFound, MissingStatistics, GeneratorError
            StorageError: the record could not be changed.
        """
        return self._grants.revoke({record_digest(_generator_of(self._session.catalog.model(name)))})

    def may_draw(self, model: Model, *, code: bool = True) -> bool:
        """Whether a model's generator is trusted here; no file is read, so that its draw may still be refused.

        Args:
            code: whether code may be run.
        """
        record = model.generator
        if record is None or not _is_known(record) or (_what(record) == CODE and not code):
            return False
        return bool(self._grants.of(record_digest(record)))

    @cached_property
    def _grants(self) -> Grants:
        return settings_to_grants(self._session.settings)

    def drawable(self, name: str, *, trust: bool, code: bool) -> dict[str, Any]:
        """The record of a model's generator, if it may be drawn from. ``trust`` allows what is not recorded.

        Raises:
            ModelNotFound, MissingStatistics
            NotTrusted: nobody has trusted it here.
            SourceNotFound: the file of a decoder that was trusted is gone.
        """
        model = self._session.catalog.model(name)
        record = _generator_of(model)
        if not trust:
            self._check_trusted(model, record, code=code)
        return record

    def _check_trusted(self, model: Model, record: dict[str, Any], *, code: bool) -> None:
        runs_code = _what(record) == CODE
        said = f"the generator of {model.name!r:.300} (type {record['type']})"
        hint = f"look at what it {'runs' if runs_code else 'opens'}, and trust it: engine trust {_quoted(model.name)}"
        if runs_code and not code:
            raise NotTrusted(
                f"{said} runs code, and this server was started without leave to run any",
                hint="engine serve --trust runs what is trusted on its machine, and nothing else",
            )
        granted = self._grants.of(record_digest(record))
        if not granted:
            raise NotTrusted(f"{said} is not trusted on this machine", hint=hint)
        try:
            digest: str | None = content_digest(record)
        except EngineError:
            digest = None
        if not any(one.digest == digest for one in granted):
            if not runs_code:
                options_to_generator(record, settings=self._session.settings)  # says so if its file is gone
            raise NotTrusted(f"{said} has changed since it was trusted on this machine", hint=hint)

    def grant_for(self, name: str, source: Any, *, trust: bool) -> Grant | None:
        """What ingesting a source allows from now on: to draw more from it, if it is a generator that may be."""
        if not isinstance(source, GeneratorSource):
            return None
        try:
            record = json.loads(json.dumps(source.generator.describe()))
        except (TypeError, ValueError):  # a generator of the caller's own; ingesting it says what is wrong
            return None
        if not _is_known(record) or (_what(record) == CODE and not trust):
            return None
        try:
            return self._grant(name, _what(record), record_digest(record), content_digest(record))
        except EngineError as error:
            log.warning("%s will not be trusted to draw more: %s", name, error)
            return None

    def keep_grant(self, grant: Grant | None) -> None:
        """The model is in the collection: that it cannot be drawn from later is no reason to fail."""
        try:
            if grant is not None:
                self._grants.add(grant)
        except StorageError as error:
            log.warning("the model was ingested; that it may be drawn from here was not recorded: %s", error)

    def _grant(self, name: str, what: str, record: str, digest: str) -> Grant:
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return Grant(record, digest, what, now, name, self._session.catalog.facts()["id"])


def _generator_of(model: Model) -> dict[str, Any]:
    if model.generator is None:
        raise MissingStatistics(
            f"{model.name!r} was ingested from finished samples, so none can be drawn",
            hint="ingest it from its generator",
        )
    record = dict(model.generator)
    if not _is_known(record):
        options_to_generator(record)  # says what is wrong with it
    return record


def _is_known(record: Mapping[str, Any]) -> bool:
    return isinstance(record.get("type"), str) and record["type"] in GENERATORS


def _what(record: Mapping[str, Any]) -> str:
    return CODE if GENERATORS[record["type"]].runs_code else FILES


def _quoted(name: str) -> str:
    return shlex.quote(name) if name.isprintable() else "NAME"
