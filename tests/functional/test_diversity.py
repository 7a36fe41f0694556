import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from hfal import functional as F
from hfal.functional import checks
from hfal.functional.diversity import d2_sampling

PICKERS = {
    "kcenter_greedy": lambda x, k, g: F.kcenter_greedy(x, k, None, g),
    "kmeans_pick": F.kmeans_pick,
    "kmeans_pp": F.kmeans_pp,
    "typiclust": lambda x, k, g: F.typiclust(x, k, None, g),
    "badge": lambda x, k, g: F.badge(x, x.new_zeros(len(x), 3) + x[:, :1], k, g),
}
grid = arrays("float32", array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(-3, 3).map(float))


def brute_kcenter(x, size, centers):
    """The plain greedy: one pick after the other, the whole matrix each time."""
    covered = list(centers)
    picks = []
    for _ in range(size):
        distance = torch.stack([((x - c) ** 2).sum(1) for c in covered]).amin(0)
        distance[picks] = -1
        picks.append(int(distance.argmax()))
        covered.append(x[picks[-1]])
    return picks


@pytest.mark.parametrize("name", PICKERS)
@given(x=grid, size=st.integers(0, 15), seed=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_pickers_give_the_size_asked_or_all_without_repeats(name, x, size, seed):
    """Whatever the rows: duplicates, a single one, all zero."""
    picks = PICKERS[name](torch.from_numpy(x), size, torch.Generator().manual_seed(seed)).tolist()
    assert len(picks) == len(set(picks)) == min(size, len(x))
    assert all(0 <= pick < len(x) for pick in picks)
    again = PICKERS[name](torch.from_numpy(x), size, torch.Generator().manual_seed(seed)).tolist()
    assert picks == again


@pytest.mark.parametrize("name", PICKERS)
def test_pickers_refuse_bad_matrices_and_take_strided_and_half_precision_ones(name):
    pick = PICKERS[name]
    x = torch.randn(40, 6)
    x[7, 2] = float("nan")
    with pytest.raises(ValueError, match="row 7"):
        pick(x, 3, None)
    x[7, 2] = float("inf")
    with pytest.raises(ValueError, match="row 7"):
        pick(x, 3, None)
    for wrong in (torch.randn(5), torch.randn(5, 2, 2), torch.ones(5, 2, dtype=torch.int64)):
        with pytest.raises(ValueError, match="embeddings"):
            F.kcenter_greedy(wrong, 2)
    x[7, 2] = 0
    wide = torch.zeros(40, 12)
    wide[:, ::2] = x
    assert pick(wide[:, ::2], 4, None).tolist() == pick(x, 4, None).tolist()
    assert len(pick(x.half(), 4, None)) == 4


@given(
    x=arrays("float32", (25, 3), elements=st.floats(-5, 5, width=32), unique=True),
    centers=st.integers(1, 4),
    size=st.integers(1, 20),
)
@settings(max_examples=50, deadline=None)
def test_kcenter_equals_the_plain_greedy(x, centers, size):
    x = torch.from_numpy(x)
    pool, known = x[centers:], x[:centers]
    picks = F.kcenter_greedy(pool, size, known).tolist()
    expected = brute_kcenter(pool, min(size, len(pool)), known)

    def radii(chosen):  # ties may be broken otherwise: compare what was gained at each pick
        covered, result = list(known), []
        for pick in chosen:
            result.append(float(torch.stack([((pool[pick] - c) ** 2).sum() for c in covered]).min()))
            covered.append(pool[pick])
        return result

    np.testing.assert_allclose(radii(picks), radii(expected), rtol=1e-3, atol=1e-3)


def test_kcenter_with_a_buffer_smaller_than_the_pool_equals_the_plain_greedy():
    torch.manual_seed(0)
    pool, known = torch.randn(5000, 8), torch.randn(30, 8)
    assert F.kcenter_greedy(pool, 60, known).tolist() == brute_kcenter(pool, 60, known)


def test_kcenter_with_duplicates_beyond_the_buffer_breaks_ties_by_the_generator():
    pool = torch.zeros(3000, 2)
    pool[1500:] = 1.0
    first = {F.kcenter_greedy(pool, 2, torch.zeros(1, 2), torch.Generator().manual_seed(s))[0].item() for s in range(8)}
    assert len(first) > 4
    assert min(first) >= 1500


def test_kcenter_permutation_of_rows_permutes_picks():
    torch.manual_seed(1)
    pool, known, order = torch.randn(200, 5), torch.randn(3, 5), torch.randperm(200)
    assert order[F.kcenter_greedy(pool[order], 15, known)].tolist() == F.kcenter_greedy(pool, 15, known).tolist()


def test_kcenter_picks_one_row_of_each_far_cluster_and_no_labelled_twin():
    corners = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    pool = (corners[:, None] + torch.rand(4, 20, 2)).flatten(0, 1)
    picks = F.kcenter_greedy(pool, 3, corners[:1])
    assert sorted((picks // 20).tolist()) == [1, 2, 3]


def test_kmeans_pp_draws_by_squared_distance():
    # from 0, the points at 1 and 3 are drawn in the ratio 1 : 9
    x = torch.tensor([[0.0], [1.0], [3.0]])
    second = [F.kmeans_pp(x, 2, torch.Generator().manual_seed(seed)).tolist() for seed in range(3000)]
    after_zero = [picks[1] for picks in second if picks[0] == 0]
    assert 0.85 < np.mean([pick == 2 for pick in after_zero]) < 0.95
    assert abs(len(after_zero) / 3000 - 1 / 3) < 0.05


def test_kmeans_finds_separated_clusters_and_settles():
    centers = torch.tensor([[0.0, 0.0], [20.0, 0.0], [0.0, 20.0]])
    x = (centers[:, None] + torch.randn(3, 30, 2)).flatten(0, 1)
    centroids, assigned = F.kmeans(x, 3)
    assert len({tuple(assigned[i * 30 : (i + 1) * 30].tolist()) for i in range(3)}) == 3
    for cluster in range(3):
        torch.testing.assert_close(centroids[cluster], x[assigned == cluster].mean(0), atol=1e-4, rtol=1e-4)


def test_kmeans_on_a_sample_assigns_every_row_to_its_nearest_centroid():
    torch.manual_seed(2)
    x = torch.randn(256 * 2 + 500, 3)
    centroids, assigned = F.kmeans(x, 2)
    torch.testing.assert_close(assigned, torch.cdist(x, centroids).argmin(1))


def test_kmeans_pick_takes_the_row_nearest_to_each_centroid():
    torch.manual_seed(3)
    x = torch.randn(60, 4)
    generator = torch.Generator().manual_seed(5)
    centroids, assigned = F.kmeans(x, 6, torch.Generator().manual_seed(5))
    picks = F.kmeans_pick(x, 6, generator)
    for cluster in range(6):
        members = (assigned == cluster).nonzero().flatten()
        best = members[((x[members] - centroids[cluster]) ** 2).sum(1).argmin()]
        assert best in picks


def test_large_matrices_are_read_in_chunks_with_the_same_result(monkeypatch):
    torch.manual_seed(6)
    x, known = torch.randn(400, 5), torch.randn(7, 5)
    whole = (F.kcenter_greedy(x, 9, known).tolist(), F.kmeans_pp(x.half(), 5).tolist())
    monkeypatch.setattr(checks, "CHUNK", 64)
    monkeypatch.setattr("hfal.functional.diversity.CHUNK", 64)
    assert (F.kcenter_greedy(x, 9, known).tolist(), F.kmeans_pp(x.half(), 5).tolist()) == whole


@given(
    x=arrays("float32", (18, 2), elements=st.floats(-5, 5, width=32), unique=True),
    weights=arrays("float32", 14, elements=st.floats(0.125, 8, width=32)),
    size=st.integers(1, 14),
)
@settings(max_examples=40)
def test_weighted_kcenter_takes_the_farthest_per_cost(x, weights, size):
    pool, known, weights = torch.from_numpy(x[4:]), torch.from_numpy(x[:4]), torch.from_numpy(weights)
    picks = F.kcenter_greedy(pool, size, known, weights=weights).tolist()
    covered = list(known)
    for pick in picks:
        gains = weights * torch.stack([((pool - c) ** 2).sum(1) for c in covered]).amin(0)
        assert float(gains[pick]) == pytest.approx(float(gains.max()), rel=1e-3, abs=1e-4)
        covered.append(pool[pick])


def test_weights_pull_centroids_and_draws(generator):
    x = torch.randn(60, 3, generator=generator)
    weights = torch.rand(60, generator=generator) + 0.1
    (centroid,), _ = F.kmeans(x, 1, generator, weights=weights)
    torch.testing.assert_close(centroid, (x * weights[:, None]).sum(0) / weights.sum(), atol=1e-5, rtol=1e-4)
    heavy = torch.full((60,), 1e-6)
    heavy[:6] = 1.0
    drawn = F.kmeans_pp(x, 6, generator, heavy)
    assert sorted(drawn.tolist()) == list(range(6))
    for bad in (torch.ones(3), torch.zeros(60), torch.full((60,), float("inf"))):
        with pytest.raises(ValueError, match="weights must be"):
            F.kmeans(x, 2, generator, weights=bad)


def test_rows_drawn_together_are_drawn_as_one_by_one():
    """The share of each pair of picks is that of k-means++ drawn step by step."""
    points = torch.tensor([[0.0], [1.0], [3.0], [3.5]])
    squared = (points - points.T).square()
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(4, 4)
    for _ in range(6000):
        _, second, third = d2_sampling(0, lambda rows: squared[rows], 3, generator).tolist()
        counts[second, third] += 1
    for second in (1, 2, 3):
        left = torch.minimum(squared[0], squared[second])
        expected = float(squared[0, second] / squared[0].sum()) * left / left.sum()
        torch.testing.assert_close(counts[second] / 6000, expected, atol=0.025, rtol=0)
