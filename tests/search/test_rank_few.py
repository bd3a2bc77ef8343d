"""Ranking where there are few models, or where they lack what a rule needs."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import MissingStatistics

RULES = ["first_moment", "first_second_moment", "gaussian_density", "monte_carlo", "best_1", "best_10"]


@pytest.mark.parametrize("method", RULES)
def test_an_empty_collection_answers_with_nothing(ask, method: str, part) -> None:
    assert ask(method, [part(3)]).ids.tolist() == []
    assert ask(method, [part(3), part(4, "sketch")]).ids.tolist() == []


@pytest.mark.parametrize("method", ["first_moment", "gaussian_density"])
def test_a_collection_of_one_model_answers_soberly(ask, put, method: str, part) -> None:
    model = put("alone")
    found = ask(method, [part(4, "sketch"), part(5, "image")])
    assert found.ids.tolist() == [model.id]
    np.testing.assert_allclose(found.scores, 0)  # no spread: neither part can tell models apart


def test_models_without_a_covariance_are_passed_over(ask, put, cloud, part) -> None:
    """They are nearest to the query, and still k models with a covariance come back."""
    target = part(7)
    near = {put(f"bare{i}", features=target.feature + 0.01 * cloud(i, 20), covariance=False).id for i in range(12)}
    full = {put(f"full{i}", features=cloud(100 + i, 20)).id for i in range(6)}
    found = ask("gaussian_density", [target], 6, shortlist=2)
    assert set(found.ids.tolist()) == full
    assert found.left_out == 12
    assert set(ask("first_moment", [target], 12).ids.tolist()) == near
    assert len(ask("gaussian_density", [target], 100, shortlist=2).ids) == 6


@pytest.mark.parametrize(
    ("method", "lacking"), [("gaussian_density", "covariance"), ("first_second_moment", "covariance"),
                            ("monte_carlo", "kept"), ("best_10", "kept")],
)  # fmt: skip
def test_when_no_model_has_what_is_needed(ask, put, method: str, lacking: str, part) -> None:
    put("bare", **{lacking: False})
    with pytest.raises(MissingStatistics, match=method) as caught:
        ask(method, [part(1)])
    assert "first_moment" in str(caught.value.hint)
