from itertools import combinations

import pytest
import torch

from hfal import functional as F


def blobs(sizes, seed=0, spread=0.05):
    """Tight groups far from each other."""
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randn(len(sizes), 5, generator=generator) * 5
    parts = [c + spread * torch.randn(n, 5, generator=generator) for c, n in zip(centers, sizes, strict=True)]
    return torch.cat(parts)


@pytest.mark.parametrize("with_labels", [False, True])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("held", [10**8, 50])
def test_picks_cover_most_with_the_whole_graph_too(seed, with_labels, held, monkeypatch):
    monkeypatch.setattr("hfal.functional.covering.EDGES", held)
    torch.manual_seed(seed)
    points = torch.randn(60, 3)
    labeled = torch.randn(4, 3) if with_labels else None
    graph = torch.cdist(points.double(), points.double()) <= 0.9
    covered = torch.zeros(60, dtype=torch.bool)
    if labeled is not None:
        covered = (torch.cdist(labeled.double(), points.double()) <= 0.9).any(0)
    for pick in F.prob_cover(points, 8, 0.9, labeled).tolist():
        degree = (graph & ~covered).sum(1)
        if not degree.max():
            break
        assert degree[pick] == degree.max()
        covered |= graph[pick]


def test_once_all_is_covered_the_farthest_are_taken():
    points = blobs([10, 10])
    picks = F.prob_cover(points, 5, 1.0)
    assert {int(pick) // 10 for pick in picks[:2]} == {0, 1} and len(set(picks.tolist())) == 5


def test_the_radius_is_the_quantile_that_the_paper_searches_for():
    """The share of pure balls, counted for a grid of radii, first falls below the purity there."""
    points = blobs([30, 30, 30], spread=1.2)
    radius = F.ball_radius(points, 3, 0.9)
    kind = F.kmeans(points, 3, torch.Generator().manual_seed(0))[1]
    distances = torch.cdist(points, points)

    def purity(delta):
        return float(((distances > delta) | (kind[:, None] == kind)).all(1).float().mean())

    assert purity(radius * 0.999) >= 0.9 > purity(radius * 1.001) or purity(radius * 1.001) == pytest.approx(
        0.9, abs=0.02
    )
    with pytest.raises(ValueError, match="purity"):
        F.ball_radius(points, 3, 1.0)


@pytest.mark.parametrize("seed", range(4))
def test_the_robust_radius_is_at_most_three_times_the_smallest(seed):
    torch.manual_seed(seed)
    points = torch.randn(14, 2)
    picks, radius = F.kcenter_outliers(points, 3, outliers=0.15)
    distances = torch.cdist(points, points)
    best = min(float(distances[list(c)].amin(0).sort().values[-3]) for c in combinations(range(14), 3))
    assert len(set(picks.tolist())) == 3 and radius <= 3 * best + 1e-5
    reached = float(distances[picks].amin(0).sort().values[-3])
    assert radius == pytest.approx(reached, abs=1e-4)


def test_outliers_are_left_out_where_coreset_takes_them():
    points = torch.cat((blobs([40, 40, 40]), torch.full((1, 5), 500.0)))
    assert 120 in F.kcenter_greedy(points, 4).tolist()
    picks, radius = F.kcenter_outliers(points, 3, outliers=0.02)
    assert {int(pick) // 40 for pick in picks} == {0, 1, 2} and radius < 1
    more, _ = F.kcenter_outliers(points, 8, outliers=0.02)
    assert 120 not in more.tolist()


def test_rows_that_are_covered_already_are_not_picked_again():
    points = blobs([20, 20, 20])
    picks, _ = F.kcenter_outliers(points, 1, points[:45], outliers=0.0)  # the third group is covered by its first five
    assert len(picks) == 1
    picks, _ = F.kcenter_outliers(points, 1, points[:40], outliers=0.0)
    assert int(picks) >= 40


def test_of_many_rows_a_sample_is_covered(monkeypatch):
    monkeypatch.setattr("hfal.functional.covering.SAMPLE", 50)
    points = blobs([100, 100])
    picks, radius = F.kcenter_outliers(points, 2, outliers=0.01)
    assert {int(pick) // 100 for pick in picks} == {0, 1} and radius < 1
