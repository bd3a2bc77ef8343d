"""Any external program that writes pictures into a folder.

    command: ["node", "draw.mjs", "--seed", "{seed}", "--count", "{count}", "--out", "{out}"]

It runs without a shell, in the generator's folder, and writes exactly ``{count}`` pictures into the empty folder
``{out}``; they are taken in the order of their names. The same seed and count must draw the same pictures.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import signal
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import IO, Any

from PIL import Image

from engine.config import Settings
from engine.errors import GeneratorError, InvalidImage, InvalidManifest, SourceNotFound
from engine.samples.decode import path_to_image
from engine.samples.folder import file_to_digest, folder_to_names
from engine.samples.generators.options import checked_keys, positive, resolved, text, texts, whole
from engine.samples.generators.stop import Watch
from engine.samples.labels import name_to_label
from engine.samples.protocol import Options

PLACES = ("{seed}", "{count}", "{out}")
BATCH = 100
"""Starting a process costs a second or so; this many small pictures share it."""
TAIL = 2000
"""Characters of the program's last words that an error repeats."""
STEP = 0.1
"""Seconds after which it is noticed that nobody waits for the pictures any longer."""


class ProgramGenerator:
    """An external program. Making one runs nothing; ``draw`` does: ask for trust first."""

    kind = "program"

    def __init__(
        self, command: list[str], folder: Path, *, timeout: float | None, batch: int, settings: Settings
    ) -> None:
        self._command = command
        self._folder = folder
        self._timeout = timeout
        self._limit = timeout or settings.generator_timeout
        self._max_pixels = settings.max_pixels
        self.batch = batch

    @classmethod
    def from_options(cls, options: Options, base: Path | None, settings: Settings) -> ProgramGenerator:
        """Read the options.

        Raises:
            InvalidManifest: wrong options, or a command without ``{seed}``, ``{count}`` and ``{out}``.
            SourceNotFound: its folder is not there.
        """
        checked_keys(options, ("command", "folder", "timeout"))
        command = _command(options)
        folder = resolved(text(options, "folder") or ".", base)
        if not folder.is_dir():
            raise SourceNotFound(f"the program's folder {name_to_label(str(folder))} is not there")
        batch = whole(options, "batch") or BATCH
        return cls(command, folder, timeout=positive(options, "timeout"), batch=batch, settings=settings)

    def describe(self) -> dict[str, Any]:
        """Command, absolute folder, and the time limit if one was given."""
        timeout = {} if self._timeout is None else {"timeout": self._timeout}
        described = {"type": self.kind, "command": self._command, "folder": str(self._folder)}
        return {**described, **timeout, "batch": self.batch}

    def digest(self) -> str:
        """SHA-256 of the command and of the files in its folder that the command names (not of what those load)."""
        total = hashlib.sha256("\0".join(self._command).encode("utf-8", "surrogateescape"))
        for argument in self._command:
            path = self._folder / argument
            if path.is_file() and path.resolve().is_relative_to(self._folder.resolve()):
                total.update(file_to_digest(path).encode())
        return total.hexdigest()

    def draw(self, count: int, seed: int) -> list[Image.Image]:
        """Run it once.

        Raises:
            GeneratorError: it cannot be started, fails, takes too long, or writes something else than ``count``
                pictures.
        """
        with tempfile.TemporaryDirectory(prefix="engine-", ignore_cleanup_errors=True) as out:
            values = {"{seed}": str(seed), "{count}": str(count), "{out}": out}
            last_words = run([_filled(part, values) for part in self._command], self._folder, self._limit)
            names = folder_to_names(Path(out))
            if len(names) != count:
                raise GeneratorError(
                    f"{self._command[0]} wrote {len(names)} pictures where {count} were asked for{_said(last_words)}",
                    hint="it must write {count} pictures with the suffix of their format into {out}",
                )
            try:
                return [path_to_image(Path(out) / name, label=name, max_pixels=self._max_pixels) for name in names]
            except InvalidImage as exc:
                message = f"{self._command[0]} wrote a picture that cannot be used: {exc.message}{_said(last_words)}"
                raise GeneratorError(message, hint=exc.hint) from exc


def run(command: list[str], folder: Path, timeout: float) -> str:
    """Run a program to its end, and return the tail of its stderr.

    Raises:
        GeneratorError: it cannot be started, exits with another code than 0, takes longer than ``timeout``
            seconds, or is no longer waited for; then its whole process group is killed.
    """
    try:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError) as exc:
        reason = "it is not installed" if isinstance(exc, FileNotFoundError) else str(exc)
        raise GeneratorError(
            f"{command[0]!r} cannot be started: {reason}", hint="install it, or mend the command"
        ) from exc
    assert process.stderr is not None
    tail = _Tail(process.stderr)
    watch = Watch(timeout)
    try:
        code = None
        while code is None:
            try:
                code = process.wait(min(watch.left(), STEP))
            except subprocess.TimeoutExpired:
                if not watch.left():
                    raise
    except subprocess.TimeoutExpired as exc:
        _kill(process)
        watch.check_stop()
        raise GeneratorError(
            f"{command[0]} was stopped after {timeout:g} seconds{_said(tail.text())}",
            hint="give the generator a longer timeout, or a smaller batch",
        ) from exc
    except BaseException:
        _kill(process)
        raise
    if code != 0:
        ended = f"was killed by signal {-code}" if code < 0 else f"exited with {code}"
        raise GeneratorError(f"{command[0]} {ended}{_said(tail.text())}", hint="run the command alone to see why")
    return tail.text()


class _Tail:
    """Keeps the end of a stream that may be endless, so that the writer never blocks and memory stays small."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._kept = b""
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def text(self) -> str:
        # A child that outlives the program may hold the pipe open: do not wait for it.
        self._thread.join(timeout=1.0)
        return self._kept.decode("utf-8", "replace").strip()[-TAIL:]

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            while chunk := os.read(stream.fileno(), 65536):
                self._kept = (self._kept + chunk)[-4 * TAIL :]


def _kill(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)  # the leader of its own group, and not yet waited for
    except (AttributeError, ProcessLookupError, PermissionError):  # no process groups on Windows
        process.kill()
    process.wait()


def _command(options: Options) -> list[str]:
    written = options.get("command")
    try:
        command = shlex.split(written) if isinstance(written, str) else texts(options, "command")
    except ValueError as exc:
        raise InvalidManifest(f"the command {written!r} cannot be split: {exc}") from exc
    if not command or any("\0" in part for part in command):
        raise InvalidManifest("a generator of type 'program' needs a command", hint="command: [program, argument, …]")
    missing = [place for place in PLACES if not any(place in part for part in command)]
    if missing:
        raise InvalidManifest(
            f"the command has no {' and no '.join(missing)}",
            hint="{seed} and {count} say what to draw, {out} is the folder to write the pictures into",
        )
    return command


def _filled(part: str, values: dict[str, str]) -> str:
    for place, value in values.items():
        part = part.replace(place, value)
    return part


def _said(last_words: str) -> str:
    return f"; it said: {last_words}" if last_words else ""
