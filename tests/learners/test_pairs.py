"""Pairs and marked entities, as learners read them."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from sklearn.metrics import f1_score
from transformers import AutoModelForSequenceClassification

from hfal import FineTune, FrozenHead, HfalError, Pairs, Relations, TrainingConfig
from hfal.embeddings import EmbeddingStore
from hfal.frozen import FrozenPairHeadModel, pair_features
from hfal.learners.heads import HeadFitter
from hfal.linear import f1_threshold, fit_softmax
from hfal.marks import MarkedCache, MarkedHeadModel, learn_markers
from hfal.models import load_tokenizer
from hfal.signals import Needs
from hfal.strategies import parse
from hfal.training_config import GUESS
from tests.conftest import FILLER, WORDS

PAIRS = Pairs(label_names=["no", "yes"])
RELATIONS = Relations(label_names=["Other", "Good", "Bad"], none="Other")
QUICK = TrainingConfig(num_train_epochs=1, min_steps=30, learning_rate=3e-3)


def make_pairs(size, seed=0):
    """Pairs that are the same where both hold a word of the same kind; a quarter of them."""
    rng = np.random.default_rng(seed)
    left, right, labels = [], [], []
    for row in range(size):
        same = rng.random() < 0.25
        kinds = [str(rng.choice(["good", "bad"]))] * 2
        if not same:
            kinds[1] = "bad" if kinds[0] == "good" else "good"
        texts = [f"{rng.choice(FILLER)} {rng.choice(WORDS[kind])} n{seed}x{row % 7}" for kind in kinds]
        left.append(texts[0])
        right.append(texts[1])
        labels.append(int(same))
    return Dataset.from_dict({"left": left, "right": right, "labels": labels})


def make_easy(size, seed=0):
    """Pairs that are the same where the second text is good: what a tiny encoder can learn."""
    rows = make_pairs(size, seed)
    good = [int(any(word in text for word in WORDS["good"])) for text in rows["right"]]
    return rows.remove_columns("labels").add_column("labels", good)


def make_relations(size, seed=0):
    rng = np.random.default_rng(seed)
    texts, labels = [], []
    for row in range(size):
        kind = int(rng.integers(3))
        word = str(rng.choice(WORDS[("fine", "good", "bad")[kind]]))
        texts.append(f"{rng.choice(FILLER)} <e1>{word}</e1> {rng.choice(FILLER)} <e2>phone</e2> n{seed}x{row}")
        labels.append(kind)
    return Dataset.from_dict({"text": texts, "labels": labels})


@pytest.fixture(scope="module")
def pairs():
    return make_pairs(80)


def bound(learner, task):
    learner.bind(task, seed=0)
    return learner


def test_features_of_a_pair_are_of_both_texts_by_themselves(tiny_model, pairs):
    learner = bound(FrozenHead(tiny_model), PAIRS)
    found = learner.signals(pairs, Needs(pool={"embeddings", "similarity"}))
    texts = bound(FrozenHead(tiny_model), Relations(label_names=["a", "b"])).store.model  # the encoder alone would do
    assert texts is not None
    u, v = (learner.store.gather(learner.store.slots(pairs)).split(32, 1)[at] / 0.3 for at in (0, 1))
    torch.testing.assert_close(found.embeddings, pair_features(u, v))
    torch.testing.assert_close(found.similarity, (u * v).sum(1))
    torch.testing.assert_close(u.norm(dim=1), torch.ones(len(u)))


def test_each_text_is_embedded_once_however_many_pairs_it_is_in(tiny_model, monkeypatch):
    seen = []
    embed = EmbeddingStore._embed

    def counting(self, rows, description):
        seen.append(len(rows))
        return embed(self, rows, description)

    monkeypatch.setattr(EmbeddingStore, "_embed", counting)
    rows = Dataset.from_dict({"left": ["a", "a", "b", "c"], "right": ["b", "c", "c", "a"]})
    bound(FrozenHead(tiny_model), PAIRS).signals(rows, Needs(pool={"embeddings"}))
    assert sum(seen) == 3


def test_the_saved_model_gives_the_learners_logits(tiny_model, pairs, tmp_path):
    learner = bound(FrozenHead(tiny_model), PAIRS)
    learner.fit(pairs)
    learner.save(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert isinstance(loaded, FrozenPairHeadModel)
    left, right = (
        learner.tokenizer(list(pairs[side]), padding=True, return_tensors="pt") for side in ("left", "right")
    )
    with torch.no_grad():
        logits = loaded(left.input_ids, left.attention_mask, right.input_ids, right.attention_mask).logits
    expected = learner.signals(pairs, Needs(pool={"logits"})).logits
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    again = bound(FrozenHead(tiny_model), PAIRS)
    again.load(tmp_path)
    torch.testing.assert_close(again.signals(pairs, Needs(pool={"logits"})).logits, expected)


def test_the_best_threshold_is_found_by_trying_all():
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores = rng.choice([*rng.normal(size=8), 0.0, 1.0], 20)  # with ties
        found = rng.random(20) < 0.3
        if not found.any() or found.all():
            continue
        cut = f1_threshold(scores, found)
        every = [f1_score(found, scores > c) for c in [*scores, *(scores - 1e-9)]]
        assert f1_score(found, scores > cut) == pytest.approx(max(every))


def test_the_threshold_helps_where_the_class_is_rare():
    """Overlapping classes, one in ten: at one half nothing would be found."""
    rng = np.random.default_rng(0)
    labels = (rng.random(600) < 0.1).astype(int)
    features = rng.normal(size=(600, 3)) + 1.2 * labels[:, None]
    train, test = slice(0, 300), slice(300, 600)
    scores = {}
    for threshold in (True, False):
        fitter = HeadFitter(PAIRS, 1.0, 0.0, threshold=threshold)
        weight, bias, _ = fitter.rows(features[train], torch.from_numpy(labels[train]))
        scores[threshold] = f1_score(labels[test], (features[test] @ weight.T + bias).argmax(1))
    assert scores[True] > scores[False] + 0.03


def test_without_two_rows_of_the_class_the_threshold_stays():
    features, labels = np.random.default_rng(0).normal(size=(20, 3)), torch.zeros(20, dtype=torch.int64)
    labels[3] = 1
    with_cut, without = (HeadFitter(PAIRS, 1.0, 0.0, threshold=cut).rows(features, labels)[1] for cut in (True, False))
    np.testing.assert_array_equal(with_cut, without)


@pytest.mark.parametrize("task", [PAIRS, RELATIONS])
def test_fine_tuning_learns_and_comes_back_from_disk(task, tiny_model, tmp_path):
    make = make_easy if task is PAIRS else make_relations
    train, test = make(150), make(60, seed=1)
    learner = bound(FineTune(tiny_model, TrainingConfig(num_train_epochs=12, learning_rate=3e-3)), task)
    learner.fit(train)
    scores = learner.evaluate(test)
    assert scores[task.main_metric] > 0.8
    learner.save(tmp_path)
    again = bound(FineTune(tiny_model, QUICK), task)
    again.load(tmp_path)
    assert again.evaluate(test) == scores


def test_fine_tuning_tells_how_alike_texts_are_before_any_label(tiny_model, pairs):
    tuned = bound(FineTune(tiny_model, QUICK), PAIRS).signals(pairs, Needs(pool={"similarity", "embeddings"}))
    frozen = bound(FrozenHead(tiny_model), PAIRS).signals(pairs, Needs(pool={"similarity"}))
    torch.testing.assert_close(tuned.similarity, frozen.similarity)


@pytest.mark.parametrize("needs", [Needs(pool={"word_gradients"}), Needs(pool={"hidden_states"})])
def test_looks_into_texts_that_are_read_apart_are_refused(needs, tiny_model, pairs):
    learner = bound(FrozenHead(tiny_model), PAIRS)
    learner.fit(pairs)
    with pytest.raises(HfalError, match="need learner.type: fine_tune"):
        learner.signals(pairs, needs)


def test_states_of_marked_entities_are_means_over_them(tiny_model):
    rows = make_relations(6)
    learner = bound(FrozenHead(tiny_model, layers=2, normalize=False), RELATIONS)
    found = learner.signals(rows, Needs(pool={"embeddings"})).embeddings
    model, tokenizer = learner.store.model, learner.tokenizer
    assert isinstance(model, MarkedHeadModel)
    for row, text in enumerate(rows["text"]):
        batch = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            states = model.encoder(**batch).last_hidden_state[0]
        tokens = tokenizer.convert_ids_to_tokens(batch["input_ids"][0])
        spans = [(tokens.index(f"<{e}>"), tokens.index(f"</{e}>") + 1) for e in ("e1", "e2")]
        expected = torch.cat([*(states[a:b].mean(0) for a, b in spans), states.mean(0)])
        torch.testing.assert_close(found[row], expected, atol=1e-5, rtol=1e-4)


def test_a_long_text_is_cut_around_its_entities(tiny_model):
    tokenizer = load_tokenizer(tiny_model, trust_remote_code=False, pad_token=None)
    learn_markers(tokenizer, RELATIONS.markers)
    cache = MarkedCache(tokenizer, RELATIONS, 16)
    text = f"{'the ' * 50}<e2>great phone</e2> {'a ' * 50}<e1>film</e1>{' so' * 50}"
    tokens = cache.get(Dataset.from_dict({"text": [text]}))
    kept = tokenizer.convert_ids_to_tokens(tokens.ids)
    assert len(kept) == 16 and kept[0] == "[CLS]" and kept[-1] == "[SEP]"
    assert [t for t in kept if t in RELATIONS.markers] == ["<e2>", "</e2>", "<e1>", "</e1>"]
    assert "phone" in kept and "film" in kept


def test_a_head_with_a_prior_starts_there_and_moves_with_labels():
    rng = np.random.default_rng(0)
    rows, prior = torch.from_numpy(rng.normal(size=(1, 4))).float(), (rng.normal(size=(2, 4)), rng.normal(size=2))
    few = fit_softmax(lambda: iter([(rows, torch.tensor([1]))]), 4, np.ones(2), 1e-6, prior=prior)
    np.testing.assert_allclose(few[0], prior[0], atol=1e-3)
    many_rows = torch.from_numpy(rng.normal(size=(500, 4))).float()
    labels = (many_rows[:, 0] > 0).long()
    near = fit_softmax(lambda: iter([(many_rows, labels)]), 4, np.ones(2), 1.0, prior=prior)
    agree = ((many_rows.numpy() @ near[0].T + near[1]).argmax(1) == labels.numpy()).mean()
    assert agree > 0.95


@pytest.mark.parametrize("kind", ["frozen", "fine"])
def test_a_source_that_was_learned_before_helps_with_few_labels(kind, tiny_model, tmp_path):
    source, few, test = make_easy(200, seed=3), make_easy(6, seed=4), make_easy(80, seed=5)
    make = (
        (lambda: FrozenHead(tiny_model))
        if kind == "frozen"
        else (lambda: FineTune(tiny_model, TrainingConfig(num_train_epochs=8, learning_rate=3e-3, min_steps=1)))
    )
    alone = bound(make(), PAIRS)
    alone.fit(few)
    taught = make()
    taught.bind(PAIRS, 0, tmp_path)
    taught.learn_source(source)
    taught.fit(few)
    assert taught.evaluate(test)["average_precision"] > alone.evaluate(test)["average_precision"]
    again = make()
    again.bind(PAIRS, 0, tmp_path)
    again.learn_source(source)  # from the cache, where it is kept
    again.fit(few)
    assert again.evaluate(test) == taught.evaluate(test)


def test_word_tasks_refuse_a_frozen_source(tiny_model, tagged):
    from hfal import TokenClassification

    task = TokenClassification().resolve(tagged)
    with pytest.raises(HfalError, match="transfer with frozen_head is for rows with one label"):
        bound(FrozenHead(tiny_model), task).learn_source(tagged)


def test_similar_pairs_needs_pairs(tiny_model):
    assert parse("similar_pairs").needs.units == {"pair"}


def test_training_to_find_a_rare_class_goes_on_too(tiny_model):
    learner = bound(FineTune(tiny_model, TrainingConfig(num_train_epochs=1, min_steps=4, learning_rate=1e-7)), PAIRS)
    train = make_pairs(60)
    report, share = learner.fit(train), float(np.mean([label == PAIRS.sought for label in train["labels"]]))
    assert report.steps == 3 * 4 and report.details["epochs"] == 3
    assert report.details[GUESS] == pytest.approx(-(share * np.log(share) + (1 - share) * np.log(1 - share)), abs=1e-3)


def test_fine_tuning_puts_its_threshold_by_validation_rows(tiny_model):
    """The rare class overlaps with the other: with validation rows the decision is where F1 is best on them."""
    train, validation = make_pairs(60), make_pairs(80, seed=1)
    logits = {}
    for threshold in ("f1", None):
        learner = bound(FineTune(tiny_model, QUICK, threshold=threshold), PAIRS)
        learner.fit(train, validation)
        logits[threshold] = learner.signals(validation, Needs(pool={"logits"})).logits
    moved = logits["f1"] - logits[None]
    torch.testing.assert_close(moved, moved[:1].expand_as(moved), atol=1e-5, rtol=1e-4)  # the biases alone
    true = np.array(validation["labels"])
    plain = (logits[None][:, 1] - logits[None][:, 0]).numpy()
    best = max(f1_score(true, plain > cut - 1e-9) for cut in plain)
    assert f1_score(true, logits["f1"].argmax(1).numpy()) == pytest.approx(best)
