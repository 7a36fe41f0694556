import sys

import numpy as np
import pytest

from hfal import HfalError
from hfal.neighbours import EXACT, Neighbours


def vectors(rows, dims=16, groups=20, seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(groups, dims))[rng.integers(groups, size=rows)] + 0.3 * rng.normal(size=(rows, dims))
    ).astype(np.float32)


def by_hand(points, row, k):
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    cosine = unit @ unit[row]
    return set(np.argsort(-cosine)[:k].tolist())


def test_few_rows_are_searched_exactly_and_known_by_their_numbers():
    points = vectors(500)
    numbers = np.random.default_rng(1).permutation(np.arange(1000, 1500))
    index = Neighbours.build(points, numbers)
    found, cosines = index.search(numbers[[3, 77]], 10)
    for place, row in enumerate((3, 77)):
        assert {int(np.flatnonzero(numbers == number)[0]) for number in found[place]} == by_hand(points, row, 10)
        assert found[place][0] == numbers[row] and cosines[place][0] == pytest.approx(1, abs=1e-4)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    np.testing.assert_allclose(index.vectors(numbers[[5]])[0], unit[5], atol=1e-5)
    assert index.search(numbers[:1], 9999)[0].shape == (1, 500)
    with pytest.raises(ValueError, match="not in the index"):
        index.search(np.array([7]), 3)


def test_many_rows_are_searched_by_lists_with_few_misses(tmp_path):
    points = vectors(EXACT + 5000)
    index = Neighbours.build(points, np.arange(len(points)), seed=3)
    rows = np.arange(0, len(points), 2500)
    found, _ = index.search(rows, 20)
    hits = [len(set(found[place].tolist()) & by_hand(points, row, 20)) for place, row in enumerate(rows)]
    assert np.mean(hits) >= 18
    index.save(tmp_path / "index")
    again = Neighbours.load(tmp_path / "index", index.rows)
    np.testing.assert_array_equal(again.search(rows, 20)[0], found)
    same = Neighbours.build(points, np.arange(len(points)), seed=3)
    np.testing.assert_array_equal(same.search(rows, 20)[0], found)


def test_without_faiss_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(HfalError, match=r"pip install 'hfal\[scale\]'"):
        Neighbours.build(vectors(10), np.arange(10))
