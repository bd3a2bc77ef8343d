"""Learning A: scores against float64 references, what is held out stays out, and what must be learned is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InvalidInput
from engine.learning import PARAMETERISATIONS, TrainingOptions, TrainingSet, cross_validate, train_on_all
from engine.learning.parameterisations import initial_parameters, matrix_to_arrays, parameters_to_matrix
from engine.learning.ranks import chance_top, interval, ranks_to_top, resampled_top, scores_to_ranks
from engine.learning.scores import scores_of
from engine.learning.training import train
from engine.learning.training_set import split_models
from engine.scores import (
    learned_first_moment,
    learned_gaussian_density,
    matrix_to_covariance_map,
    statistics_to_factor,
    unit,
)
from engine.search.spaces import arrays_to_matrix
from engine.statistics import Moments

D = 12
METHODS = ("first_moment", "gaussian_density")


def distorted(models: int = 30, per: int = 6, *, strength: float = 8.0, seed: int = 0) -> TrainingSet:
    """Models that differ everywhere, and sketches of their samples that a linear map has distorted.

    The map blows up the second half of the axes, where single samples are noisy: undoing it is what must be learned.
    """
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(models, D))
    samples = centres[:, None] + 0.5 * rng.normal(size=(models, 40, D))
    features = unit(samples.reshape(-1, D).astype(np.float32)).reshape(models, 40, D)
    statistics = [Moments.of(block).to_statistics(1e-4) for block in features]
    factors = [statistics_to_factor(one) for one in statistics]
    owners = np.repeat(np.arange(models), per)
    distortion = np.diag([1.0] * (D // 2) + [strength] * (D // 2))
    fresh = centres[owners] + np.array([0.4] * (D // 2) + [1.5] * (D // 2)) * rng.normal(size=(len(owners), D))
    return TrainingSet(
        unit((fresh @ distortion).astype(np.float32)),
        owners,
        np.stack([one.mean for one in statistics]),
        np.stack([one.inverse for one in factors]),
        np.array([one.log_det for one in factors]),
        20.0,
    )


@pytest.fixture(scope="module")
def data() -> TrainingSet:
    return distorted()


# --- scores


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_scores_are_the_engines(seed: int) -> None:
    """What is trained is what is searched by, up to what no ranking sees."""
    rng = np.random.default_rng(seed)
    data = distorted(4, 2, seed=seed % 1000)
    a = np.eye(D, dtype=np.float32) + np.tril(0.1 * rng.normal(size=(D, D))).astype(np.float32)
    rows = torch.arange(4)
    cosines = scores_of("first_moment", data, "cpu")(torch.as_tensor(a), torch.as_tensor(data.queries), rows)
    expected = np.stack([learned_first_moment(a, data.means, query) for query in data.queries])
    np.testing.assert_allclose(cosines.numpy(), expected, atol=1e-5)
    densities = scores_of("gaussian_density", data, "cpu")(torch.as_tensor(a), torch.as_tensor(data.queries), rows)
    assert data.inverses is not None
    assert data.log_dets is not None
    from engine.scores import GaussianFactor

    factors = [GaussianFactor(*one) for one in zip(data.means, data.inverses, data.log_dets, strict=True)]
    exact = np.array([[learned_gaussian_density(f, matrix_to_covariance_map(a), q) for f in factors]
                      for q in data.queries])  # fmt: skip
    found = densities.numpy() * D
    np.testing.assert_allclose(found - found[:, :1], exact - exact[:, :1], rtol=2e-3, atol=2e-2)


@pytest.mark.parametrize("parameterisation", PARAMETERISATIONS)
def test_every_form_begins_at_the_identity_and_keeps_its_shape(parameterisation: str) -> None:
    psi = initial_parameters(parameterisation, 5, "cpu")
    first = parameters_to_matrix(parameterisation, psi).detach().numpy()
    np.testing.assert_array_equal(first / first[0, 0], np.eye(5))
    psi = torch.randn(psi.shape, generator=torch.Generator().manual_seed(1))
    matrix = parameters_to_matrix(parameterisation, psi).numpy()
    if parameterisation == "diagonal":
        assert ((np.diag(matrix) > 0) & (np.diag(matrix) < 1)).all()
        assert not (matrix - np.diag(np.diag(matrix))).any()
    elif parameterisation == "triangular":
        assert not np.triu(matrix, 1).any()
    np.testing.assert_array_equal(arrays_to_matrix(matrix_to_arrays(parameterisation, matrix)), matrix)


# --- ranks and intervals, by hand


def test_ranks() -> None:
    scores = np.array([[3, 2, 1], [3, 2, 1], [1, 1, 0], [np.nan, 1, 2]], np.float32)
    assert scores_to_ranks(scores, np.array([0, 2, 0, 0])).tolist() == [1, 3, 2, 3]
    assert ranks_to_top(np.array([1, 2, 6, 11])) == {1: 0.25, 5: 0.5, 10: 0.75}
    assert chance_top(8) == {1: 0.125, 5: 0.625, 10: 1.0}


def test_the_bootstrap_draws_models_and_pairs_rankings() -> None:
    ranks = {"a": np.array([1, 1, 9, 9]), "b": np.array([1, 1, 9, 9])}
    values = resampled_top(ranks, np.array([5, 5, 7, 7]), 1, seed=0)
    assert set(values["a"]) == {0.0, 0.5, 1.0}  # both of a model's queries, or neither
    np.testing.assert_array_equal(values["a"], values["b"])
    assert interval(values["a"]) == (0.0, 1.0)
    assert values["a"].mean() == pytest.approx(0.5, abs=0.05)


# --- training


@pytest.mark.parametrize("parameterisation", PARAMETERISATIONS)
def test_a_linear_distortion_is_learned_for_models_never_seen(data: TrainingSet, parameterisation: str) -> None:
    rate = 0.2 if parameterisation == "diagonal" else None
    options = TrainingOptions(parameterisation=parameterisation, batch_size=16, epochs=40, learning_rate=rate)
    report = cross_validate(data, options).report()
    assert report["chance"]["top_1"] == pytest.approx(1 / 30)
    assert report["learned"]["top_1"] > report["pretrained"]["top_1"] + 0.05
    assert report["better"]
    low, high = report["intervals"]["gain"]["top_1"]
    assert 0 < low <= report["learned"]["top_1"] - report["pretrained"]["top_1"] <= high
    assert [fold["models"] for fold in report["folds"]] == [6] * 5
    assert sum(fold["queries"] for fold in report["folds"]) == len(data.queries)


def test_a_density_is_learned_too(data: TrainingSet) -> None:
    options = TrainingOptions(method="gaussian_density", batch_size=16, learning_rate=3e-3, epochs=30)
    report = cross_validate(data, options, folds=3).report()
    assert report["learned"]["top_1"] > report["pretrained"]["top_1"]


@pytest.mark.parametrize("method", METHODS)
def test_noise_teaches_nothing(method: str) -> None:
    data = distorted(20, 4)
    rng = np.random.default_rng(3)
    noise = replace(data, queries=unit(rng.normal(size=data.queries.shape).astype(np.float32)))
    assert not cross_validate(noise, TrainingOptions(method=method, epochs=5), folds=4).report()["better"]


def test_training_stops_early_and_keeps_its_best(data: TrainingSet) -> None:
    seen: list[tuple[int, float]] = []
    options = TrainingOptions(patience=3, batch_size=16, epochs=80)
    trained = train_on_all(data, options, on_epoch=lambda epoch, score: seen.append((epoch, score)))
    assert trained.epoch > 0
    assert trained.history[trained.epoch] == max(trained.history)
    assert len(trained.history) - 1 == trained.epoch + 3  # it went on for three epochs in vain
    assert seen == list(enumerate(trained.history))[1:]
    assert len(train_on_all(data, replace(options, epochs=2)).history) == 3


def test_when_nothing_is_better_the_identity_is_kept(data: TrainingSet) -> None:
    trained = train_on_all(data, TrainingOptions(learning_rate=50.0, patience=2))
    if trained.epoch == 0:
        np.testing.assert_array_equal(trained.matrix, np.eye(D))
        assert len(trained.history) == 3
    assert max(trained.history) == trained.history[trained.epoch]


def test_what_is_held_out_is_not_looked_at(data: TrainingSet) -> None:
    """Neither the queries nor the means of held-out models change what is learned."""
    held_out = np.array([3, 4, 5])
    judged = np.setdiff1d(data.judged(), held_out)
    options = TrainingOptions(epochs=4, batch_size=16)
    queries, means = data.queries.copy(), data.means.copy()
    queries[data.places_of(held_out)] = queries[data.places_of(held_out)][:, ::-1]
    once = train(data, options, judged, scores_of("first_moment", data, "cpu"))
    other = replace(data, queries=queries)
    twice = train(other, options, judged, scores_of("first_moment", other, "cpu"))
    np.testing.assert_array_equal(once.matrix, twice.matrix)
    taught, validating = split_models(judged, options.validation_share, np.random.default_rng(options.seed))
    assert not set(taught) & set(validating)
    assert not set(held_out) & {*taught, *validating}
    queries = data.queries.copy()  # and validation decides only when to stop
    queries[data.places_of(validating)] = queries[data.places_of(validating)][:, ::-1]
    other = replace(data, queries=queries)
    third = train(other, replace(options, epochs=1), judged, scores_of("first_moment", other, "cpu"))
    first = train(data, replace(options, epochs=1), judged, scores_of("first_moment", data, "cpu"))
    if first.epoch == third.epoch:
        np.testing.assert_array_equal(first.matrix, third.matrix)
    means[held_out] = 1.0
    other = replace(data, means=means)
    fourth = train(other, options, judged, scores_of("first_moment", other, "cpu"))
    if fourth.epoch == once.epoch:  # held-out means stand among those that validation ranks
        np.testing.assert_array_equal(fourth.matrix, once.matrix)


def test_a_seed_settles_everything(data: TrainingSet) -> None:
    options = TrainingOptions(epochs=3, batch_size=16)
    one, again = train_on_all(data, options), train_on_all(data, options)
    np.testing.assert_array_equal(one.matrix, again.matrix)
    assert one.history == again.history
    other = train_on_all(data, replace(options, seed=1))
    assert not np.array_equal(one.matrix, other.matrix)
    folds = [[fold.models.tolist() for fold in cross_validate(data, replace(options, epochs=1, seed=s), 3).folds]
             for s in (0, 0, 1)]  # fmt: skip
    assert folds[0] == folds[1] != folds[2]


@pytest.mark.parametrize("method", METHODS)
def test_the_temperature_can_be_given_or_learned(data: TrainingSet, method: str) -> None:
    options = TrainingOptions(method=method, epochs=2, batch_size=16, learning_rate=1e-3)
    default = train_on_all(data, options).temperature
    assert default == pytest.approx(1 / 20) if method == "first_moment" else 0 < default < 10
    assert train_on_all(data, replace(options, temperature=0.7)).temperature == pytest.approx(0.7)
    learned = train_on_all(data, replace(options, learn_temperature=True, temperature=0.7))
    assert learned.epoch == 0 or learned.temperature != pytest.approx(0.7, rel=1e-6)


def test_models_without_queries_are_candidates(data: TrainingSet) -> None:
    places = data.places_of(np.arange(10))
    few = replace(data, queries=data.queries[places], owners=data.owners[places])
    found = cross_validate(few, TrainingOptions(epochs=1), folds=2)
    assert found.models == 30
    assert found.report()["chance"]["top_1"] == pytest.approx(1 / 30)


# --- what is refused


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "monte_carlo"}, {"parameterisation": "spherical"}, {"epochs": 0}, {"patience": 0.5}, {"seed": -1},
        {"batch_size": True}, {"learning_rate": 0.0}, {"temperature": -1.0}, {"weight_decay": float("nan")},
        {"validation_share": 0.0}, {"validation_share": 1.0},
    ],
    ids=str,
)  # fmt: skip
def test_options_that_are_refused(wrong: dict) -> None:
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        TrainingOptions(**wrong)


def test_sets_that_are_refused(data: TrainingSet) -> None:
    for wrong in ({"owners": data.owners[:-1]}, {"owners": data.owners + 1}, {"means": data.means[:, :-1]}):
        with pytest.raises(InvalidInput):
            replace(data, **wrong)
    with pytest.raises(InvalidInput, match="covariances"):
        cross_validate(replace(data, inverses=None), TrainingOptions(method="gaussian_density"))
    for folds in (1, 0, 2.0, True):
        with pytest.raises(InvalidInput, match="folds"):
            cross_validate(data, TrainingOptions(), folds)
    with pytest.raises(InvalidInput, match="more than 30"):
        cross_validate(data, TrainingOptions(), 30)
    only = data.places_of(np.array([4]))
    with pytest.raises(InvalidInput, match="at least 2 models"):
        train_on_all(replace(data, queries=data.queries[only], owners=data.owners[only]), TrainingOptions())


def test_the_digest_is_of_everything(data: TrainingSet) -> None:
    assert data.digest() == replace(data).digest()
    others = [replace(data, queries=-data.queries), replace(data, means=-data.means), replace(data, inverses=None)]
    assert len({data.digest(), *(other.digest() for other in others)}) == 4
