"""``engine copy``: what it prints, how it ends, and what it says of targets that it cannot take."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from engine.cli import app
from tests.postgres import shared_server


@pytest.fixture
def targets(tmp_path: Path) -> Iterator[list[str]]:
    """A file that is not there, and an empty database of Postgres."""
    postgres = shared_server().create()
    yield [f"sqlite:///{tmp_path / 'copy.db'}", postgres]
    shared_server().drop(postgres)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, prog_name="engine")


def test_there_and_back(zoo_url: str, targets: list[str], tmp_path: Path) -> None:
    file, postgres = targets
    result = invoke("copy", zoo_url, postgres)
    assert result.exit_code == 0, result.output
    header, *lines = result.stdout.splitlines()
    assert header.split() == ["table", "rows", "written", "removed", "sha256"]
    assert ["models", "4", "4", "0"] in [line.split()[:4] for line in lines]
    assert lines[-1].startswith("copied, and every table is the same")
    assert "copying models: 4 rows, " in result.stderr
    assert "rows/s" in result.stderr
    back = json.loads(invoke("copy", postgres, file, "--json").stdout)
    assert (back["status"], back["damaged"]) == ("copied", [])
    assert [one["digest"][:12] for one in back["tables"]] == [line.split()[4] for line in lines[:-1]]
    again = invoke("copy", postgres, file)
    assert again.exit_code == 0
    assert "nothing to do" in again.stdout
    listed = [json.loads(invoke("list", "--database", url, "--json").stdout) for url in (zoo_url, postgres, file)]
    assert listed[0] == listed[1] == listed[2]


def test_damage_ends_with_exit_code_3(zoo_url: str, targets: list[str], tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.db"
    shutil.copy(zoo_url.removeprefix("sqlite:///"), damaged)
    with closing(sqlite3.connect(damaged, isolation_level=None)) as connection:
        connection.execute("UPDATE statistics SET mean = zeroblob(32) WHERE model_id = 2")
    result = invoke("copy", f"sqlite:///{damaged}", targets[1])
    assert result.exit_code == 3
    assert "statistics of bee: the mean does not match its checksum" in result.stderr
    said = json.loads(invoke("copy", f"sqlite:///{damaged}", targets[1], "--json").stdout)
    assert [one["name"] for one in said["damaged"]] == ["bee"]


def test_an_unfinished_target_says_what_to_do(zoo_url: str, targets: list[str], tmp_path: Path) -> None:
    file = targets[0]
    assert invoke("copy", zoo_url, file).exit_code == 0
    with closing(sqlite3.connect(file.removeprefix("sqlite:///"), isolation_level=None)) as connection:
        (own,) = connection.execute("SELECT value FROM collection WHERE key = 'id'").fetchone()
        connection.execute("INSERT INTO collection VALUES ('copying', ?)", [json.dumps({"source": own, "change": 1})])
        connection.execute("DELETE FROM neighbours")
    refused = invoke("list", "--database", file)
    assert refused.exit_code == 1
    assert "not finished" in refused.stderr
    assert "engine copy again" in refused.stderr
    assert "completed a copy" in invoke("copy", zoo_url, file).stdout
    assert invoke("list", "--database", file).exit_code == 0


def test_what_cannot_be_copied(zoo_url: str, targets: list[str], tmp_path: Path) -> None:
    missing = invoke("copy", f"sqlite:///{tmp_path / 'none.db'}", targets[0])
    assert missing.exit_code == 1
    assert "no database" in missing.stderr
    assert invoke("copy", zoo_url, zoo_url).exit_code == 1
    assert invoke("copy", zoo_url).exit_code == 2
