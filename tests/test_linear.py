import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from hfal.linear import fit_logistic, fit_softmax, frequency_weights


def data(rows=400, features=6, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, features))
    y = (x @ rng.normal(size=(features, classes)) + rng.gumbel(size=(rows, classes))).argmax(1)
    return torch.from_numpy(x).float(), torch.from_numpy(y)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_the_head_is_scikit_learns_logistic_regression(power):
    x, y = data()
    weights = frequency_weights(np.bincount(y, minlength=4), power)
    weight, bias, steps = fit_softmax(lambda: iter([(x, y)]), 6, weights, 0.5)
    peer = LogisticRegression(C=0.5, max_iter=1000, tol=1e-8).fit(x, y, sample_weight=weights[y])
    ours = torch.log_softmax(x @ torch.from_numpy(weight).float().T + torch.from_numpy(bias).float(), -1)
    np.testing.assert_allclose(ours, peer.predict_log_proba(x), atol=0.02)
    assert steps > 3


def test_rows_read_in_parts_give_the_same_head():
    x, y = data()
    ones = np.ones(4)
    whole = fit_softmax(lambda: iter([(x, y)]), 6, ones, 1.0)
    parts = fit_softmax(lambda: iter(zip(x.split(37), y.split(37), strict=True)), 6, ones, 1.0)
    np.testing.assert_allclose(whole[0], parts[0], atol=5e-3)


def test_a_class_without_rows_gets_a_finite_low_score():
    x, y = data(classes=3)
    weight, bias, _ = fit_softmax(lambda: iter([(x, y)]), 6, frequency_weights(np.bincount(y, minlength=4), 0.25), 1.0)
    assert np.isfinite(weight).all() and np.isfinite(bias).all()
    p = torch.softmax(x @ torch.from_numpy(weight).float().T + torch.from_numpy(bias).float(), -1)
    assert float(p[:, 3].max()) < 0.05


def test_frequency_weights_have_mean_one_and_balance_at_one():
    counts = np.array([90, 9, 0, 1])
    for power in (0, 0.25, 1):
        assert (frequency_weights(counts, power) * counts).sum() == pytest.approx(100)
    balanced = frequency_weights(counts, 1) * counts
    assert balanced[[0, 1, 3]] == pytest.approx([100 / 3] * 3)
    assert frequency_weights(counts, 0).tolist() == [1, 1, 1, 1]


def test_rows_that_count_for_little_hardly_decide_how_classes_are_weighed():
    rng = np.random.default_rng(3)
    rows, targets = rng.normal(size=(40, 5)), np.arange(40) % 4 // 3  # three of one class for one of the other
    more, guessed = rng.normal(size=(30, 5)), np.ones(30, dtype=np.int64)
    light = np.concatenate((np.ones(40), np.full(30, 1e-9))).astype(np.float32)
    alone, _, _ = fit_logistic(rows, targets, 2, 10.0, 1.0)
    beside, _, _ = fit_logistic(np.concatenate((rows, more)), np.concatenate((targets, guessed)), 2, 10.0, 1.0, light)
    np.testing.assert_allclose(beside, alone, atol=1e-3)
