"""The settings are checked once, and read from an environment that is handed in."""

from __future__ import annotations

import pytest

from engine.config import Settings
from engine.errors import InvalidInput


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epsilon", 0.0), ("epsilon", -1.0), ("epsilon", float("nan")), ("epsilon", float("inf")),
        ("busy_timeout", 0.0), ("busy_timeout", float("inf")), ("shortlist", 0), ("batch_size", -1),
        ("decode_workers", 0), ("checkpoint_samples", 0), ("neighbours", 0), ("kept_features", -1),
        ("factor_cache_bytes", -1), ("max_bad_share", 1.0), ("max_bad_share", -0.1), ("max_bad_share", float("nan")),
        ("shortlist", 2.5), ("batch_size", "64"), ("epsilon", "1e-4"), ("shortlist", True),
    ],
)  # fmt: skip
def test_settings_that_are_refused(field: str, value: object) -> None:
    with pytest.raises(InvalidInput, match=field):
        Settings(**{field: value})


def test_the_environment_is_read() -> None:
    read = Settings.from_environment(
        {"ENGINE_EPSILON": "1e-3", "ENGINE_SHORTLIST": "7", "ENGINE_INDEX_FOLDER": "somewhere", "SHORTLIST": "9"}
    )
    assert (read.epsilon, read.shortlist, read.index_folder) == (1e-3, 7, "somewhere")
    assert Settings.from_environment({}) == Settings()


@pytest.mark.parametrize("kind", ["panorama", "graph"])
def test_an_index_kind_that_is_gone_is_refused(kind: str) -> None:
    with pytest.raises(InvalidInput, match=f"index_kind must be one of auto, flat, quantized, gpu, got '{kind}'"):
        Settings(index_kind=kind)


@pytest.mark.parametrize(
    ("name", "text"), [("ENGINE_SHORTLIST", "many"), ("ENGINE_EPSILON", ""), ("ENGINE_EPSILON", "0")]
)
def test_an_environment_that_cannot_be_read(name: str, text: str) -> None:
    with pytest.raises(InvalidInput, match=name.removeprefix("ENGINE_").lower() + "|" + name):
        Settings.from_environment({name: text})
