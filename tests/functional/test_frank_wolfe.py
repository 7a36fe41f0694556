import torch

from hfal import functional as F


def brute_frank_wolfe(vectors, steps):
    """Algorithm 1 of Pinsler et al. 2019, written out with weights and all inner products."""
    vectors = vectors.double()
    lengths = vectors.norm(dim=1)
    sigma, weights = lengths.sum(), torch.zeros(len(vectors), dtype=torch.float64)
    for _ in range(steps):
        residual = vectors.sum(0) - weights @ vectors
        best = int(((vectors @ residual) / lengths).argmax())
        vertex = torch.zeros_like(weights)
        vertex[best] = sigma / lengths[best]
        way = (vertex - weights) @ vectors
        gamma = float(way @ residual / (way @ way))
        weights = (1 - gamma) * weights + gamma * vertex
    return weights


def test_weights_are_those_of_the_algorithm_written_out():
    torch.manual_seed(0)
    vectors = torch.randn(40, 15)
    picks, weights = F.frank_wolfe(vectors, 40, most_steps=9)
    expected = brute_frank_wolfe(vectors, 9)
    found = torch.zeros(40)
    found[picks] = weights
    torch.testing.assert_close(found, expected.float(), atol=1e-4, rtol=1e-4)


def test_the_subset_comes_nearer_than_rows_drawn():
    torch.manual_seed(1)
    vectors = torch.randn(300, 10) + 0.5
    picks, weights = F.frank_wolfe(vectors, 20)
    whole = vectors.sum(0)
    ours = (weights @ vectors[picks] - whole).norm()
    drawn = torch.stack([(vectors[torch.randperm(300)[:20]].sum(0) * 15 - whole).norm() for _ in range(20)])
    assert ours < 0.2 * drawn.median()


def test_twins_share_one_place():
    torch.manual_seed(2)
    vectors = torch.randn(12, 6)
    picks, _ = F.frank_wolfe(torch.cat((vectors, vectors)), 5)
    assert len({int(pick) % 12 for pick in picks}) == 5


def test_likelihoods_are_expected_over_the_mean_prediction():
    torch.manual_seed(3)
    logits = torch.randn(7, 5, 3)
    log_p = torch.log_softmax(logits, -1)
    mean = log_p.exp().mean(0)
    expected = torch.stack([(mean * (log_p[k] - mean.log())).sum(-1) for k in range(7)], 1) / 7**0.5
    torch.testing.assert_close(F.expected_log_likelihoods(logits), expected)
    several = F.expected_log_likelihoods(torch.stack((logits, logits), 2))
    torch.testing.assert_close(several, 2 * expected)
