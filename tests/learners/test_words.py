"""Both learners where words are tagged."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch.nn.functional import normalize
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

import hfal.frozen
from hfal import FineTune, FrozenHead, HfalError, Pool, TokenClassification, TrainingConfig
from hfal.functional import Ragged
from hfal.learners import frozen_head, frozen_signals
from hfal.models import load_encoder
from hfal.pool import labelled
from hfal.signals import Needs
from tests.conftest import TAGS, make_tagged

TASK = TokenClassification(label_names=TAGS, scheme="BIO")
QUICK = TrainingConfig(num_train_epochs=4, min_steps=60, learning_rate=5e-3)
WORDS = frozenset({"word"})


def learner_of(kind, model, **options):
    made = FineTune(model, QUICK, **options) if kind == "fine_tune" else FrozenHead(model, **options)
    made.bind(TASK, 0)
    return made


KINDS = pytest.mark.parametrize("kind", ["frozen_head", "fine_tune"])


@pytest.fixture(scope="module")
def trained(tiny_model, tagged):
    made = {}
    for kind in ("frozen_head", "fine_tune"):
        made[kind] = learner_of(kind, tiny_model)
        made[kind].fit(labelled(tagged, TASK))
    return made


@KINDS
def test_entities_are_learned(trained, kind, tagged_test):
    scores = trained[kind].evaluate(labelled(tagged_test, TASK))
    assert scores["f1"] > 0.4, scores  # a model of random weights: chance is below 0.1
    assert set(scores["per_class"]) == {"good", "bad"}


@KINDS
def test_the_same_seed_gives_the_same_model_and_a_saved_one_is_it(
    trained, kind, tiny_model, tagged, tagged_test, tmp_path
):
    again = learner_of(kind, tiny_model)
    again.fit(labelled(tagged, TASK))
    test = labelled(tagged_test, TASK)
    scores = trained[kind].evaluate(test)
    assert again.evaluate(test) == scores
    again.save(tmp_path)
    loaded = learner_of(kind, tiny_model)
    loaded.load(tmp_path)
    assert loaded.evaluate(test) == scores


@KINDS
def test_a_saved_model_is_one_of_transformers(trained, kind, tmp_path, tagged_test):
    assert hfal.frozen
    trained[kind].save(tmp_path)
    model = AutoModelForTokenClassification.from_pretrained(tmp_path).eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    words = tagged_test[0]["tokens"]
    batch = tokenizer([words], is_split_into_words=True, return_tensors="pt")
    first = [batch.word_ids(0).index(word) for word in range(len(words))]
    with torch.inference_mode():
        logits = model(**batch).logits[0, first]
    ours = trained[kind].signals(tagged_test.select([0]), Needs(pool={"logits"}, units=WORDS)).words()
    torch.testing.assert_close(ours.values, logits, atol=1e-4, rtol=1e-3)
    found = pipeline("token-classification", model=model, tokenizer=tokenizer)(" ".join(words))
    assert {entity["entity"] for entity in found} <= set(TAGS)


@KINDS
def test_signals_of_a_row_are_the_same_alone_and_among_others(trained, kind, tagged):
    pool = Pool.from_dataset(tagged, TASK)
    needs = Needs(pool={"logits", "embeddings", "features", "mc_logits"}, mc_samples=3, units=WORDS)
    everything = trained[kind].signals(pool.inputs(np.arange(60)), needs)
    alone = trained[kind].signals(pool.inputs(np.array([17])), needs)
    assert everything.words().lengths.tolist() == pool.lengths(np.arange(60)).tolist()
    for name in ("logits", "features", "mc_logits"):
        torch.testing.assert_close(alone.words(name)[0], everything.words(name)[17], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(alone.embeddings[0], everything.embeddings[17], atol=1e-4, rtol=1e-3)
    assert everything.words("mc_logits").values.shape[1:] == (3, 5)
    assert everything.words("mc_logits").values.std(1).max() > 1e-3


@KINDS
def test_reductions_inside_the_pass_equal_those_after_it(trained, kind, tagged):
    from hfal import functional as F
    from hfal.strategies import parse

    strategy = parse("mnlp")
    signals = trained[kind].signals(tagged.select(range(30)), strategy.needs)
    logits = trained[kind].signals(tagged.select(range(30)), Needs(pool={"logits"}, units=WORDS)).words()
    assert signals.logits is None
    torch.testing.assert_close(signals.reduced["MNLP()"], F.mnlp(logits, TASK.legal), atol=1e-5, rtol=1e-4)


@KINDS
def test_entity_pooling_weighs_words_by_what_the_model_takes_for_entities(trained, kind, tiny_model, tagged):
    learner = learner_of(kind, tiny_model, pooling="entities")
    needs = Needs(pool={"embeddings"})
    before = learner.signals(tagged.select(range(5)), needs).embeddings
    mean = learner_of(kind, tiny_model).signals(tagged.select(range(5)), needs).embeddings
    torch.testing.assert_close(before, mean)  # nothing is known yet
    learner.fit(labelled(tagged, TASK))
    seen = learner.signals(tagged.select(range(5)), Needs(pool={"embeddings", "logits", "features"}, units=WORDS))
    weights = 1 - torch.softmax(seen.words().values, -1)[:, 0]
    states = seen.words("features")
    row = slice(int(states.offsets[2]), int(states.offsets[3]))
    expected = (states.values[row] * weights[row, None]).sum(0) / weights[row].sum()
    torch.testing.assert_close(seen.embeddings[2], normalize(expected, dim=0), atol=1e-4, rtol=1e-3)
    with pytest.raises(HfalError, match="learner.pooling must be mean or entities for token_classification, got 'cls'"):
        learner_of(kind, tiny_model, pooling="cls")


@KINDS
def test_a_long_row_is_learned_and_read_to_its_end(trained, kind, tiny_model):
    long = ["the", "film", "was"] * 60 + ["great"]
    tags = [0] * 180 + [3]
    rows = Dataset.from_dict(
        {"tokens": [long, *make_tagged(60)["tokens"]], "ner_tags": [tags, *make_tagged(60)["ner_tags"]]}
    )
    learner = learner_of(kind, tiny_model)
    learner.fit(labelled(rows, TASK))
    logits = learner.signals(rows.select([0]), Needs(pool={"logits"}, units=WORDS)).words()
    (guess,), _ = TASK.predict(logits)
    assert len(guess) == 181 and guess[-1] == 3 and sum(tag > 0 for tag in guess[:180]) < 4


def test_a_head_on_more_words_than_are_held_is_the_same(tiny_model, tagged, monkeypatch, tmp_path):
    held = learner_of("frozen_head", tiny_model)
    held.fit(labelled(tagged, TASK))
    monkeypatch.setattr(frozen_head, "HELD", 100)
    monkeypatch.setattr(frozen_signals, "TOGETHER", 64)
    read = FrozenHead(tiny_model)
    read.bind(TASK, 0, tmp_path)
    read.fit(labelled(tagged, TASK))
    torch.testing.assert_close(read.model.classifier.weight, held.model.classifier.weight, atol=0.05, rtol=0.05)
    assert len(list(tmp_path.rglob("*.offsets.npy"))) == 1


def test_embeddings_of_words_come_back_from_disk(tiny_model, tagged, tmp_path):
    first = FrozenHead(tiny_model)
    first.bind(TASK, 0, tmp_path)
    there = first.store.gather(first.store.slots(tagged))
    again = FrozenHead(tiny_model)
    again.bind(TASK, 0, tmp_path)
    again.store._embed = None  # nothing may be computed again
    order = np.array([7, 3, 119])
    slots = again.store.slots(tagged.select(order))
    offsets = np.concatenate(([0], np.cumsum([len(words) for words in tagged["tokens"]])))
    expected = torch.cat([there[offsets[row] : offsets[row + 1]] for row in order])
    torch.testing.assert_close(again.store.gather(slots), expected)
    assert again.store.units(slots).tolist() == [len(tagged[int(row)]["tokens"]) for row in order]


def test_the_upper_layers_are_cut_for_words(tiny_model):
    encoder = load_encoder(tiny_model, trust_remote_code=False)
    whole = encoder.config.num_hidden_layers
    cut = learner_of("frozen_head", tiny_model)._model.encoder
    assert whole == 2 and len(cut.encoder.layer) == cut.config.num_hidden_layers == 1
    kept = learner_of("frozen_head", tiny_model, layers=2)._model.encoder
    assert len(kept.encoder.layer) == 2
    with pytest.raises(HfalError, match="learner.layers must be between 1 and the 2 of the model, got 3"):
        learner_of("frozen_head", tiny_model, layers=3)


def test_weights_lift_the_recall_of_entities(tiny_model, tagged, tagged_test):
    few = labelled(tagged.select(range(12)), TASK)
    recalls = []
    for power in (0.0, 1.0):
        learner = learner_of("frozen_head", tiny_model, class_weights=power, C=0.05)
        learner.fit(few)
        recalls.append(learner.evaluate(labelled(tagged_test, TASK))["recall"])
    assert recalls[1] > recalls[0]


@KINDS
def test_early_stopping_and_validation_rows_are_taken(kind, tiny_model, tagged, tagged_test):
    learner = learner_of(kind, tiny_model)
    if kind == "fine_tune":
        learner.config = TrainingConfig(
            num_train_epochs=3, min_steps=3, early_stopping_patience=1, class_weights="balanced"
        )
    report = learner.fit(labelled(tagged.select(range(20)), TASK), labelled(tagged_test, TASK))
    assert report.steps > 0 and np.isfinite(report.loss)
    if kind == "fine_tune":
        assert report.details["best_epoch"] >= 1


def test_nothing_to_train_on_is_said(tiny_model):
    rows = labelled(Dataset.from_dict({"tokens": [["\u200b"]], "ner_tags": [[0]]}), TASK)
    learner = learner_of("fine_tune", tiny_model)
    seen = learner.tokens.get(rows).at
    if (seen < 0).all():
        with pytest.raises(HfalError, match="nothing to train on"):
            learner.fit(rows)
    assert isinstance(TASK.targets([[0]]), Ragged)
