"""``engine serve --trust`` as a stranger's archive meets it: a process, without a key, on loopback."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest

from engine import Engine
from tests.server.test_serving import invoke, serving
from tests.storage.test_copying import execute

PROGRAM = "import sys\nfrom PIL import Image\nImage.new('RGB', (8, 8)).save(sys.argv[3] + '/1.png')\n"


def test_an_archive_brings_a_program_and_not_the_trust_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger, url, mark = f"sqlite:///{tmp_path / 's.db'}", f"sqlite:///{tmp_path / 'zoo.db'}", tmp_path / "X"
    monkeypatch.setenv("ENGINE_TRUST_FILE", str(tmp_path / "trusted.jsonl"))
    (tmp_path / "draw.py").write_text(PROGRAM)
    places = ["{seed}", "{count}", "{out}"]
    records = {
        "shell": {"type": "program", "command": ["sh", "-c", f"touch {mark}", *places]},
        "program": {"type": "program", "command": [sys.executable, "draw.py", *places], "folder": str(tmp_path)},
    }
    with Engine.open(stranger, create=True, encoder="external:mine") as engine:
        engine.ingest_statistics(list(records), np.eye(2), encoder="external:mine", samples=5)
        for name, record in records.items():
            execute(stranger, f"UPDATE models SET generator = '{json.dumps(record)}' WHERE name = '{name}'")
        engine.export_archive(tmp_path / "archive.engine")
    assert invoke("import", str(tmp_path / "archive.engine"), "--database", url)[0] == 0

    with serving(url, "--trust") as (_, address):

        def drawn(name: str) -> int:
            answer = httpx.post(f"{address}/v1/models/{name}/samples", json={"count": 1}, timeout=60)
            assert answer.status_code == 200 or answer.json()["title"] == "NotTrusted"
            return answer.status_code

        assert (drawn("shell"), drawn("program"), mark.exists()) == (403, 403, False)
        assert "is not trusted on the server" in httpx.get(f"{address}/models/shell").text
        assert invoke("trust", "program", "--yes", "--database", url)[0] == 0
        assert (drawn("program"), drawn("shell"), mark.exists()) == (200, 403, False)
        (tmp_path / "draw.py").write_text(PROGRAM + f"open({str(mark)!r}, 'w')\n")
        assert (drawn("program"), mark.exists()) == (403, False)
        assert invoke("trust", "program", "--yes", "--database", url)[0] == 0
        assert (drawn("program"), mark.exists()) == (200, True)

    mark.unlink()
    shutil.copy(tmp_path / "zoo.db", tmp_path / "copy.db")
    monkeypatch.setenv("ENGINE_TRUST_FILE", str(tmp_path / "another" / "trusted.jsonl"))
    with serving(f"sqlite:///{tmp_path / 'copy.db'}", "--trust") as (_, address):
        assert httpx.post(f"{address}/v1/models/program/samples", json={"count": 1}).status_code == 403
    assert not mark.exists()
