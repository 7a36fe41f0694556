import math

import pytest
import torch

from hfal import functional as F


@pytest.mark.parametrize("kernel", [F.rbf(1.5), F.cosine])
@pytest.mark.parametrize("seed", range(3))
def test_picks_are_those_of_the_greedy_with_the_whole_kernel(kernel, seed):
    torch.manual_seed(seed)
    points, care, labeled = torch.randn(50, 4), torch.rand(50), torch.randn(3, 4)
    picks, gains = F.coverage_greedy(points, 6, kernel, care, labeled)
    similarity = kernel(points, points).double()
    covered = kernel(labeled, points).amax(0).double()
    for pick, gain in zip(picks.tolist(), gains.tolist(), strict=True):
        every = ((similarity - covered).clamp_min(0) * care).mean(1)
        assert float(every[pick]) >= float(every.max()) - 1e-6
        assert gain == pytest.approx(float(every[pick]), abs=1e-5)
        covered = torch.maximum(covered, similarity[pick])


def test_kernels():
    points = torch.tensor([[0.0, 0.0], [3.0, 4.0], [-3.0, -4.0]])
    assert F.rbf(5.0)(points, points)[0, 1] == pytest.approx(math.exp(-1))
    assert F.cosine(points, points)[1].tolist() == pytest.approx([0, 1, 0])
    assert F.rbf(0.0)(points, points).tolist() == torch.eye(3).tolist()


def test_twins_are_not_taken_together_and_a_lone_row_covers_little():
    torch.manual_seed(0)
    points = torch.cat((torch.randn(30, 8) * 0.1, torch.randn(30, 8) * 0.1 + 4, torch.full((1, 8), 90.0)))
    picks, _ = F.coverage_greedy(torch.cat((points, points[:60])), 3, F.rbf(2.0))
    assert {int(pick) % 61 // 30 for pick in picks[:2]} == {0, 1}
    assert 60 not in picks[:2].tolist()


def test_only_candidates_are_picked():
    torch.manual_seed(0)
    points = torch.randn(40, 3)
    picks, _ = F.coverage_greedy(points, 9, F.cosine, candidates=torch.arange(5, 12))
    assert sorted(picks.tolist()) == list(range(5, 12))


def test_of_many_rows_the_coverage_of_a_sample_counts(monkeypatch):
    torch.manual_seed(0)
    points = torch.cat((torch.randn(300, 4) * 0.1, torch.randn(100, 4) * 0.1 + 5))
    monkeypatch.setattr("hfal.functional.coverage.TARGETS", 60)
    picks, _ = F.coverage_greedy(points, 2, F.rbf(1.0))
    assert [int(pick) >= 300 for pick in picks] == [False, True]


def test_radius_and_temperature_follow_the_labels():
    line = torch.arange(10.0)[:, None]
    assert F.labelled_radius(line) == 1.0 and F.labelled_radius(line * 3) == 3.0
    assert F.labelled_radius(line[:1]) is None and F.labelled_radius(torch.zeros(5, 2)) is None
    torch.manual_seed(0)
    logits = torch.randn(500, 3) * 8
    for accuracy in (0.5, 0.7, 0.9):
        temperature = F.matching_temperature(logits, accuracy)
        sure = torch.softmax(logits / temperature, -1).amax(-1).mean()
        assert float(sure) == pytest.approx(accuracy, abs=1e-3)
