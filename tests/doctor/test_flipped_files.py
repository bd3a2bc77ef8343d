"""One flipped byte in any file beside the database: never searched, found by the doctor, mended by the repair."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import Engine
from engine.config import Settings
from engine.errors import EngineError
from engine.rerank.record_file import LOCK

D, MODELS, FEW = 16, 30, 4
KINDS = ("flat", "quantized")
METHODS = (
    "first_moment", "whitened_first_moment", "first_second_moment", "gaussian_density", "blend", "monte_carlo",
    "best_10", "linear_density",
)  # fmt: skip
OFFSETS = 1
"""Places in each file that are flipped, besides its first, its last and one of a header."""
HARMLESS = ("COUNTS",)
"""What is never searched: how often records were found, for ``engine index status``."""


def cloud(seed: int, count: int = 40) -> np.ndarray:
    random = np.random.default_rng(seed)
    rows = random.normal(size=D) + 0.5 * random.normal(size=(count, D)) * np.linspace(1, 0.2, D)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def settings(kind: str) -> Settings:
    return Settings(index_kind=kind, shortlist=20, density_shortlist=20, refresh_interval=0)


def answers(eng: Engine) -> dict[str, Any]:
    """What is answered, by method."""
    found: dict[str, Any] = {}
    for method in METHODS:
        scores, ids = eng.search_vectors(np.stack([cloud(900, 1)[0], cloud(3, 1)[0]]), 7, method, recall=1)
        found[method] = ids.tolist(), scores
    found["model"] = [hit.name for hit in eng.search(model="m07", k=5, recall=1)], np.zeros(0)
    found["similar"] = [hit.name for hit in eng.similar("m07", k=5)], np.zeros(0)
    return found


def assert_equal(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for method, (ids, scores) in wanted.items():
        assert found[method][0] == ids, method
        np.testing.assert_allclose(found[method][1], scores, rtol=1e-4, atol=1e-3, err_msg=method)


@pytest.fixture(scope="module")
def zoos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, Any]]]:
    """By kind of index: a folder with a collection and everything derived from it, and what it answers."""
    made: dict[str, tuple[Path, dict[str, Any]]] = {}
    for kind in KINDS:
        folder = tmp_path_factory.mktemp(kind)
        if made:  # the database is the same for all: what is derived from it differs
            shutil.copy(made[KINDS[0]][0] / "zoo.db", folder)
        url = f"sqlite:///{folder / 'zoo.db'}"
        with Engine.open(url, create=True, encoder="external:test", settings=settings(kind)) as eng:
            for seed in range(0 if made else MODELS):
                eng.ingest(cloud(seed, 6 if seed < FEW else 40), name=f"m{seed:02}")
            eng.build_index()
            wanted = answers(eng)
            eng.build_index()  # the linear density's index, which a search has asked for meanwhile
            assert eng.doctor() == []
        made[kind] = folder, wanted
    return made


def is_read(path: Path) -> bool:
    """Whether a file has bytes that could be wrong: a lock has none."""
    return path.is_file() and path.name != LOCK


def derived(folder: Path, kind: str) -> list[Path]:
    """Every file of the collection with flat indexes; of the others those of one index: the rest differs in nothing."""
    files = sorted(path.relative_to(folder) for path in (folder / "zoo.db.index").rglob("*") if is_read(path))
    return files if kind == "flat" else [path for path in files if "." not in path.parts[1]]


def flip(path: Path, place: int, bits: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= bits
    path.write_bytes(data)


def says_the_same(path: Path, before: bytes) -> bool:
    """Whether a JSON file means what it did: a space that has become another white space."""
    import json

    try:
        return bool(path.suffix == ".json" and json.loads(path.read_bytes()) == json.loads(before))
    except ValueError:
        return False


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_byte_is_never_searched_and_is_mended(
    zoos: dict[str, tuple[Path, dict[str, Any]]], kind: str, tmp_path: Path
) -> None:
    """Every file, several places: searches answer as before or raise our errors; the doctor names it and mends it."""
    folder, wanted = zoos[kind]
    flipped, refused, kinds, files = 0, 0, set(), derived(folder, kind)
    for number, relative in enumerate(files):
        random = np.random.default_rng(number)
        size = (folder / relative).stat().st_size
        for place in {0, *random.integers(size, size=OFFSETS).tolist()}:
            work = tmp_path / "work"
            shutil.rmtree(work, ignore_errors=True)
            shutil.copytree(folder, work)
            before = (folder / relative).read_bytes()
            flip(work / relative, place, 1 << int(random.integers(8)))
            url = f"sqlite:///{work / 'zoo.db'}"
            with Engine.open(url, settings=settings(kind)) as eng:
                eng.index_status()
                try:
                    assert_equal(answers(eng), wanted)
                except EngineError:
                    refused += 1
            flipped += 1
            if place:
                continue
            shutil.rmtree(work / "zoo.db.index")
            shutil.copytree(folder / "zoo.db.index", work / "zoo.db.index")
            flip(work / relative, place, 1 << int(random.integers(8)))
            matters = not (relative.name in HARMLESS or says_the_same(work / relative, before))
            with Engine.open(url, settings=settings(kind)) as eng:
                damage = [finding for finding in eng.doctor() if finding.severity == "damage"]
                assert bool(damage) == matters, (relative, place, damage)
                assert all("engine doctor --repair" in finding.repair for finding in damage)
                assert all(finding.repaired for finding in eng.doctor(repair=True)), (relative, place)
                assert_equal(answers(eng), wanted)
            kinds.add(relative.suffix or relative.name)
    print(f"{kind}: {flipped} flipped bytes in {len(files)} files, {refused} refused with a typed error")
    assert flipped > len(files)
    assert refused == 0  # whatever is derived is made again while the search waits
    everything = {".factors", ".rotation", "FACTORS", "COUNTS"} if kind == "flat" else set()
    assert {".json", ".npy"} | everything <= kinds


@pytest.mark.parametrize("cut", [0, 0.5])
@pytest.mark.parametrize("kind", ["flat", "quantized"])
def test_a_cut_file_is_never_searched_and_is_mended(
    zoos: dict[str, tuple[Path, dict[str, Any]]], kind: str, cut: float, tmp_path: Path
) -> None:
    folder, wanted = zoos[kind]
    for relative in derived(folder, kind):
        work = tmp_path / "work"
        shutil.copytree(folder, work)
        data = (work / relative).read_bytes()
        (work / relative).write_bytes(data[: int(cut * len(data))])
        with Engine.open(f"sqlite:///{work / 'zoo.db'}", settings=settings(kind)) as eng:
            assert_equal(answers(eng), wanted)
            eng.doctor(repair=True)
            assert eng.doctor() == []
        shutil.rmtree(work)
