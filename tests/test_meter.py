"""How many labels chance would need: against curves that are known."""

import numpy as np
import pytest
import torch

from hfal import FrozenHead, Pool, TextClassification
from hfal.evaluation.extrapolation import labels_needed
from hfal.evaluation.meter import ENOUGH, saved
from hfal.report.sentences import saving_line
from tests.conftest import NAMES, make_rows

SIZES = np.array([30.0, 50.0, 80.0, 120.0])


def curve(n, floor=0.1, c=0.4):
    return floor + (0.5 - floor) * (n / 20) ** -c


def test_an_error_within_the_curve_is_read_off_it():
    covariance = np.eye(5) * 1e-6
    found = labels_needed(SIZES, np.append(curve(SIZES), curve(65.0)), covariance, 65.0)
    assert found.value == pytest.approx(65, rel=0.05)
    assert found.low <= 65 <= found.high and found.high - found.low < 15


def test_further_than_the_curve_reaches_the_interval_widens():
    covariance = np.eye(5) * 1e-5
    widths = []
    for n in (100.0, 200.0, 400.0):
        found = labels_needed(SIZES, np.append(curve(SIZES), curve(n)), covariance, n)
        assert found.low <= n <= found.high
        widths.append(np.log(found.high / found.low))
    assert widths == sorted(widths)


def test_better_than_any_asymptote_has_no_upper_end():
    covariance = np.eye(5) * 1e-4
    found = labels_needed(SIZES, np.append(np.full(4, 0.4), 0.05), covariance, 150.0)
    assert found.high == np.inf and found.low > 120


def test_more_noise_is_a_wider_interval():
    errors = np.append(curve(SIZES), curve(150.0))
    narrow, wide = (labels_needed(SIZES, errors, np.eye(5) * noise, 150.0) for noise in (1e-5, 1e-3))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_that_choosing_is_far_worse_than_chance_is_hardly_believed():
    errors = np.append(curve(SIZES), curve(60.0))
    noisy = np.eye(5) * 4e-3
    assert labels_needed(SIZES, errors, noisy, 400.0).low > 2 * labels_needed(SIZES, errors, noisy, 40.0).low
    sure = labels_needed(SIZES, errors, np.eye(5) * 1e-6, 400.0)
    assert sure.high < 80, "but it is, where the rows leave no doubt"


@pytest.fixture(scope="module")
def measured(tiny_model):
    """A pool with audited rows, and a model trained on some others."""
    rows = make_rows(500)
    pool = Pool.from_dataset(rows, TextClassification(label_names=NAMES))
    learner = FrozenHead(tiny_model)
    learner.bind(pool.task, 0)
    free = pool.canonical(pool.unlabeled)
    pool.keep_reserve(free[:ENOUGH])
    known = free[: ENOUGH + 150]
    pool.label(dict(zip(known.tolist(), rows.select(known)["label"], strict=True)))
    learner.fit(pool.training_set())
    return learner, pool


def run(measured, seed=0, spent=250.0, each=1.0):
    learner, pool = measured
    nothing = np.empty(0, np.int64)
    return saved(learner, pool, nothing, nothing, spent, each, torch.Generator().manual_seed(seed))


def test_the_model_in_use_stays_as_it_was(measured):
    learner, _ = measured
    before = learner.model.classifier.weight.clone()
    run(measured)
    assert torch.equal(learner.model.classifier.weight, before)


def test_the_same_seed_gives_the_same_figures(measured):
    assert run(measured) == run(measured)


def test_costs_are_in_the_units_of_the_budget(measured):
    one, ten = run(measured), run(measured, each=10.0, spent=2500.0)
    assert ten["needed_low"] == pytest.approx(10 * one["needed_low"])
    assert one["rows"] == ENOUGH


def test_under_a_hundred_random_rows_nothing_is_said(measured):
    learner, pool = measured
    fewer = pool.copy()
    fewer.reserve = pool.reserve[:60]
    nothing = np.empty(0, np.int64)
    found = saved(learner, fewer, nothing, nothing, 100.0, 1.0, torch.Generator())
    assert found == {"rows": 60}
    assert saving_line(found, "rows").startswith("too early to say")


def test_learners_that_train_for_long_say_nothing(measured):
    _, pool = measured
    nothing = np.empty(0, np.int64)
    assert saved(object(), pool, nothing, nothing, 100.0, 1.0, torch.Generator()) == {}


@pytest.mark.parametrize(
    ("saving", "line"),
    [
        ({}, ""),
        ({"rows": 40}, "too early to say how many labels the choosing has saved (40 rows drawn by chance)"),
        ((110.0, 310.0, 620.0), "about 210 labels saved against chance, 95% interval 10 to 520"),
        ((150.0, None, None), "at least 50 labels saved against chance (with 95% confidence)"),
        ((20.0, 40.0, 70.0), "about 60 labels more than chance would have needed, 95% interval 30 to 80 more"),
        ((50.0, None, None), "too early to say how many labels the choosing has saved (95% interval -50 to more than"),
        ((50.0, 90.0, 400.0), "too early to say how many labels the choosing has saved (95% interval -50 to 300)"),
    ],
)
def test_what_status_says(saving, line):
    if isinstance(saving, tuple):
        saving = {"spent": 100.0, "rows": 120} | dict(zip(("needed_low", "needed", "needed_high"), saving, strict=True))
    assert saving_line(saving, "rows").startswith(line)
    assert bool(line) == bool(saving_line(saving, "rows"))
