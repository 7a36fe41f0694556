"""Paired statistics against the definitions and known values."""

import itertools

import numpy as np
import pytest
from scipy import stats

from hfal.evaluation import Curve
from hfal.evaluation.comparing import bootstrap, compare, deficiency, holm, ranked, seeds_needed, signed_rank


def test_the_signed_rank_test_is_that_of_all_signs():
    gaps = np.array([0.3, -0.1, 0.2, 0.5, 0.4, 0.7])
    ranks = stats.rankdata(abs(gaps))
    seen = min(ranks[gaps > 0].sum(), ranks[gaps < 0].sum())
    sums = [
        sum(r for r, sign in zip(ranks, signs, strict=True) if sign) for signs in itertools.product([0, 1], repeat=6)
    ]
    exact = 2 * np.mean([value <= seen for value in sums])
    assert signed_rank(gaps) == pytest.approx(exact)
    assert signed_rank(np.zeros(4)) == 1


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(n):
    rng = np.random.default_rng(n)
    found = [bootstrap(rng.normal(0.1, 1, n), turn) for turn in range(400)]
    assert 0.9 <= np.mean([low <= 0.1 <= high for low, high in found]) <= 0.99


def test_one_pair_tells_nothing():
    found = compare([0.5], [0.1])
    assert (found.low, found.high, found.seeds_needed) == (-np.inf, np.inf, None) and not found.significant


def test_seeds_needed_reach_the_power():
    gaps = np.array([0.02, 0.01, 0.03, 0.0, 0.02])
    n = seeds_needed(gaps)
    rng = np.random.default_rng(0)

    def power(size):
        draws = rng.normal(gaps.mean(), gaps.std(ddof=1), (4000, size))
        return np.mean(stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05)

    assert power(n) > 0.77 and power(n - 1) < 0.83
    assert seeds_needed(np.array([0.0, 0.0])) is None
    assert seeds_needed(np.array([1.0, -1.0001])) is None


def test_deficiency_is_one_for_the_baseline_and_less_for_what_learns_sooner():
    random = Curve((10, 20, 30), (0.5, 0.6, 0.8))
    assert deficiency(random, random) == 1
    assert deficiency(Curve((10, 20, 30), (0.5, 0.8, 0.8)), random) == pytest.approx(0.3 / 0.5)
    assert np.isnan(deficiency(random, Curve((10, 20, 30), (0.8, 0.8, 0.8))))


def test_ranks_and_the_critical_difference_of_the_table():
    """Demšar (2006), table 5: q of Nemenyi's test at 5% is 2.569 for four ways."""
    scores = {"a": [0.9, 0.8, 0.7], "b": [0.8, 0.8, 0.6], "c": [0.1, 0.2, 0.3], "d": [0.0, 0.1, 0.2]}
    found = ranked(scores)
    assert found.mean == {"a": pytest.approx((1 + 1.5 + 1) / 3), "b": pytest.approx((2 + 1.5 + 2) / 3), "c": 3, "d": 4}
    assert found.critical == pytest.approx(2.569 * np.sqrt(4 * 5 / (6 * 3)), abs=1e-3)
    assert found.p == pytest.approx(stats.friedmanchisquare(*scores.values()).pvalue)
    assert np.isnan(ranked({"a": [1.0], "b": [0.5]}).p)
