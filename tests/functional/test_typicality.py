import sys

import torch

from hfal import functional as F


def test_typicality_is_the_inverse_mean_distance_to_the_nearest():
    torch.manual_seed(4)
    x = torch.randn(30, 3)
    distance = torch.cdist(x, x).fill_diagonal_(float("inf")).sort(1).values[:, :5]
    torch.testing.assert_close(F.typicality(x, 5), 1 / distance.mean(1), atol=1e-3, rtol=1e-3)
    assert F.typicality(torch.zeros(1, 2)).tolist() == [1.0]
    assert torch.isfinite(F.typicality(torch.zeros(5, 2))).all()


def test_typiclust_covers_the_clusters_without_a_label_first():
    torch.manual_seed(5)
    centers = torch.tensor([[0.0, 0.0], [30.0, 0.0], [0.0, 30.0], [30.0, 30.0]])
    sizes = [60, 50, 40, 30]
    x = torch.cat([c + torch.randn(n, 2) for c, n in zip(centers, sizes, strict=True)])
    owner = torch.repeat_interleave(torch.arange(4), torch.tensor(sizes))
    assert set(owner[F.typiclust(x, 4)].tolist()) == {0, 1, 2, 3}
    picks = F.typiclust(x, 3, centers[:1])  # cluster 0 has a label
    assert set(owner[picks].tolist()) == {1, 2, 3}
    outlier = torch.cat((x, torch.tensor([[500.0, 500.0]])))
    assert len(x) not in F.typiclust(outlier, 4).tolist()


def test_typical_rows_of_a_large_cluster_come_from_a_sample(monkeypatch, generator):
    monkeypatch.setattr(sys.modules["hfal.functional.typicality"], "LARGEST_CLUSTER", 30)
    dense = torch.randn(300, 2, generator=generator) * 0.1
    sparse = torch.randn(100, 2, generator=generator) * 10
    picks = F.typiclust(torch.cat((dense, sparse)), 1, None, generator)
    assert picks.tolist()[0] < 300
    many = F.typiclust(torch.cat((dense, sparse)), 50, None, generator, max_clusters=1)
    assert len(set(many.tolist())) == 50
