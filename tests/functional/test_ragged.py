import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hfal.functional import Ragged, reduce_words

ROWS = st.lists(st.lists(st.integers(-50, 50).map(float), max_size=7), min_size=1, max_size=8)


def ragged(rows):
    return Ragged.of([torch.tensor(row) for row in rows])


@given(ROWS, st.sampled_from(["mean", "sum", "max", "top3"]))
def test_reductions_equal_row_by_row_arithmetic(rows, how):
    def one(row):
        if not row:
            return 0.0
        best = sorted(row, reverse=True)[:3]
        return {"mean": sum(row) / len(row), "sum": sum(row), "max": max(row), "top3": sum(best) / len(best)}[how]

    assert reduce_words(ragged(rows), how).tolist() == pytest.approx([one(row) for row in rows], abs=1e-5)


@given(ROWS, st.randoms(use_true_random=False))
def test_take_gives_the_rows_in_the_order_asked(rows, random):
    order = [random.randrange(len(rows)) for _ in range(random.randrange(6))]
    taken = ragged(rows).take(torch.tensor(order, dtype=torch.int64))
    assert [taken[i].tolist() for i in range(len(taken))] == [rows[i] for i in order]


def test_pad_fills_after_each_row():
    padded = ragged([[1.0, 2.0], [], [3.0]]).pad(-1)
    assert padded.tolist() == [[1, 2], [-1, -1], [3, -1]]


def test_offsets_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="rise from 0 to the 3 values"):
        Ragged(torch.zeros(3), torch.tensor([0, 2]))
    with pytest.raises(ValueError, match="rise"):
        Ragged(torch.zeros(3), torch.tensor([0, 2, 1, 3]))
    with pytest.raises(ValueError, match="int64"):
        Ragged(torch.zeros(3), torch.tensor([0.0, 3.0]))


def test_an_unknown_reduction_is_refused():
    with pytest.raises(ValueError, match="mean, sum, max, top3"):
        reduce_words(ragged([[1.0]]), "median")
