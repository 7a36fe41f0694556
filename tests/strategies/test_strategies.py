import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hfal import functional as F
from hfal.errors import HfalError
from hfal.functional import Ragged
from hfal.functional.ragged import offsets_of
from hfal.inference import as_signals, reducer
from hfal.neighbours import Neighbours
from hfal.signals import Needs, _take
from hfal.strategies import Context, Scored, all_needs, entries, parse, register, resolve
from hfal.strategies.base import _REGISTRY, Strategy
from hfal.tasks import TextClassification, TokenClassification

WRAPPERS = ("exploration", "seals", "anchoral", "passing_by", "auto")
TRAINED = {"vaal", "tavaal", "waal", "discriminative", "learning_loss"}
"""Those that train a net of their own: a few steps show what these tests look for."""
MADE = [f"{e.name}(steps=20)" if e.name in TRAINED else e.name for e in entries() if e.name not in WRAPPERS]
OF_WORDS = [name for name in MADE if "word" in parse(name).needs.units]
OF_ROWS = [name for name in MADE if name not in OF_WORDS] + [
    "exploration(first=coreset, then=margin, rounds=4, schedule=decay)",
    "seals(then=badge, neighbours=3)",
    "passing_by(then=badge)",
    "anchoral(then=margin, anchors=2, neighbours=4, subpool=9)",
    "margin>deepfool(prefilter=2)",
    "lcmd(space=embeddings)",
    "lcmd(sketch=8)",
    "deepfool(space=features)",
    "margin>kmeans(prefilter=3)",
    "random>badge(prefilter=2)",
    "coreset>kmeans",
    "exploration(then=margin)",
]
ALL = [*OF_ROWS, *OF_WORDS, "mnlp>kmeans(prefilter=3)", "token_bald(form=disagreement, reduce=top3)>coreset"]
TAGS = TokenClassification(label_names=["O", "B-x", "I-x"], scheme="BIO")


def of_texts(size, samples):
    """What a made-up model writes."""
    tokens = [at % 4 for at in range(size)]
    offsets = offsets_of(torch.tensor(tokens, dtype=torch.int64))
    return {
        "mc_latent": torch.randn(size, samples, 4),
        "texts": [f"a {at % 3} Text {at % 7}" for at in range(size)],
        "sources": [f"a text {at % 5}" for at in range(size)],
        "samples": [[f"w{(at * k) % 4} x" for k in range(3)] for at in range(size)],
        "token_log_probs": Ragged(-torch.rand(sum(tokens)), offsets),
        "token_entropies": Ragged(torch.rand(sum(tokens)), offsets),
    }


def outputs_for(strategy, size, offsets=None):
    """Random outputs of a made-up model, of rows or (with `offsets`) of words."""

    def of_outputs(*shape):
        return torch.randn(size, *shape) if offsets is None else Ragged(torch.randn(int(offsets[-1]), *shape), offsets)

    return {
        "logits": of_outputs(3),
        "embeddings": torch.randn(size, 4),
        "features": of_outputs(4),
        "mc_logits": of_outputs(all_needs(strategy).mc_samples or 1, 3),
        "hidden_states": torch.randn(size, 2, 4),
        **{name: torch.rand(size) for name in ("boundary", "word_boundary", "word_gradients")},
        "surprisal": torch.rand(size, 6),
        "similarity": torch.rand(size),
        **(of_texts(size, all_needs(strategy).mc_samples or 1) if {"text", "latent"} & strategy.needs.units else {}),
    }


def context_for(strategy, size=40, labelled=5, seed=0, multi_label=False, round=1, order=None, weights=None):
    """What the loop would hand over."""
    torch.manual_seed(seed)
    of_words = "word" in strategy.needs.units
    task = TAGS if of_words else TextClassification(label_names=["a", "b", "c"], multi_label=multi_label)
    lengths = torch.randint(1, 9, (size,), generator=torch.Generator().manual_seed(seed))
    outputs = outputs_for(strategy, size, offsets_of(lengths) if of_words else None)
    known = outputs_for(strategy, labelled, torch.arange(labelled + 1) if of_words else None)
    rows = np.arange(100, 100 + size)
    if order is not None:
        outputs, lengths, rows = {k: _take(v, order) for k, v in outputs.items()}, lengths[order], rows[order.numpy()]
    generator = torch.Generator().manual_seed(seed)
    everything = np.concatenate((np.arange(labelled), rows))
    embedded = torch.cat((known["embeddings"], outputs["embeddings"])).numpy()

    def seen(indices, needs):
        needs = needs.of_model()
        part = {name: _take(value, indices) for name, value in outputs.items()}
        pool = as_signals(reducer(needs, task)(part), task)
        old = as_signals(reducer(needs.for_labeled(), task)(known), task)
        return Context(
            pool=replace(pool, rows=rows[indices.numpy()], lengths=lengths[indices]),
            labeled=replace(old, rows=np.arange(labelled)),
            source=as_signals(reducer(Needs(pool=needs.source), task)(known), task) if needs.source else None,
            labels=[[i % 3] if multi_label else i % 3 for i in range(labelled)],
            num_classes=3,
            round=round,
            generator=generator,
            weights=None if weights is None else weights[indices],
            look=seen,
            index=lambda: Neighbours.build(embedded[np.argsort(everything)], np.sort(everything)),
        )

    return seen(torch.arange(size), strategy.needs)


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


@pytest.mark.parametrize("spec", OF_ROWS)
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


def test_scores_of_words_are_reduced_to_one_number_a_row():
    for name in OF_WORDS:
        needs = parse(name).needs
        assert needs.pool == frozenset() and len(needs.reduce) == 1, name
    context = context_for(parse("mnlp"))
    assert context.pool.logits is None and len(context.pool.reduced["MNLP()"]) == 40


def test_the_longest_rows_come_first():
    context = context_for(parse("longest"), size=10)
    chosen = parse("longest").select(context, 3)
    assert chosen.scores.tolist() == sorted(context.pool.lengths.tolist(), reverse=True)[:3]


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("token_entropy(reduce=median)", "reduce must be one of mean, sum, max, top3, got 'median'"),
        ("token_bald(form=vote)", "form must be information or disagreement"),
        ("token_bald(mc_samples=1)", "mc_samples must be a whole number of at least 2"),
        ("sequence_entropy(paths=1)", "paths must be a whole number of at least 2"),
    ],
)
def test_wrong_arguments_are_refused(spec, problem):
    with pytest.raises(HfalError, match=re.escape(problem)):
        parse(spec)


def test_what_the_pass_gives_for_words_is_not_read_as_rows():
    context = context_for(parse("mnlp"))
    signals = replace(context.pool, logits=Ragged(torch.zeros(3, 2), torch.tensor([0, 1, 3])))
    with pytest.raises(ValueError, match="one a word here"):
        signals.get("logits")
    with pytest.raises(ValueError, match="one a row here"):
        replace(signals, logits=torch.zeros(40, 2)).words()


@pytest.mark.parametrize(
    "spec",
    [
        "margin",
        "kmeans",
        "coreset",
        "badge",
        "typiclust",
        "farthest_first",
        "power_bald",
        "batchbald",
        "acs_fw",
        "epig",
        "bait",
        "lcmd",
        "prob_cover",
        "maxherding",
        "uncertainty_herding",
        "weighted_kmeans(beta=2)",
        "cluster_margin(beta=2)",
        "class_quota",
        "set_cover(beta=2)",
        "dictionary",
        "information_density",
        "cal",
        "vaal(steps=5)",
        "waal(steps=5)",
        "learning_loss(steps=5)",
        "multi_view",
        "expected_gradient_length",
        "vote_entropy",
    ],
)
def test_per_cost_prefers_cheap_rows(spec):
    strategy = parse(spec)
    cheap = torch.zeros(40, dtype=torch.bool)
    cheap[::4] = True
    weights = torch.where(cheap, 1.0, 1e-4)
    usual = strategy.select(context_for(strategy, labelled=2), 8)
    thrifty = strategy.select(context_for(strategy, labelled=2, weights=weights), 8)
    share = [np.mean(cheap[torch.from_numpy(chosen.rows - 100)].numpy()) for chosen in (usual, thrifty)]
    assert share[1] > share[0] and share[1] >= 0.6


@pytest.mark.parametrize("spec", ["high_confidence_mix", "coreset_robust", "discriminative(steps=5)"])
def test_what_has_nothing_to_divide_refuses_costs(spec):
    strategy = parse(spec)
    with pytest.raises(HfalError, match="per_cost does not go with"):
        strategy.select(context_for(strategy, weights=torch.ones(40)), 3)


def test_per_cost_needs_scores_that_can_be_divided():
    strategy = parse("margin")
    context = context_for(strategy, weights=torch.ones(40))
    negative = replace(context, pool=replace(context.pool, reduced={"Margin()": -torch.ones(40)}))
    with pytest.raises(HfalError, match="scores of 0 or more"):
        strategy.select(negative, 3)
