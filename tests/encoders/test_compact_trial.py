"""The compact encoder's other protocol: its split, its pairs of sets and what counts as another set, by hand."""

import numpy as np
import torch

from benchmarks.compact.trial import Drawings, full_to_kinds, pairs_to_recall, split


def test_a_split_is_four_to_one_disjoint_and_its_seeds_own():
    train, test = split(np.arange(50), 0)
    assert (len(train), len(test)) == (40, 10)
    assert sorted([*train, *test]) == list(range(50))
    assert list(split(np.arange(50), 0)[1]) == list(test) != list(split(np.arange(50), 1)[1])


def test_recall_of_every_pair_but_a_set_and_itself():
    rows = np.eye(3, dtype=np.float16)
    whole = Drawings(rows, np.array([True, True, True]))
    turned = Drawings(rows[[1, 0, 2]], np.array([True, True, True]))
    partial = Drawings(rows, np.array([True, True, False]))
    sets = {"whole": whole, "turned": turned, "partial": partial}
    found = pairs_to_recall(torch.nn.Identity(), sets, sets, np.arange(3))
    assert set(found) == {(a, b) for a in sets for b in sets if a != b}
    assert found["whole", "turned"] == (np.float32(1 / 3), 1.0)
    assert found["partial", "whole"] == (1.0, 1.0)
    assert found["turned", "partial"] == (0.0, 1.0)


def test_which_pairs_count():
    kinds = full_to_kinds(["noto", "fluent-emoji", "fluent-emoji-flat"])
    pairs = [
        ("noto", "noto-v1"), ("noto", "fluent-emoji"), ("fluent-emoji", "fluent-emoji-flat"), ("fxemoji", "noto"),
        ("fluent-emoji-high-contrast", "noto"), ("fluent-emoji-high-contrast", "fluent-emoji"), ("text", "fxemoji"),
    ]  # fmt: skip
    counted = {name: [i for i, pair in enumerate(pairs) if kind.counts(*pair)] for name, kind in kinds.items()}
    assert counted == {
        "another set": [0, 1, 2, 3, 4, 5, 6],
        "another maker's set": [1, 3, 4, 6],
        "another full set": [1, 2, 4, 5],
        "another maker's full set": [1, 4],
        "another maker's set, no variants": [1, 3, 4, 6],
    }
