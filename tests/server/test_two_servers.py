"""Two servers of one collection leave each other's uploads alone; what a killed one left is removed."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.server.problems import Refused
from engine.server.uploads import Uploads

SERVER = """
import io, sys
from pathlib import Path
from engine.server.uploads import Uploads
uploads = Uploads(Path(sys.argv[1]), 1000)
print(uploads.keep(io.BytesIO(b"waits"), ".zip"), flush=True)
sys.stdin.read()
uploads.close()
"""


def start(shared: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that holds one upload, and where that lies."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(shared)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_only_a_killed_servers_uploads_are_removed(tmp_path: Path) -> None:
    shared = tmp_path / "uploads"
    (shared).mkdir()
    (shared / "stale.zip").write_bytes(b"of an older version")
    first, of_first = start(shared)
    second, of_second = start(shared)
    try:
        assert not (shared / "stale.zip").exists()
        assert of_first.read_bytes() == of_second.read_bytes() == b"waits"
        assert of_first.parent != of_second.parent
        first.send_signal(signal.SIGKILL)
        first.wait()
        third, of_third = start(shared)
        assert not of_first.parent.exists()
        assert of_second.read_bytes() == of_third.read_bytes() == b"waits"
        for process in (second, third):
            process.communicate(timeout=20)
        assert list(shared.iterdir()) == []
    finally:
        for process in (first, second):
            process.kill()
            process.communicate()


def test_what_waits_has_a_bounded_size(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path / "uploads", 10)
    one = uploads.keep(io.BytesIO(b"123456"), ".zip")
    with pytest.raises(Refused, match="10 bytes together"):
        uploads.keep(io.BytesIO(b"12345"), ".zip")
    assert list(one.parent.iterdir()) == [one]
    uploads.remove(one)
    uploads.remove(one)
    uploads.remove(uploads.keep(io.BytesIO(b"1234567890"), ".zip"))
    uploads.close()
    uploads.close()
    assert list((tmp_path / "uploads").iterdir()) == []
