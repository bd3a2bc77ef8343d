"""Numbers out of range: the same typed error at every entrance, before a database or NumPy meets them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from engine import Engine
from engine.cli.app import app
from engine.config import Settings
from engine.errors import EngineError, InvalidInput, InvalidQuery
from engine.samples import GeneratorSource, MomentsSource, open_source
from engine.samples.generators.python import CallableGenerator
from engine.statistics import checked_statistics

BEYOND = [2**31, 2**63, 10**23, 10**5000, -1, -(2**63), True, 1.5, float("nan"), "3", [3], np.array([3])]
MEAN, COVARIANCE = np.ones(4), np.eye(4)
ROWS = np.random.default_rng(0).normal(size=(9, 4))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('numbers')}/z.db"


@pytest.fixture(scope="module")
def eng(url: str) -> Iterator[Engine]:
    with Engine.open(url, create=True, encoder="external:e") as engine:
        for name in "abc":
            engine.ingest(ROWS + ord(name) % 7, name=name)
        yield engine


def source(**given: Any) -> GeneratorSource:
    return GeneratorSource(CallableGenerator(lambda count, seed: []), **{"samples": 3, **given})


CALLS: dict[str, Callable[[Engine, Any], Any]] = {
    "k": lambda eng, n: eng.search(model="a", k=n),
    "shortlist": lambda eng, n: eng.search(model="a", shortlist=n),
    "k of vectors": lambda eng, n: eng.search_vectors(MEAN, n),
    "k of similar": lambda eng, n: eng.similar("a", n),
    "limit": lambda eng, n: eng.page(limit=n),
    "limit of facets": lambda eng, n: eng.facets(n),
    "resolution": lambda eng, n: eng.update("a", resolution=n),
    "samples of all": lambda eng, n: eng.ingest_statistics(["s"], MEAN[None], encoder="external:e", samples=n),
    "samples of each": lambda eng, n: eng.ingest_statistics(["s"], MEAN[None], encoder="external:e", samples=[n]),
    "samples of moments": lambda eng, n: MomentsSource(MEAN, COVARIANCE, n),
    "samples of statistics": lambda eng, n: checked_statistics(MEAN, None, epsilon=1e-4, samples=n),
    "samples of a generator": lambda eng, n: source(samples=n),
    "seed": lambda eng, n: source(seed=n),
    "batch": lambda eng, n: source(batch=n),
    "seed of ingest": lambda eng, n: eng.ingest(len, name="g", encoder="external:e", seed=n),
    "option of a generator": lambda eng, n: open_source(
        {"generator": {"type": "onnx", "path": "x.onnx", "classes": n}}, settings=Settings()
    ),
    "kept_features": lambda eng, n: Settings(kept_features=n),
    "batch_size": lambda eng, n: Settings(batch_size=n),
    "decode_workers": lambda eng, n: Settings(decode_workers=n),
    "seed of evaluate": lambda eng, n: eng.evaluate([], seed=n),
}


@pytest.mark.parametrize("number", BEYOND, ids=[str(place) for place in range(len(BEYOND))])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_whole_number_out_of_range(eng: Engine, call: Callable[[Engine, Any], Any], number: Any) -> None:
    if isinstance(number, (list, np.ndarray)) and call is CALLS["samples of all"]:
        return  # one a model
    with pytest.raises(InvalidInput):
        call(eng, number)


def test_ids_that_no_model_has(eng: Engine) -> None:
    with pytest.raises(InvalidQuery):
        eng.records(np.array([10**23]), np.ones(1))
    assert eng.thumbnails(10**23) == eng.thumbnails(-1) == []


@pytest.mark.parametrize("samples", [1, 2**31 - 1, np.int64(7), np.uint8(7)])
def test_counts_that_are_taken(eng: Engine, samples: Any) -> None:
    for model in (
        eng.ingest(MomentsSource(MEAN, COVARIANCE, samples), name="taken"),
        eng.ingest_statistics(["taken"], MEAN[None] * 2, encoder="external:e", samples=samples) and eng.get("taken"),
    ):
        assert model.samples == samples
        assert json.dumps(model.source["samples"]) == str(int(samples))


@pytest.mark.parametrize("count", [2**31, 2**40, 2**63 - 1, -1, 0, 1e23, np.inf, np.nan], ids=str)
def test_the_count_in_an_npz(eng: Engine, url: str, tmp_path: Path, count: Any) -> None:
    np.savez(tmp_path / "a.npz", mu=MEAN, sigma=COVARIANCE, n=count)
    with pytest.raises(InvalidInput):
        eng.ingest(tmp_path / "a.npz", name="n")
    np.savez(tmp_path / "b.npz", names=np.array(["n"]), means=MEAN[None], samples=np.array([count]))
    result = CliRunner().invoke(app, [
        "ingest", "--statistics", str(tmp_path / "b.npz"), "--encoder", "external:e", "--json", "--database", url,
    ])  # fmt: skip
    assert json.loads(result.stdout)["error"]["type"] == "InvalidStatistics"


@pytest.mark.parametrize("number", ["2147483648", "99999999999999999999", "-1"])
@pytest.mark.parametrize(
    "command",
    [
        ["import", "a.npz", "--encoder", "external:e", "--samples"], ["search", "--model", "a", "-k"],
        ["search", "--model", "a", "--shortlist"], ["similar", "a", "-k"], ["update", "a", "--resolution"],
        ["ingest", "a.npz", "--seed"], ["draw", "a", "--count"], ["draw", "a", "--seed"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_numbers_of_the_command_line(
    eng: Engine, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], number: str
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("a.npz", mu=MEAN, sigma=COVARIANCE)
    result = CliRunner().invoke(app, [*command, number, "--json", "--database", url])
    assert result.exit_code in (1, 2)
    assert json.loads(result.stdout)["error"]["type"] in {
        "UsageError", "InvalidInput", "InvalidQuery", "InvalidStatistics", "MissingStatistics"
    }  # fmt: skip


# --- other numbers


@pytest.mark.parametrize("weight", [1e39, 1e308, np.inf, 10**400, 1e-39, 5e-324, 0, -1, np.nan, True, "2"])
def test_a_weight_that_float32_cannot_hold(eng: Engine, weight: Any) -> None:
    with pytest.raises(InvalidQuery, match="weight of model"):
        eng.search(model="a", weights={"model": weight})


@pytest.mark.parametrize("weight", [1e-9, 1e9, np.float32(2), 3])
def test_weights_that_are_taken(eng: Engine, weight: Any) -> None:
    assert np.isfinite([hit.score for hit in eng.search(model="a", weights={"model": weight})]).all()


@pytest.mark.parametrize("name", ["epsilon", "busy_timeout", "generator_timeout", "refresh_interval", "max_bad_share"])
@pytest.mark.parametrize(
    "number", [1e300, 10**400, -1, np.nan, True, "1"], ids=["1e300", "10^400", "-1", "nan", "True", "text"]
)
def test_settings_out_of_range(name: str, number: Any) -> None:
    with pytest.raises(EngineError, match=f"setting {name}"):
        Settings(**{name: number})
