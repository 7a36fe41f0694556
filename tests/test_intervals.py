"""Coverage of the intervals where the truth is known."""

import numpy as np
import pytest
from sklearn.metrics import f1_score
from statsmodels.stats.proportion import proportion_confint

from hfal.evaluation.intervals import ratio_interval, share_interval


def finite_pool(rng, size, accuracy, informative):
    """Right or wrong for each row, and how sure the model is of it."""
    right = (rng.random(size) < accuracy).astype(float)
    noise = rng.beta(2, 2, size)
    proxy = 0.25 + 0.5 * noise + informative * 0.25 * (2 * right - 1)
    return right, proxy.clip(0, 1)


def test_without_a_useful_proxy_it_is_the_exact_interval():
    right = np.array([1.0] * 40 + [0.0] * 10)
    flat = np.full(50, 0.5)
    found = share_interval(right, flat, np.full(400, 0.5))
    low, high = proportion_confint(40, 50, alpha=0.05, method="beta")
    assert (found.value, found.low, found.high) == (0.8, pytest.approx(low), pytest.approx(high))


@pytest.mark.parametrize("accuracy", [0.6, 0.85, 0.97])
@pytest.mark.parametrize("size", [15, 60])
@pytest.mark.parametrize("informative", [0.0, 0.6])
def test_shares_are_covered(accuracy, size, informative):
    rng = np.random.default_rng(int(size * accuracy * 100) + int(10 * informative))
    hits, runs = 0, 400
    for _ in range(runs):
        right, proxy = finite_pool(rng, 600, accuracy, informative)
        found = share_interval(right[:size], proxy[:size], proxy)
        hits += found.low <= right.mean() <= found.high
        assert 0 <= found.low <= found.value <= found.high <= 1
    assert hits / runs >= 0.93


def test_a_telling_proxy_narrows_the_interval():
    rng = np.random.default_rng(0)
    widths = {}
    for informative in (0.0, 0.8):
        found = []
        for _ in range(100):
            right, proxy = finite_pool(rng, 3000, 0.75, informative)
            one = share_interval(right[:80], proxy[:80], proxy)
            found.append(one.high - one.low)
        widths[informative] = np.mean(found)
    assert widths[0.8] < 0.75 * widths[0.0]


def test_extreme_samples_have_an_interval():
    sure = share_interval(np.ones(20), np.linspace(0.8, 1, 20), np.linspace(0.5, 1, 300))
    assert sure.value == 1 and 0.7 < sure.low < 0.9 and sure.high == 1
    none = share_interval(np.zeros(20), np.linspace(0.8, 1, 20), np.linspace(0.5, 1, 300))
    assert none.value == 0 and none.low == 0 and 0.1 < none.high < 0.3


def tallies(rng, size, quality):
    """2 hits and (found + wanted) of each sentence, as F1 adds them up."""
    wanted = rng.poisson(0.8, size)
    hits = rng.binomial(wanted, quality)
    found = hits + rng.poisson(0.3, size)
    return np.stack([2 * hits, found + wanted], axis=1).astype(float)


@pytest.mark.parametrize("quality", [0.3, 0.7, 0.95])
@pytest.mark.parametrize("size", [40, 150])
def test_ratios_are_covered(quality, size):
    rng = np.random.default_rng(int(size + 100 * quality))
    hits, runs = 0, 400
    for _ in range(runs):
        everything = tallies(rng, 3000, quality)
        truth = everything[:, 0].sum() / everything[:, 1].sum()
        found = ratio_interval(everything[:size])
        hits += found is not None and found.low <= truth <= found.high
    assert hits / runs >= 0.92


def test_a_ratio_of_tallies_is_f1():
    rng = np.random.default_rng(0)
    truth, guess = rng.integers(0, 2, (2, 200))
    tally = np.stack([2 * (truth & guess), truth + guess], axis=1).astype(float)
    assert ratio_interval(tally).value == pytest.approx(f1_score(truth, guess))
    assert ratio_interval(np.zeros((20, 2))) is None
    perfect = ratio_interval(np.full((20, 2), 2.0))
    assert perfect.value == 1 and 0.5 < perfect.low < 1 and perfect.high == 1
