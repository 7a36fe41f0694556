import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hfal import HfalError
from hfal.signals import Signals
from hfal.strategies import Context, Random, Selection, by_score
from hfal.strategies.within import select_within


class ByScore:
    """The highest `reduced` first."""

    needs = None

    def select(self, context, size):
        return by_score(context, context.pool.reduced["score"], size)


def context_of(scores, seed=0):
    values = torch.tensor([float(score) for score in scores])
    pool = Signals(rows=np.arange(10, 10 + len(scores)), reduced={"score": values})
    none = Signals(rows=np.empty(0, np.int64))
    generator = torch.Generator().manual_seed(seed)
    return Context(pool=pool, labeled=none, labels=[], num_classes=2, round=1, generator=generator)


CASES = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(1, 12)), min_size=1, max_size=40, unique_by=lambda c: c[0]
)


@given(CASES, st.integers(0, 60))
def test_rows_are_taken_in_order_what_does_not_fit_is_passed_over(case, amount):
    scores, costs = zip(*case, strict=True)
    left, expected = amount, []
    for _score, cost, row in sorted(zip(scores, costs, range(10, 10 + len(case)), strict=True), reverse=True):
        if cost <= left:
            left -= cost
            expected.append(row)
    limits = [(np.array(costs, dtype=float), amount)]
    assert select_within(ByScore(), context_of(scores), limits, "mine").rows.tolist() == expected


@given(CASES, st.integers(1, 60), st.integers(1, 20))
def test_several_limits_hold_together(case, amount, rows):
    scores, costs = zip(*case, strict=True)
    limits = [(np.array(costs, dtype=float), amount), (np.ones(len(costs)), rows)]
    chosen = select_within(Random(), context_of(scores), limits, "random")
    spent = np.array(costs)[chosen.rows - 10]
    assert spent.sum() <= amount and len(chosen) <= rows and len(set(chosen.rows)) == len(chosen)
    left = np.setdiff1d(np.arange(len(costs)), chosen.rows - 10)
    if len(chosen) < rows and len(left):  # nothing that would have fitted is left
        assert np.array(costs)[left].min() > amount - spent.sum()


def test_fractions_that_sum_to_the_limit_fit():
    costs = np.full(10, 0.1)
    assert len(select_within(ByScore(), context_of(range(10)), [(costs, 1.0)], "mine")) == 10


def test_details_and_scores_stay_with_their_rows():
    class Detailed:
        def select(self, context, size):
            scores = context.pool.reduced["score"]
            return by_score(context, scores, size, twice=scores * 2)

    costs = np.array([5.0, 1, 1, 5, 1])
    chosen = select_within(Detailed(), context_of([9, 1, 2, 8, 3]), [(costs, 7.0)], "mine")
    assert chosen.rows.tolist() == [10, 14, 12]
    assert chosen.scores.tolist() == [9, 3, 2] and chosen.details["twice"].tolist() == [18, 6, 4]


@pytest.mark.parametrize(
    ("rows", "problem"),
    [([10, 10], "chose a row twice"), ([10], "chose 1 row where 2 were wanted"), ([10, 99], "cannot be asked")],
)
def test_a_strategy_that_goes_wrong_is_named(rows, problem):
    class Wrong:
        def select(self, context, size):
            return Selection(np.array(rows), np.zeros(len(rows), np.float32))

    with pytest.raises(HfalError, match=f"strategy wrong {problem}|strategy wrong chose a row that {problem}"):
        select_within(Wrong(), context_of([1, 2, 3]), [(np.ones(3), 2)], "wrong")
