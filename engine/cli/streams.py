"""The process's standard streams, made safe: a closed one is opened, and what stdout refuses is told from other errors.

A closed stream's number would be given to the next file that is opened, which is the database: what is then written to
stdout would be written into it. So closed streams are opened on the null device before anything else is: stdin reads
nothing, remarks go nowhere, and what is written to stdout fails, since a result that nobody gets is an error.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TextIO


class OutputFailed(OSError):
    """Standard output is closed, or its disk is full."""


class _Results(io.FileIO):
    """Stdout: its errors are told from those of other files. A reader that has gone stays a ``BrokenPipeError``."""

    def write(self, data: bytes) -> int:  # type: ignore[override]
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputFailed(error.errno, error.strerror) from error


class _Remarks(io.FileIO):
    """Stderr: remarks that cannot be written, because the disk is full or the reader has gone, are dropped."""

    def write(self, data: bytes) -> int:  # type: ignore[override]
        try:
            return super().write(data)
        except OSError:
            return len(data)


def secure_streams() -> None:
    """Open what is closed, and take over stdout and stderr. Streams that were replaced, as in tests, are left alone."""
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        _open_if_closed(number, mode)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - it stays open until the process ends
    if os.name != "nt" or sys.stdout is None:  # a console of Windows has a stream of its own kind
        sys.stdout = _taken_over(sys.stdout, sys.__stdout__, _Results(1, "w", closefd=False))
    if os.name != "nt" or sys.stderr is None:
        sys.stderr = _taken_over(sys.stderr, sys.__stderr__, _Remarks(2, "w", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without Unicode must not end a command


def silence_stdout() -> None:
    """Give stdout somewhere to go, so that the interpreter's last flush does not complain."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
    except (OSError, ValueError):  # not a real file, as in tests
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - it must stay open until the process ends


def _open_if_closed(number: int, mode: int) -> None:
    try:
        os.fstat(number)
    except OSError as error:
        if error.errno == errno.EBADF:
            opened = os.open(os.devnull, mode)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)


def _taken_over(stream: TextIO | None, original: TextIO | None, raw: io.FileIO) -> TextIO:
    if stream is not None and stream is not original:
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding="utf-8" if stream is None else stream.encoding,
        line_buffering=bool(getattr(stream, "line_buffering", False)),
        write_through=bool(getattr(stream, "write_through", False)),
    )
