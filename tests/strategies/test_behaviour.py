"""What each strategy must do that chance does not: cases made so that there is one right side."""

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

from hfal import functional as F
from hfal.inference import as_signals, reducer
from hfal.strategies import Context, parse
from hfal.strategies.heads import cross_fitted, fit_head
from hfal.tasks import TextClassification

TASK = TextClassification(label_names=["a", "b", "c"])


def selected(spec, pool, labeled=None, labels=(), size=10, seed=0):
    """Indices that a strategy picks of rows with these outputs."""
    strategy = parse(spec)
    needs = strategy.needs
    signals = as_signals(reducer(needs, TASK)(pool), TASK)
    known = signals.take(torch.arange(0))
    if labeled:
        known = as_signals(reducer(needs.for_labeled(), TASK)(labeled), TASK)
    context = Context(
        pool=signals,
        labeled=known,
        labels=list(labels),
        num_classes=3,
        round=1,
        generator=torch.Generator().manual_seed(seed),
    )
    return strategy.select(context, size).rows


def blob(rows, center, spread=0.3, dims=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return center * torch.ones(rows, dims) + spread * torch.randn(rows, dims, generator=generator)


@pytest.mark.parametrize("spec", ["discriminative", "vaal", "tavaal", "waal(balance=3)"])
def test_rows_unlike_the_labelled_ones_are_found(spec):
    """Half of the pool lies where all labels are, half elsewhere."""
    pool = torch.cat((blob(100, 0.0), blob(100, 3.0, seed=1)))
    labeled = blob(40, 0.0, seed=2)
    outputs = {"embeddings": pool, "features": pool, "logits": torch.zeros(200, 3)}
    known = {"embeddings": labeled, "features": labeled}
    labels = (labeled[:, 0] > 0).long() + (labeled[:, 1] > 0).long()
    picks = selected(spec, outputs, known, labels.tolist(), size=20)
    assert (picks >= 100).mean() >= 0.9


def test_sub_batches_keep_from_asking_one_corner_only():
    """Two places without labels: in parts, the picks of the first count as labels for the next."""
    pool = torch.cat((blob(60, 2.0, 0.1), blob(60, -4.0, 0.1, seed=1), blob(100, 0.0, seed=2)))
    outputs, known = {"embeddings": pool}, {"embeddings": blob(40, 0.0, seed=3)}
    parts = selected("discriminative(sub_batches=10)", outputs, known, [0] * 40, size=20)
    places = [(parts < 60).sum(), ((parts >= 60) & (parts < 120)).sum()]
    assert min(places) >= 3


def test_learning_loss_finds_where_labels_are_noise():
    """Left of 0 the label follows the second coordinate; right of it, it is drawn."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(300, 4, generator=generator)
    labels = (rows[:, 1] > 0).long()
    noisy = rows[:, 0] > 0.3
    labels[noisy] = torch.randint(2, (int(noisy.sum()),), generator=generator)
    pool = torch.randn(400, 4, generator=generator)
    states = {"hidden_states": torch.stack((pool, pool), 1)}
    known = {"hidden_states": torch.stack((rows, rows), 1), "features": rows}
    picks = selected("learning_loss", states, known, labels.tolist(), size=60)
    assert float((pool[picks, 0] > 0.3).float().mean()) > float((pool[:, 0] > 0.3).float().mean()) + 0.3


def test_a_view_that_knows_nothing_counts_little():
    """The first layer is noise, the second tells the classes: rows at its boundary are asked."""
    generator = torch.Generator().manual_seed(0)
    rows, pool = torch.randn(60, 5, generator=generator), torch.randn(300, 5, generator=generator)
    labels = (rows[:, 0] > 0).long()

    def states(useful):
        return {"hidden_states": torch.stack((torch.randn(useful.shape, generator=generator), useful), 1)}

    picks = selected("multi_view", states(pool), states(rows), labels.tolist(), size=30)
    assert float(pool[picks, 0].abs().mean()) < 0.5 * float(pool[:, 0].abs().mean())


def unsure_at(rows, degree):
    """Logits of two classes with this margin (0: undecided), and a third that is never likely."""
    return torch.stack((degree, torch.zeros(rows), torch.full((rows,), -9.0)), 1)


def test_near_copies_at_the_boundary_are_not_asked_together():
    """50 copies are least sure of all; margin asks nothing else, the batch methods ask one or two of them."""
    copies, others = blob(50, 5.0, 0.001), blob(150, 0.0, 1.0, seed=1)
    embeddings = torch.nn.functional.normalize(torch.cat((copies, others)), dim=1)
    degree = torch.cat((torch.full((50,), 0.01), torch.linspace(0.05, 3, 150)))
    pool = {"embeddings": embeddings, "features": embeddings, "logits": unsure_at(200, degree)}
    pool["mc_logits"] = (
        pool["logits"][:, None]
        + torch.randn(200, 20, 3, generator=torch.Generator().manual_seed(3))
        * torch.cat((torch.zeros(50), torch.ones(150)))[:, None, None]
    )
    labeled = torch.nn.functional.normalize(blob(12, 0.0, 1.0, seed=2), dim=1)
    known = {"embeddings": labeled, "features": labeled, "logits": unsure_at(12, torch.ones(12))}
    labels = [row % 2 for row in range(12)]

    def share(spec):
        return (selected(spec, pool, known, labels, size=12) < 50).mean()

    assert share("margin") == 1
    for spec in (
        "weighted_kmeans",
        "cluster_margin(clusters=60)",
        "set_cover(beta=12)",
        "dictionary",
        "uncertainty_herding",
        "badge",
        "bait",
        "lcmd",
    ):
        assert share(spec) <= (0.5 if spec == "dictionary" else 0.35), spec


def test_dense_places_come_before_an_outlier_that_is_less_sure():
    dense = blob(99, 1.0, 0.2)
    embeddings = torch.cat((dense, -3 * torch.ones(1, 8)))
    degree = torch.cat((torch.linspace(0.2, 2, 99), torch.zeros(1)))
    pool = {"embeddings": embeddings, "logits": unsure_at(100, degree)}
    assert 99 in selected("margin", pool, size=5)
    assert 99 not in selected("information_density", pool, size=5)
    assert selected("set_cover(beta=20)", pool, size=5)[0] != 99


def test_drawn_batches_prefer_high_scores_and_differ():
    torch.manual_seed(0)
    samples = torch.randn(300, 20, 3) * torch.linspace(0.1, 3, 300)[:, None, None]  # [N, K, C]
    scores = F.bald(samples.transpose(0, 1))
    for spec in ("power_bald", "softmax_bald(beta=20)"):
        drawn = [selected(spec, {"mc_logits": samples}, size=20, seed=seed) for seed in range(8)]
        means = [float(scores[rows].mean()) for rows in drawn]
        assert float(scores.mean()) * 1.2 < np.mean(means) < float(scores.topk(20).values.mean())
        assert len({tuple(rows) for rows in drawn}) == 8


def test_votes_and_divergences_see_what_one_prediction_does_not():
    """Members that contradict each other average to the same prediction as members that are all undecided."""
    sure = torch.tensor([5.0, -5.0, -9.0]), torch.tensor([-5.0, 5.0, -9.0])
    torn = torch.stack([sure[k % 2] for k in range(20)])
    undecided = torch.stack([torch.tensor([0.01 * (-1) ** k, 0.0, -9.0]) for k in range(20)])
    samples = torch.stack((*[undecided] * 30, *[torn] * 10))
    for spec in ("consensus_kl", "bald", "mean_std"):
        assert set(selected(spec, {"mc_logits": samples}, size=10)) == set(range(30, 40)), spec
    one_sided = torch.stack([torch.tensor([1.0 + 0.1 * k, 0.0, -9.0]) for k in range(20)])
    votes = torch.stack((*[one_sided] * 30, *[torn] * 10))
    for spec in ("vote_entropy", "variation_ratio"):
        assert set(selected(spec, {"mc_logits": votes}, size=10)) == set(range(30, 40)), spec


def test_alps_asks_one_text_of_each_kind_of_surprise():
    kinds = one_hot(torch.arange(5), 20).float().repeat_interleave(12, 0)
    noise = 0.05 * torch.rand(60, 20, generator=torch.Generator().manual_seed(0))
    length = torch.linspace(0.5, 3, 60)[:, None]  # how surprising a text is does not matter, but by what
    picks = selected("alps", {"surprisal": (kinds + noise) * length}, size=5)
    assert {row // 12 for row in picks} == set(range(5))


def test_exploration_decays_from_chance_to_its_strategy():
    degree = torch.cat((torch.zeros(20), torch.full((180,), 4.0)))
    shares = []
    for number in range(1, 6):
        strategy = parse("exploration(then=margin, rounds=4, schedule=decay)").at(number)
        signals = as_signals(reducer(strategy.needs, TASK)({"logits": unsure_at(200, degree)}), TASK)
        context = Context(signals, signals.take(torch.arange(0)), [], 3, number, torch.Generator().manual_seed(number))
        rows = strategy.select(context, 20).rows
        assert len(set(rows.tolist())) == 20
        shares.append((rows < 20).mean())
    assert shares[0] < 0.5 and shares[-1] == 1 and sorted(shares) == shares


@pytest.mark.parametrize("several", [False, True])
def test_heads_are_fitted_and_told_what_they_have_not_seen(several):
    torch.manual_seed(0)
    rows = torch.randn(90, 5) + 3
    classes = (rows[:, 0] > 3).long() + (rows[:, 0] > 4).long()
    targets = one_hot(classes, 3).float() if several else classes
    weight, bias = fit_head(rows, targets, 3)
    fitted = (rows @ weight.T + bias).argmax(1)
    assert float((fitted == classes).float().mean()) > 0.85
    logits = cross_fitted(rows, torch.randint(3, (90,)), 3, torch.Generator().manual_seed(0))
    noise = cross_fitted(rows, targets, 3, torch.Generator().manual_seed(0))
    assert logits.shape == noise.shape == (90, 3)
    assert float((noise.argmax(1) == classes).float().mean()) > 0.75
