import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hfal import functional as F

SCORES = [F.entropy, F.margin, F.least_confidence]
finite = st.floats(-50, 50, width=32)


def brute(name, row):
    top = max(row)
    exps = [math.exp(value - top) for value in row]
    p = sorted((e / sum(exps) for e in exps), reverse=True)
    return {
        "entropy": -sum(q * math.log(q) for q in p if q > 0),
        "margin": 1 - (p[0] - p[1]),
        "least_confidence": 1 - p[0],
    }[name]


@pytest.mark.parametrize("score", SCORES)
@given(logits=arrays("float32", (4, 3), elements=finite))
def test_scores_equal_plain_python_and_follow_their_rows(score, logits):
    logits = torch.from_numpy(logits)
    result = score(logits)
    expected = [brute(score.__name__, row) for row in logits.tolist()]
    torch.testing.assert_close(result, torch.tensor(expected), atol=2e-5, rtol=1e-4)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(score(logits[order]), result[order])


@pytest.mark.parametrize("score", SCORES)
def test_scores_keep_leading_dimensions_and_take_non_contiguous_input(score):
    logits = torch.randn(3, 5, 4)
    torch.testing.assert_close(score(logits)[1], score(logits[1]))
    torch.testing.assert_close(score(logits[0].T.contiguous().T), score(logits[0]))
    assert score(logits.half()).dtype == torch.float32


@pytest.mark.parametrize("score", SCORES)
def test_extreme_logits_stay_finite(score):
    assert torch.isfinite(score(torch.tensor([[1e4, -1e4], [3e38, 0.0], [0.0, 0.0]]))).all()


def test_variation_ratio_counts_votes():
    votes = torch.tensor([[0, 0], [0, 1], [1, 2], [0, 1]])  # 4 samples, 2 rows
    samples = torch.nn.functional.one_hot(votes, 3).float()
    torch.testing.assert_close(F.variation_ratio(samples), torch.tensor([0.25, 0.5]))


@pytest.mark.parametrize("score", SCORES)
def test_bad_logits_are_refused_and_the_rows_are_named(score):
    with pytest.raises(ValueError, match="at least 2 classes"):
        score(torch.zeros(3, 1))
    with pytest.raises(ValueError, match=r"rows 1, 2"):
        score(torch.tensor([[0.0, 1.0], [float("nan"), 0.0], [float("inf"), 0.0]]))
    with pytest.raises(ValueError, match="shape"):
        score(torch.zeros(3))
    with pytest.raises(ValueError, match=r"torch\.Tensor"):
        score([[0.0, 1.0]])
