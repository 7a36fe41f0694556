import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hfal import functional as F
from hfal.inference import as_signals, reducer
from hfal.signals import Needs
from hfal.strategies import Context, Scored, entries, parse, register, resolve
from hfal.strategies.base import _REGISTRY, Strategy

ALL = [e.name for e in entries() if e.name != "exploration"] + [
    "margin>kmeans(prefilter=3)",
    "random>badge(prefilter=2)",
    "coreset>kmeans",
    "exploration(then=margin)",
]


def context_for(strategy, size=40, labelled=5, seed=0, multi_label=False, round=1, order=None):
    """What the loop would hand over, from random outputs of a made-up model."""
    torch.manual_seed(seed)
    outputs = {
        "logits": torch.randn(size, 3),
        "embeddings": torch.randn(size, 4),
        "features": torch.randn(size, 4),
        "mc_logits": torch.randn(size, strategy.needs.mc_samples or 1, 3),
    }
    known = {name: torch.randn(labelled, *value.shape[1:]) for name, value in outputs.items()}
    if order is not None:
        outputs = {name: value[order] for name, value in outputs.items()}
    pool = as_signals(reducer(strategy.needs, multi_label)(outputs), multi_label)
    rows = np.arange(100, 100 + size) if order is None else 100 + order.numpy()
    labeled = as_signals(reducer(strategy.needs.for_labeled(), multi_label)(known), multi_label)
    return Context(
        pool=pool.__class__(**{**pool.__dict__, "rows": rows}),
        labeled=labeled,
        labels=[0] * labelled,
        num_classes=3,
        round=round,
        generator=torch.Generator().manual_seed(seed),
    )


@pytest.mark.parametrize("spec", ALL)
@given(
    size=st.integers(1, 50),
    wanted=st.integers(1, 60),
    seed=st.integers(0, 3),
    labelled=st.sampled_from([0, 5]),
)
@settings(max_examples=15, deadline=None)
def test_every_strategy_gives_the_size_asked_or_all_without_repeats(spec, size, wanted, seed, labelled):
    strategy = resolve(parse(spec), 1)
    context = context_for(strategy, size, labelled, seed)
    chosen = strategy.select(context, wanted)
    assert len(chosen) == min(size, wanted) == len(chosen.scores)
    assert len(set(chosen.rows.tolist())) == len(chosen)
    assert set(chosen.rows.tolist()) <= set(context.pool.rows.tolist())
    assert np.isfinite(chosen.scores).all()
    again = strategy.select(context_for(strategy, size, labelled, seed), wanted)
    assert chosen.rows.tolist() == again.rows.tolist()


@pytest.mark.parametrize("spec", ALL)
def test_every_strategy_serves_independent_labels(spec):
    strategy = resolve(parse(spec), 1)
    assert len(strategy.select(context_for(strategy, multi_label=True), 6)) == 6


@pytest.mark.parametrize("spec", ["margin", "entropy", "least_confidence", "bald", "mean_std", "coreset"])
def test_a_permutation_of_rows_permutes_the_picks(spec):
    strategy = parse(spec)
    straight = strategy.select(context_for(strategy), 6)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(9))
    assert strategy.select(context_for(strategy, order=order), 6).rows.tolist() == straight.rows.tolist()


@pytest.mark.parametrize(
    ("spec", "score"),
    [("margin", F.margin), ("entropy", F.entropy), ("least_confidence", F.least_confidence)],
)
def test_scores_are_reduced_inside_the_pass(spec, score):
    strategy = parse(spec)
    assert strategy.needs.pool == frozenset()  # [N] numbers, never [N, C]
    context = context_for(strategy)
    torch.manual_seed(0)
    logits = torch.randn(40, 3)
    best = score(logits).argsort(descending=True)[:5]
    chosen = strategy.select(context, 5)
    assert chosen.rows.tolist() == (100 + best).tolist()
    np.testing.assert_allclose(chosen.scores, score(logits)[best].numpy(), rtol=1e-6)


def test_multi_label_margin_is_the_mean_over_the_labels():
    strategy = parse("margin")
    chosen = strategy.select(context_for(strategy, multi_label=True), 40)
    torch.manual_seed(0)
    yes = torch.sigmoid(torch.randn(40, 3))
    expected = (1 - (2 * yes - 1).abs()).mean(1)
    np.testing.assert_allclose(chosen.scores, np.sort(expected.numpy())[::-1], rtol=1e-5)


def test_a_chain_picks_among_the_best_of_its_first_part():
    margin, chain = parse("margin"), parse("margin>kmeans(prefilter=2)")
    reach = set(margin.select(context_for(margin), 10).rows.tolist())
    chosen = chain.select(context_for(chain), 5)
    assert set(chosen.rows.tolist()) <= reach
    scores = dict(zip(*(margin.select(context_for(margin), 40).__dict__[k] for k in ("rows", "scores")), strict=True))
    np.testing.assert_allclose(chosen.scores, [scores[row] for row in chosen.rows])


def test_one_pass_serves_a_chain():
    needs = parse("bald(mc_samples=7)>badge").needs
    assert needs.every_field == {"mc_logits", "logits", "features"}
    assert needs.mc_samples == 7
    with pytest.raises(ValueError, match="unknown signal"):
        Needs(pool=frozenset({"logit"}))


def test_exploration_changes_after_its_rounds():
    strategy = parse("exploration(first=random, then=margin, rounds=2)")
    assert [type(resolve(strategy, number)).__name__ for number in (1, 2, 3)] == [
        "Random",
        "Random",
        "Margin",
    ]
    assert not resolve(strategy, 1).needs.any_pool


def test_every_strategy_names_its_paper_and_what_it_does():
    for item in entries():
        assert item.paper and item.summary.endswith("."), item.name


def test_a_name_can_be_registered_once():
    @register("mine_for_the_test", paper="-")
    class Mine(Scored):
        """Counts."""

        def score(self, batch):
            return batch.get("logits")[:, 0]

    try:
        assert isinstance(parse("mine_for_the_test"), Strategy)
        with pytest.raises(ValueError, match="registered already"):
            register("mine_for_the_test")(type("Other", (), {}))
        with pytest.raises(ValueError, match="lower-case"):
            register("Not-a-name")
    finally:
        _REGISTRY.pop("mine_for_the_test")
