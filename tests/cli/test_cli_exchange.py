"""``engine doctor --repair``, ``export``, ``import`` and ``backup``: what is printed, and the exit codes."""

from __future__ import annotations

import json
import shlex
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import NAMES, Run, invoke


@pytest.fixture
def filled(empty: Run, sources: list[str]) -> Run:
    """As ``run``, with four models and an index."""
    assert empty("ingest", *sources).exit_code == 0
    assert empty("index", "build").exit_code == 0
    return empty


def test_doctor_repairs_and_says_what(filled: Run, tmp_path: Path) -> None:
    assert filled("doctor").stdout == "all is well\n"
    path = next((tmp_path / "zoo.db.index").rglob("vectors.npy"))
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    found = filled("doctor")
    assert found.exit_code == 3
    assert str(path) in found.stdout
    command = found.stdout.split("repair: ")[1].splitlines()[0]
    assert shlex.split(command)[:3] == ["engine", "doctor", "--repair"]
    repaired = filled("doctor", "--repair")
    assert (repaired.exit_code, repaired.stdout.startswith("repaired: ")) == (0, True)
    assert filled("doctor").stdout == "all is well\n"


def test_what_only_samples_can_mend_stays_damage(filled: Run, tmp_path: Path, sources: list[str]) -> None:
    with sqlite3.connect(tmp_path / "zoo.db") as direct:
        direct.execute("UPDATE statistics SET covariance = zeroblob(144) WHERE model_id = 2")
    direct.close()
    found = filled("doctor", "--repair", "--json")
    assert found.exit_code == 3
    (finding,) = [one for one in json.loads(found.stdout)["findings"] if one["severity"] == "damage"]
    assert (finding["repaired"], finding["what"].split(" ")[0]) == (False, "bee")
    command = finding["repair"].split(": ", 1)[1].split(" (until")[0]
    arguments = shlex.split(command)
    assert arguments[:3] == ["engine", "ingest", sources[1]]
    assert filled(*arguments[1:-2]).exit_code == 0
    assert filled("index", "build").exit_code == 0
    assert filled("doctor").exit_code == 0


def test_export_and_import(filled: Run, tmp_path: Path) -> None:
    archive = str(tmp_path / "zoo.engine")
    assert filled("export", archive).stdout == "4 models, 1 transforms\n"
    other = f"sqlite:///{tmp_path / 'other.db'}"
    assert invoke(other, "import", archive).stdout == "4 added, 0 replaced, 0 skipped, 1 transforms\n"
    assert [model["name"] for model in json.loads(invoke(other, "list", "--json").stdout)["models"]] == [*NAMES]
    refused = invoke(other, "import", archive)
    assert refused.exit_code == 1
    assert "nothing was imported" in refused.stderr
    assert json.loads(invoke(other, "import", archive, "--on-conflict", "skip", "--json").stdout)["skipped"] == 4
    assert filled("export", archive, "--where", "name=ant", "--json").exit_code == 0
    Path(archive).write_bytes(Path(archive).read_bytes()[:-9])
    third = f"sqlite:///{tmp_path / 'third.db'}"
    assert invoke(third, "import", archive).exit_code == 1
    assert not (tmp_path / "third.db").exists()


def test_a_damaged_model_is_said_by_export(filled: Run, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "zoo.db") as direct:
        direct.execute("UPDATE statistics SET covariance = zeroblob(144) WHERE model_id = 2")
    direct.close()
    found = filled("export", str(tmp_path / "zoo.engine"))
    assert (found.exit_code, found.stdout) == (3, "3 models, 1 transforms\n")
    assert "bee was left out" in found.stderr


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_moments_as_fid_tools_write_them(empty: Run, tmp_path: Path, dtype: type) -> None:
    rows = np.random.default_rng(1).normal(size=(50, 16)) + 1
    np.savez(tmp_path / "celeba.npz", mu=rows.mean(axis=0).astype(dtype), sigma=np.cov(rows.T).astype(dtype))
    path = str(tmp_path / "celeba.npz")
    usage = empty("import", path)
    assert (usage.exit_code, "--encoder" in usage.stderr) == (2, True)
    unknown = empty("import", path, "--encoder", "external:inception")
    assert (unknown.exit_code, "--samples" in unknown.stderr) == (1, True)
    done = empty("import", path, "--encoder", "external:inception", "--samples", "50")
    assert done.stdout == "celeba: moments of 50 samples under external:inception\n"
    assert json.loads(empty("show", "celeba", "--json").stdout)["model"]["samples"] == 50
    assert empty("import", path, "--encoder", "external:inception", "--samples", "50", "--name", "two").exit_code == 0


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"mu": np.ones(4), "sigma": -np.eye(4)}, "indefinite"),
        ({"mu": np.ones(4), "sigma": np.triu(np.ones((4, 4)))}, "not symmetric"),
        ({"mu": np.ones(4), "sigma": np.full((4, 4), np.nan)}, "NaN"),
        ({"mu": np.zeros(4), "sigma": np.eye(4)}, "zero"),
        ({"mu": np.ones(5), "sigma": np.eye(4)}, "shape"),
        ({"mu": np.ones(4, int), "sigma": np.eye(4)}, "float"),
        ({"mu": np.array([{}] * 4, object), "sigma": np.eye(4)}, "objects"),
        ({"features": np.ones((9, 4))}, "mu and sigma"),
    ],
)
def test_moments_that_are_refused(empty: Run, tmp_path: Path, arrays: dict[str, np.ndarray], said: str) -> None:
    np.savez(tmp_path / "bad.npz", allow_pickle=True, **arrays)
    found = empty("import", str(tmp_path / "bad.npz"), "--encoder", "external:inception", "--samples", "9")
    assert found.exit_code == 1
    assert said in found.stderr
    assert json.loads(empty("list", "--json").stdout)["models"] == []


def test_backup(filled: Run, tmp_path: Path) -> None:
    path = tmp_path / "copy.db"
    assert filled("backup", str(path)).stdout == f"{path}: {path.stat().st_size} bytes\n"
    copied = invoke(f"sqlite:///{path}", "list", "--json")
    assert [model["name"] for model in json.loads(copied.stdout)["models"]] == [*NAMES]
    again = filled("backup", str(path))
    assert (again.exit_code, "already" in again.stderr) == (1, True)
