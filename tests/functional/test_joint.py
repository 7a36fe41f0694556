from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hfal import functional as F


def information(p, rows):
    """I(labels of these rows; parameters) by going through all labels; p is [K, N, C]."""
    models, _, classes = p.shape
    entropy = 0.0
    for labels in product(range(classes), repeat=len(rows)):
        joint = torch.ones(models, dtype=torch.float64)
        for row, label in zip(rows, labels, strict=True):
            joint = joint * p[:, row, label]
        mean = joint.mean()
        entropy -= float(torch.xlogy(mean, mean))
    certain = -torch.xlogy(p[:, rows], p[:, rows]).sum((1, 2)).mean()
    return entropy - float(certain)


def brute_batchbald(logits, size):
    p = torch.softmax(logits.double(), -1)
    picks = []
    for _ in range(size):
        free = [row for row in range(p.shape[1]) if row not in picks]
        picks.append(max(free, key=lambda row: information(p, [*picks, row])))
    return picks


@pytest.mark.parametrize("seed", range(4))
def test_batchbald_picks_what_going_through_all_labels_picks(seed):
    torch.manual_seed(seed)
    logits = torch.randn(5, 12, 3) * 2
    picks, gains = F.batchbald(logits, 4)
    assert picks.tolist() == brute_batchbald(logits, 4)
    p = torch.softmax(logits.double(), -1)
    assert abs(float(gains.sum()) - information(p, picks.tolist())) < 1e-5


def test_the_first_pick_of_batchbald_is_that_of_bald():
    torch.manual_seed(0)
    logits = torch.randn(10, 50, 4)
    picks, gains = F.batchbald(logits, 1)
    assert int(picks) == int(F.bald(logits).argmax()) and abs(float(gains) - float(F.bald(logits).max())) < 1e-5


def test_drawn_labels_come_near_to_all_labels():
    torch.manual_seed(1)
    logits = torch.randn(8, 20, 3) * 2
    exact, gains = F.batchbald(logits, 6)
    drawn, near = F.batchbald(logits, 6, max_configurations=9, samples=20_000)
    assert drawn.tolist()[:3] == exact.tolist()[:3]
    assert abs(float(near.sum()) - float(gains.sum())) < 0.02


def test_a_twin_tells_nothing_new():
    torch.manual_seed(2)
    logits = torch.randn(10, 30, 3) * 3
    best = int(F.bald(logits).argmax())
    logits = torch.cat((logits, logits[:, best, None]), 1)  # its twin is row 30
    picks, _ = F.batchbald(logits, 4)
    assert not {best, 30} <= set(picks.tolist())
    assert {best, 30} <= set(F.top_k(F.bald(logits), 2).tolist())


def test_rows_of_several_decisions_tell_the_sum_of_them():
    torch.manual_seed(3)
    logits = torch.randn(6, 9, 2)
    several = torch.stack((logits, torch.zeros_like(logits)), 2)  # the second decision is a coin that no model knows
    assert F.batchbald(several, 3)[0].tolist() == F.batchbald(logits, 3)[0].tolist()


@given(st.integers(0, 30), st.integers(2, 4), st.integers(1, 5))
def test_epig_is_the_mutual_information_of_two_labels(seed, classes, targets):
    torch.manual_seed(seed)
    logits, others = torch.randn(6, 7, classes), torch.randn(6, targets, classes)
    p, q = torch.softmax(logits.double(), -1), torch.softmax(others.double(), -1)
    joint = torch.einsum("knc,ktd->ntcd", p, q) / 6
    apart = joint.sum(3, keepdim=True) * joint.sum(2, keepdim=True)
    expected = (joint * (joint / apart).log()).sum((2, 3)).mean(1)
    torch.testing.assert_close(F.epig(logits, others), expected.float(), atol=1e-5, rtol=1e-3)


def test_epig_prefers_what_tells_of_the_targets():
    """Two groups of rows, each with a parameter of its own: labels of a group tell nothing of the other."""
    torch.manual_seed(0)
    own = torch.randn(200, 2)
    logits = torch.stack([torch.stack((own[:, g] * 3, -own[:, g] * 3), 1) for g in (0, 0, 1, 1)], 1)
    scores = F.epig(logits, logits[:, :1])
    assert scores[1] > 10 * scores[2] and abs(float(F.bald(logits)[1] - F.bald(logits)[2])) < 0.1


def test_targets_must_fit():
    with pytest.raises(ValueError, match="do not go with"):
        F.epig(torch.zeros(4, 3, 2), torch.zeros(4, 3, 3))
