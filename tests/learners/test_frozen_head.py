import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

import hfal  # noqa: F401 - registers the model type
from hfal import FrozenHead, HfalError, Pairs, Pool, Relations, TextClassification, TokenClassification
from hfal.embeddings import EmbeddingStore
from hfal.functional import boundary_step
from hfal.pool import labelled, with_labels
from hfal.signals import Needs
from tests.conftest import NAMES

TASK = TextClassification(label_names=NAMES)
EMBEDDINGS = Needs(pool=frozenset({"embeddings"}))


@pytest.fixture
def learner(tiny_model):
    learner = FrozenHead(tiny_model)
    learner.bind(TASK, 0)
    return learner


def by_hand(folder, texts):
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)


def test_embeddings_are_the_normalised_mean_of_the_hidden_states(learner, tiny_model, rows):
    found = learner.signals(rows, EMBEDDINGS).get("embeddings")
    torch.testing.assert_close(found, by_hand(tiny_model, rows["text"][:]), atol=1e-5, rtol=1e-4)


def test_the_encoder_runs_once_for_each_row(learner, rows, monkeypatch):
    learner.signals(rows, EMBEDDINGS)
    monkeypatch.setattr(EmbeddingStore, "_embed", None)
    learner.fit(labelled(rows.select(range(30)), TASK))
    assert len(learner.signals(rows.shuffle(seed=1), EMBEDDINGS)) == 120


def test_the_head_is_scikit_learns_logistic_regression(learner, tiny_model, rows):
    train = labelled(rows.select(range(60)), TASK)
    learner.fit(train)
    reference = LogisticRegression(C=10, max_iter=1000, class_weight="balanced")
    reference.fit(by_hand(tiny_model, train["text"][:]).double().numpy(), train["labels"][:])
    logits = learner.signals(rows, Needs(pool=frozenset({"logits"}))).get("logits")
    expected = reference.predict_proba(by_hand(tiny_model, rows["text"][:]).double().numpy())
    np.testing.assert_allclose(torch.softmax(logits, 1).numpy(), expected, atol=2e-3)


def test_a_class_without_labels_gets_a_finite_low_score(learner, rows):
    train = labelled(rows.filter(lambda row: row["label"] != 1), TASK)
    learner.fit(train)
    probabilities = torch.softmax(learner.signals(rows, Needs(pool=frozenset({"logits"}))).get("logits"), 1)
    assert torch.isfinite(probabilities).all()
    assert probabilities[:, 1].max() < 0.2
    learner.fit(labelled(rows.filter(lambda row: row["label"] == 2), TASK))  # a single class
    guess = learner.signals(rows, Needs(pool=frozenset({"logits"}))).get("logits").argmax(1)
    assert set(guess.tolist()) == {2}


def test_two_classes_give_two_opposed_logits(tiny_model, rows):
    learner = FrozenHead(tiny_model)
    learner.bind(TextClassification(label_names=["bad", "good"]), 0)
    two = rows.filter(lambda row: row["label"] != 1).cast_column("label", rows.features["label"])
    texts, labels = two["text"][:], [label // 2 for label in two["label"]]
    learner.fit(with_labels(two.select_columns(["text"]), labels))
    logits = learner.signals(two, Needs(pool=frozenset({"logits"}))).get("logits")
    torch.testing.assert_close(logits[:, 0], -logits[:, 1])
    reference = LogisticRegression(C=10, max_iter=1000, class_weight="balanced").fit(
        by_hand(tiny_model, texts).double().numpy(), labels
    )
    expected = reference.predict_proba(by_hand(tiny_model, texts).double().numpy())
    np.testing.assert_allclose(torch.softmax(logits, 1).numpy(), expected, atol=2e-3)


@pytest.mark.parametrize(
    ("task", "power"),
    [
        (TextClassification(label_names=["a", "b"]), 1.0),
        (Relations(label_names=["a", "b", "c"]), 1.0),
        (Pairs(label_names=["no", "yes", "maybe"]), 1.0),
        (Pairs(label_names=["different", "same"]), 0.0),
        (TextClassification(label_names=["a", "b"], multi_label=True), 0.0),
        (TokenClassification(label_names=["O", "B-x", "I-x"]), 0.25),
    ],
)
def test_how_classes_are_weighed_where_nothing_is_said(tiny_model, task, power):
    learner = FrozenHead(tiny_model)
    learner.bind(task, 0)
    assert learner.class_power == power
    for said, wanted in ((None, 0.0), ("balanced", 1.0), (0.5, 0.5)):
        learner = FrozenHead(tiny_model, class_weights=said)
        learner.bind(task, 0)
        assert learner.class_power == wanted


def test_several_labels_are_independent_heads(tiny_model, rows):
    learner = FrozenHead(tiny_model)
    task = TextClassification(label_names=NAMES, multi_label=True)
    learner.bind(task, 0)
    labels = [[label] if row % 3 else [] for row, label in enumerate(rows["label"])]
    learner.fit(with_labels(rows.select_columns(["text"]), labels))
    yes = torch.sigmoid(learner.signals(rows, Needs(pool=frozenset({"logits"}))).get("logits"))
    embeddings = by_hand(tiny_model, rows["text"][:]).double().numpy()
    for label in range(3):
        reference = LogisticRegression(C=10, max_iter=1000).fit(embeddings, [label in row for row in labels])
        np.testing.assert_allclose(yes[:, label].numpy(), reference.predict_proba(embeddings)[:, 1], atol=2e-3)
    signals = learner.signals(rows, Needs(pool=frozenset({"mc_logits", "logits"}), mc_samples=3))
    assert signals.get("mc_logits").shape == (3, 120, 3)


def test_samples_equal_dropout_on_the_features(learner, rows):
    learner.fit(labelled(rows.select(range(40)), TASK))
    signals = learner.signals(rows, Needs(pool=frozenset({"mc_logits", "embeddings", "logits"}), mc_samples=300))
    samples = signals.get("mc_logits")
    torch.testing.assert_close(samples.mean(0), signals.get("logits"), atol=0.5, rtol=0.2)
    assert samples.std(0).min() > 0
    half = learner.signals(rows.select(range(60, 120)), Needs(pool=frozenset({"mc_logits"}), mc_samples=300))
    torch.testing.assert_close(half.get("mc_logits"), samples[:, 60:])


def test_saved_models_load_with_transformers(learner, rows, tmp_path):
    learner.fit(labelled(rows.select(range(40)), TASK))
    learner.save(tmp_path / "model")
    assert not list((tmp_path / "model").glob("*.bin"))
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    batch = AutoTokenizer.from_pretrained(tmp_path / "model")(rows["text"][:], padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = loaded(**batch).logits
    expected = learner.signals(rows, Needs(pool=frozenset({"logits"}))).get("logits")
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-3)
    assert loaded.config.id2label == dict(enumerate(NAMES))
    fresh = FrozenHead(learner.name)
    fresh.bind(TASK, 0)
    fresh.load(tmp_path / "model")
    torch.testing.assert_close(fresh.signals(rows, Needs(pool=frozenset({"logits"}))).get("logits"), expected)


def test_embeddings_on_disk_are_found_again_and_belong_to_one_encoder(tiny_model, rows, tmp_path, monkeypatch):
    first = FrozenHead(tiny_model)
    first.bind(TASK, 0, tmp_path)
    expected = first.signals(rows, EMBEDDINGS).get("embeddings")
    other = FrozenHead(tiny_model, pooling="cls")
    other.bind(TASK, 0, tmp_path)
    assert not torch.allclose(other.signals(rows, EMBEDDINGS).get("embeddings"), expected)
    monkeypatch.setattr(EmbeddingStore, "_embed", None)
    again = FrozenHead(tiny_model)
    again.bind(TASK, 1, tmp_path)
    assert torch.equal(again.signals(rows, EMBEDDINGS).get("embeddings"), expected)


def test_before_the_first_labels_only_embeddings_can_be_had(learner, rows):
    with pytest.raises(HfalError, match="before the first labels"):
        learner.signals(rows, Needs(pool=frozenset({"logits"})))
    with pytest.raises(HfalError, match="no model has been trained"):
        learner.save("nowhere")


@pytest.mark.parametrize("wrong", [{"C": 0}, {"pooling": "max"}, {"class_weights": "even"}, {"finally_": "train"}])
def test_impossible_settings_are_refused(tiny_model, wrong):
    with pytest.raises(HfalError, match=r"learner\."):
        FrozenHead(tiny_model, **wrong)


def test_balanced_weights_help_the_rare_class(tiny_model, rows):
    rare = rows.select([i for i, label in enumerate(rows["label"]) if label != 1 or i % 6 == 0])
    recalls = []
    for weights in (None, "balanced"):
        learner = FrozenHead(tiny_model, class_weights=weights, C=0.1)
        learner.bind(TASK, 0)
        learner.fit(labelled(rare, TASK))
        recalls.append(learner.evaluate(labelled(rows, TASK))["per_class"]["fine"]["recall"])
    assert recalls[1] > recalls[0]


def test_a_pool_row_has_the_same_signals_alone_and_among_others(learner, rows):
    pool = Pool.from_dataset(rows, TASK)
    learner.fit(labelled(rows.select(range(40)), TASK))
    everything = learner.signals(pool.inputs(np.arange(120)), Needs(pool=frozenset({"logits"}))).get("logits")
    one = learner.signals(pool.inputs(np.array([77])), Needs(pool=frozenset({"logits"}))).get("logits")
    torch.testing.assert_close(one[0], everything[77])


def test_twins_over_the_boundary_are_learned_with_their_rows_label(tiny_model, rows):
    train = labelled(rows.select(range(60)), TASK)
    labels = torch.tensor(train["labels"][:])
    heads = {}
    for twins in (False, True):
        learner = FrozenHead(tiny_model, twins=twins)
        learner.bind(TASK, 0)
        learner.fit(train)
        heads[twins] = learner
    embeddings = heads[False].signals(train, EMBEDDINGS).get("embeddings")
    logits, weight = heads[False]._head(embeddings), heads[False].model.classifier.weight.detach()
    right = logits.argmax(1) == labels
    over = embeddings + 1.02 * boundary_step(logits, weight)
    assert not bool((heads[False]._head(over).argmax(1) == labels)[right].any())
    assert float((heads[True]._head(over).argmax(1) == labels)[right].float().mean()) > 0.3
    with pytest.raises(HfalError, match=r"twins is for rows with one label"):
        FrozenHead(tiny_model, twins=True).bind(TextClassification(label_names=NAMES, multi_label=True), 0)
