import pytest
import torch

from hfal import functional as F


def information(hidden, logits):
    """[N, D C, D C], dense, in float64."""
    p = torch.softmax(logits.double(), -1)
    inner = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    return torch.stack([torch.kron(torch.outer(h, h), m) for h, m in zip(hidden.double(), inner, strict=True)])


def brute_bait(hidden, logits, size, labeled, penalty=0.1):
    """Twice forward, then back, with dense matrices and the trace looked at for each row."""
    each = information(hidden, logits)
    wanted = each.mean(0)
    have = penalty * float(hidden.square().sum(1).mean()) * torch.eye(len(wanted), dtype=torch.float64)
    if labeled is not None:
        have = have + information(*labeled).sum(0)

    def trace(matrix):
        return float(torch.linalg.solve(matrix, wanted).diagonal().sum())

    picks = []
    while len(picks) < min(2 * size, len(hidden)):
        free = [row for row in range(len(hidden)) if row not in picks]
        picks.append(min(free, key=lambda row: trace(have + each[row])))
        have = have + each[picks[-1]]
    while len(picks) > size:
        out = min(picks, key=lambda row: trace(have - each[row]))
        have = have - each[out]
        picks.remove(out)
    return picks


@pytest.mark.parametrize("seed", range(3))
def test_picks_are_those_of_dense_matrices(seed):
    torch.manual_seed(seed)
    hidden, logits = torch.randn(25, 4), torch.randn(25, 3)
    labeled = (torch.randn(5, 4), torch.randn(5, 3)) if seed else None
    assert F.bait(hidden, logits, 4, labeled).tolist() == brute_bait(hidden, logits, 4, labeled)


def test_a_subspace_loses_little():
    """Batches chosen in 24 of 80 directions lower the whole trace about as far as those chosen in all."""
    torch.manual_seed(1)
    hidden = torch.randn(120, 20) * torch.logspace(0, -2, 20)
    logits = torch.randn(120, 4)
    each = information(hidden, logits)
    start = 0.1 * float(hidden.square().sum(1).mean()) * torch.eye(80, dtype=torch.float64)

    def trace(picks):
        return float(torch.linalg.solve(start + each[picks].sum(0), each.mean(0)).diagonal().sum())

    whole, part = (trace(F.bait(hidden, logits, 10, rank=rank)) for rank in (80, 24))
    drawn = [trace(torch.randperm(120)[:10]) for _ in range(20)]
    assert part < whole * 1.02 and part < min(drawn)


def test_twins_are_not_taken_together():
    torch.manual_seed(2)
    hidden, logits = torch.randn(30, 6), torch.randn(30, 3) * 0.3
    picks = F.bait(torch.cat((hidden, hidden)), torch.cat((logits, logits)), 8, penalty=0.01)
    assert len({int(pick) % 30 for pick in picks}) == 8


def test_independent_labels_and_many_classes():
    torch.manual_seed(3)
    hidden = torch.randn(40, 5)
    assert len(set(F.bait(hidden, torch.randn(40, 3), 6, multi_label=True).tolist())) == 6
    assert len(set(F.bait(hidden, torch.randn(40, 20), 6, (hidden[:3], torch.randn(3, 20))).tolist())) == 6
    assert F.bait(hidden, torch.randn(40, 2), 99).sort().values.tolist() == list(range(40))
