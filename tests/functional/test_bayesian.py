import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hfal import functional as F

finite = st.floats(-30, 30, width=32)


def entropy(p):
    return -sum(q * math.log(q) for q in p if q > 0)


@given(logits=arrays("float32", (5, 3, 4), elements=finite))
def test_bald_and_mean_std_equal_plain_python(logits):
    logits = torch.from_numpy(logits)
    p = torch.softmax(logits.double(), -1)
    bald, spread = [], []
    for row in range(3):
        samples = p[:, row].tolist()
        mean = [sum(s[c] for s in samples) / 5 for c in range(4)]
        bald.append(entropy(mean) - sum(entropy(s) for s in samples) / 5)
        spread.append(sum(math.sqrt(sum((s[c] - mean[c]) ** 2 for s in samples) / 5) for c in range(4)) / 4)
    torch.testing.assert_close(F.bald(logits), torch.tensor(bald), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(F.mean_std(logits), torch.tensor(spread), atol=1e-5, rtol=1e-4)


def test_bald_is_the_mutual_information_of_an_exhaustive_case():
    # two equally likely models, certain and opposed: the label tells which one, log 2 nats
    logits = torch.tensor([[[100.0, 0.0]], [[0.0, 100.0]]])
    torch.testing.assert_close(F.bald(logits), torch.tensor([math.log(2)]))
    agreed = torch.tensor([[[0.0, 0.0]], [[0.0, 0.0]]])  # unsure, but of one mind
    torch.testing.assert_close(F.bald(agreed), torch.zeros(1))


@pytest.mark.parametrize("score", [F.bald, F.mean_std, F.variation_ratio])
def test_sample_scores_follow_their_rows_and_refuse_bad_input(score):
    logits = torch.randn(6, 5, 3)
    order = torch.randperm(5)
    torch.testing.assert_close(score(logits[:, order]), score(logits)[order])
    torch.testing.assert_close(score(logits.transpose(0, 1).contiguous().transpose(0, 1)), score(logits))
    torch.testing.assert_close(score(logits[:1]), torch.zeros(5), atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="shape"):
        score(logits[0])
    with pytest.raises(ValueError, match="classes"):
        score(logits[..., :1])
    logits[2, 4, 1] = float("nan")
    with pytest.raises(ValueError, match="row 4"):
        score(logits)


@given(logits=arrays("float32", (6, 4, 3), elements=finite))
def test_committees_equal_plain_python(logits):
    logits = torch.from_numpy(logits)
    p = torch.softmax(logits.double(), -1)
    votes, divergence = [], []
    for row in range(4):
        chosen = logits[:, row].argmax(-1).tolist()
        votes.append(entropy([chosen.count(c) / 6 for c in range(3)]))
        mean = p[:, row].mean(0)
        divergence.append(float((p[:, row] * (p[:, row].clamp_min(1e-300) / mean).log()).sum(-1).mean()))
    torch.testing.assert_close(F.vote_entropy(logits), torch.tensor(votes), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(F.consensus_kl(logits), torch.tensor(divergence), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(F.consensus_kl(logits), F.bald(logits), atol=1e-4, rtol=1e-3)
