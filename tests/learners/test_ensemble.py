import numpy as np
import pytest
import torch

from hfal import (
    ActiveLearner,
    Ensemble,
    FewLabels,
    FineTune,
    FrozenHead,
    HfalError,
    Pool,
    TextClassification,
    TokenClassification,
    TrainingConfig,
)
from hfal.functional import bald
from hfal.learners.base import outputs_of
from hfal.pool import labelled
from hfal.signals import Needs
from tests.conftest import NAMES, TAGS, make_rows

TASK = TextClassification(label_names=NAMES)
WORDS = TokenClassification(label_names=TAGS, illegal="repair")
QUICK = TrainingConfig(num_train_epochs=1, min_steps=12, learning_rate=5e-3, max_cycles=1)
SAMPLES = Needs(pool=frozenset({"logits", "mc_logits", "embeddings"}), mc_samples=3)


def bound(of, task=TASK, cache=None, **options):
    learner = Ensemble(of, **({"members": 3} | options))
    learner.bind(task, 0, cache)
    return learner


@pytest.fixture(scope="module")
def train(rows):
    return labelled(rows.select(range(60)), TASK)


@pytest.mark.parametrize("by", ["anchor", "bootstrap", "init"])
def test_the_mean_probability_decides_and_members_are_the_samples(by, tiny_model, rows, train, tmp_path):
    learner = bound(FineTune(tiny_model, QUICK) if by == "init" else FrozenHead(tiny_model), by=by)
    report = learner.fit(train)
    found = learner.signals(rows, SAMPLES)
    alone = torch.stack([outputs_of(one, TASK, rows).logits for one in learner.members])
    torch.testing.assert_close(found.mc_logits, alone)
    torch.testing.assert_close(found.logits.softmax(1), alone.softmax(2).mean(0), atol=1e-5, rtol=1e-4)
    assert float((alone[0] - alone[1]).abs().max()) > 1e-2 and report.details["members"] == 3
    asked = Needs(
        pool=frozenset({"embeddings"}), batch=frozenset({"mc_logits"}), mc_samples=3,
        reduce={"bald": lambda signals: bald(signals.get("mc_logits"))},
    )  # fmt: skip
    reduced = learner.signals(rows, asked)
    torch.testing.assert_close(reduced.reduced["bald"], bald(alone))
    assert reduced.logits is None and reduced.mc_logits is None and reduced.embeddings is not None
    learner.save(tmp_path)
    other = bound(FineTune(tiny_model, QUICK) if by == "init" else FrozenHead(tiny_model), by=by)
    other.load(tmp_path)
    torch.testing.assert_close(outputs_of(other, TASK, rows).logits, found.logits)


def test_more_samples_than_members_come_from_dropout(tiny_model, rows, train):
    learner = bound(FrozenHead(tiny_model))
    learner.fit(train)
    found = learner.signals(rows, Needs(pool=frozenset({"mc_logits"}), mc_samples=9))
    assert found.mc_logits.shape == (9, 120, 3)
    first = learner.members[0].signals(rows, Needs(pool=frozenset({"mc_logits"}), mc_samples=3)).mc_logits
    torch.testing.assert_close(found.mc_logits[:3], first)


def test_frozen_members_share_encoder_and_embeddings_but_no_head(tiny_model, train, monkeypatch):
    learner = bound(FrozenHead(tiny_model))
    learner.fit(train)
    encoders = {id(one.store) for one in learner.members}, {id(one.model.encoder) for one in learner.members}
    assert [len(found) for found in encoders] == [1, 1]
    assert len({id(one.model.classifier) for one in learner.members}) == 3


def test_members_by_anchor_part_where_nothing_is_labelled(tiny_model, train):
    """Held to weights drawn from the prior, they agree on what they were taught and less elsewhere."""
    learner = bound(FrozenHead(tiny_model, C=1000.0), members=8, by="anchor")
    learner.fit(train)
    needs = Needs(pool=frozenset({"mc_logits"}), mc_samples=8)
    told = bald(learner.signals(train, needs).get("mc_logits")).mean()
    elsewhere = bald(learner.signals(make_rows(200, seed=77), needs).get("mc_logits")).mean()
    assert float(elsewhere) > 1.2 * float(told)


def test_words_have_samples_of_members_too(tiny_model, tagged):
    learner = bound(FrozenHead(tiny_model), WORDS, by="bootstrap")
    learner.fit(labelled(tagged.select(range(50)), WORDS))
    needs = Needs(pool=frozenset({"logits", "mc_logits"}), mc_samples=3, units=frozenset({"word"}))
    found = learner.signals(tagged, needs)
    alone = torch.stack([outputs_of(one, WORDS, tagged).logits.values for one in learner.members], 1)
    torch.testing.assert_close(found.mc_logits.values, alone)
    more = learner.signals(tagged, Needs(pool=frozenset({"mc_logits"}), mc_samples=5, units=frozenset({"word"})))
    assert more.mc_logits.values.shape == (len(alone), 6, 5)


def test_the_temperature_fits_the_validation_rows(tiny_model, train):
    held_out = labelled(make_rows(100, seed=3), TASK)
    plain, scaled = bound(FrozenHead(tiny_model, C=1e4), calibrate=False), bound(FrozenHead(tiny_model, C=1e4))
    plain.fit(train, held_out)
    report = scaled.fit(train, held_out)
    assert report.details["temperature"] > 1 and plain.temperature == 1
    wanted = torch.as_tensor(held_out["labels"])

    def loss(temperature):
        scaled.temperature = temperature
        return float(torch.nn.functional.cross_entropy(outputs_of(scaled, TASK, held_out).logits, wanted))

    assert loss(report.details["temperature"]) < min(map(loss, (0.1, 0.5, 1, 2, 4, 8, 16)), default=0) + 1e-6


def test_a_committee_runs_the_loop_with_an_encoder_that_read_the_pool(tiny_model, rows, test_rows, tmp_path):
    of = FrozenHead(tiny_model, few=FewLabels(adapt="contrastive"))
    pool = Pool.from_dataset(rows, TextClassification())
    rounds = ActiveLearner(
        pool, Ensemble(of, 3), "bald(mc_samples=3)", test=test_rows, budget=30, batch_size=15, output_dir=tmp_path
    ).run()
    assert rounds[0].training["adapted"]["rows"] == 120 and rounds[0].seconds["adapt"] > 0
    assert (
        "adapted" not in rounds[1].training and len(rounds) == 2 and np.isfinite(list(rounds[1].scores.values())).all()
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: Ensemble(FrozenHead(m), 1), "at least 2"),
        (lambda m: Ensemble(FrozenHead(m), by="init"), "no initial weights"),
        (lambda m: Ensemble(FrozenHead(m), by="luck"), "init, bootstrap or anchor"),
        (
            lambda m: Ensemble(FrozenHead(m, few=FewLabels(pseudo_labels=True)), by="anchor"),
            "does not go with pseudo_labels",
        ),
        (lambda m: bound(FrozenHead(m), WORDS, by="anchor"), "take bootstrap"),
    ],
)
def test_members_that_cannot_differ_are_refused(make, message, tiny_model):
    with pytest.raises(HfalError, match=message):
        make(tiny_model)
