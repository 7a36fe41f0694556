import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage

from hfal import functional as F
from hfal.functional.clusters import shares


def brute_lcmd(points, size, centers):
    """Clusters by nearest centre, sizes as sums of squared distances, the farthest row of the largest."""
    picks = []
    for _ in range(size):
        everything = torch.cat((centers, points[picks]))
        distance, own = torch.cdist(points.double(), everything.double()).square().min(1)
        sizes = torch.zeros(len(everything), dtype=torch.float64).index_add_(0, own, distance)
        inside = (own == sizes.argmax()).nonzero().flatten()
        picks.append(int(inside[distance[inside].argmax()]))
    return picks


@pytest.mark.parametrize("seed", range(4))
def test_lcmd_equals_the_plain_one(seed):
    torch.manual_seed(seed)
    points, centers = torch.randn(40, 3), torch.randn(3, 3)
    space = F.EuclideanSpace(points)
    nearest, own = space.nearest(F.EuclideanSpace(centers))
    picks = F.lcmd(space.norms, space.distances_to, 8, nearest, own)
    assert picks.tolist() == brute_lcmd(points, 8, centers)


def test_lcmd_without_labels_starts_with_the_longest_and_leaves_twins():
    torch.manual_seed(0)
    points = torch.randn(20, 3)
    space = F.EuclideanSpace(torch.cat((points, points)))
    picks = F.lcmd(space.norms, space.distances_to, 10)
    assert int(picks[0]) % 20 == int(points.norm(dim=1).argmax())
    assert len({int(pick) % 20 for pick in picks}) == 10
    assert len(set(F.lcmd(space.norms, space.distances_to, 40).tolist())) == 40


@given(st.integers(0, 20), st.integers(2, 9))
def test_linked_clusters_are_those_of_scipy(seed, clusters):
    points = np.random.default_rng(seed).normal(size=(30, 4))
    # average linkage of single rows by centroid distance is scipy's average of pairwise distances
    ours = F.merge_clusters(torch.from_numpy(points), torch.ones(30), clusters)
    theirs = fcluster(linkage(points, "average"), clusters, "maxclust")
    same = ours[:, None] == ours[None]
    assert np.array_equal(same.numpy(), theirs[:, None] == theirs[None])


def test_many_rows_are_grouped_first(monkeypatch):
    monkeypatch.setattr("hfal.functional.clusters.ONE_BY_ONE", 20)
    generator = torch.Generator().manual_seed(0)
    points = torch.cat([torch.randn(40, 3, generator=generator) * 0.1 + 10 * place for place in range(4)])
    found = F.linked_clusters(points, 4)
    assert [len(set(found[start : start + 40].tolist())) for start in range(0, 160, 40)] == [1, 1, 1, 1]
    assert len(set(found.tolist())) == 4


def test_each_cluster_gives_one_in_turn_small_ones_first():
    clusters = torch.tensor([0, 0, 0, 0, 1, 1, 2])
    scores = torch.tensor([0.1, 0.9, 0.5, 0.2, 0.3, 0.8, 0.0])
    assert F.round_robin(scores, clusters, 7).tolist() == [6, 5, 1, 4, 2, 3, 0]
    assert F.round_robin(scores, clusters, 2).tolist() == [6, 5]


@given(
    st.integers(0, 60),
    st.lists(st.tuples(st.floats(0, 5), st.integers(0, 20)), min_size=1, max_size=6),
)
def test_shares_sum_to_the_batch_and_keep_to_what_is_there(size, wants):
    wanted = torch.tensor([want + 1e-6 for want, _ in wants], dtype=torch.float64)
    room = torch.tensor([there for _, there in wants])
    given_ = shares(size, wanted, room)
    assert int(given_.sum()) == min(size, int(room.sum()))
    assert bool((given_ <= room).all()) and bool((given_ >= 0).all())
    if bool((room >= size).all()):
        assert bool(((given_ - wanted / wanted.sum() * size).abs() <= 1).all())


def test_a_quota_asks_of_rare_classes_what_plain_uncertainty_does_not():
    """95 rows of a class that is unsure throughout, five of one that is less so: the five still get their share."""
    scores = torch.cat((torch.linspace(0.8, 0.9, 95), torch.full((5,), 0.6)))
    predicted = torch.cat((torch.zeros(95), torch.ones(5))).long()
    picks = F.class_quota(scores, predicted, 10, 2)
    share = 0.6 / (0.6 + 0.85)
    assert int((predicted[picks] == 1).sum()) == round(10 * share) == 4
    assert int((predicted[F.top_k(scores, 10)] == 1).sum()) == 0
    chosen = scores[picks][predicted[picks] == 0]
    assert chosen.min() >= scores[:95].topk(6).values.min()


def test_both_ends_are_balanced_over_classes():
    torch.manual_seed(0)
    scores = torch.rand(100)
    predicted = (torch.arange(100) >= 80).long()  # a fifth is predicted positive
    picks = F.both_ends(scores, predicted, 12, 2)
    unsure, sure = picks[:6], picks[6:]
    for part in (unsure, sure):
        assert torch.bincount(predicted[part], minlength=2).tolist() == [3, 3]
    assert scores[unsure].min() > scores[sure].max()
    assert len(F.both_ends(scores, predicted, 12, 2, confident=0.0)) == 12
