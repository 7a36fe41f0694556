import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hfal import functional as F
from hfal.functional import top_k


@given(st.lists(st.integers(0, 4), max_size=30), st.integers(0, 40), st.integers(0, 5))
def test_top_k_takes_the_best_without_repeats(values, size, seed):
    scores = torch.tensor(values, dtype=torch.float32)
    picks = top_k(scores, size, torch.Generator().manual_seed(seed))
    assert len(set(picks.tolist())) == len(picks) == min(size, len(values))
    assert [values[i] for i in picks] == sorted(values, reverse=True)[:size]


def test_ties_are_broken_by_the_generator_not_by_position():
    scores = torch.zeros(50)
    picks = {tuple(top_k(scores, 3, torch.Generator().manual_seed(seed)).tolist()) for seed in range(20)}
    assert len(picks) > 15
    same = [top_k(scores, 3, torch.Generator().manual_seed(1)).tolist() for _ in range(2)]
    assert same[0] == same[1]
    counts = torch.zeros(50)
    for seed in range(2000):
        counts[top_k(scores, 5, torch.Generator().manual_seed(seed))] += 1
    assert counts.min() > 120 and counts.max() < 290  # 200 expected for each


def test_without_ties_a_permutation_of_rows_permutes_the_picks():
    scores = torch.randperm(40).float()
    order = torch.randperm(40)
    assert order[top_k(scores[order], 7)].tolist() == top_k(scores, 7).tolist()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_are_refused(value):
    with pytest.raises(ValueError, match="row 1"):
        top_k(torch.tensor([0.0, value, 1.0]), 1)


def test_wrong_shape_and_size_are_refused():
    with pytest.raises(ValueError, match=r"\[N\]"):
        top_k(torch.zeros(2, 2), 1)
    with pytest.raises(ValueError, match="whole number"):
        top_k(torch.zeros(2), -1)


def test_rows_are_drawn_as_often_as_they_weigh():
    """The first of a draw is row i with probability w_i / sum w; a weight of 0 comes last."""
    weights = torch.tensor([1.0, 2.0, 5.0, 0.0])
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([F.gumbel_top_k(weights.log(), 4, generator) for _ in range(4000)])
    share = torch.bincount(draws[:, 0], minlength=4) / 4000
    torch.testing.assert_close(share, weights / 8, atol=0.03, rtol=0)
    assert bool((draws[:, 3] == 3).all())
    second = draws[draws[:, 0] == 2, 1]  # once row 2 is gone, row 1 weighs twice as much as row 0
    assert float((second == 1).float().mean()) == pytest.approx(2 / 3, abs=0.04)
    with pytest.raises(ValueError, match="not finite"):
        F.gumbel_top_k(torch.tensor([0.0, float("nan")]), 1)
