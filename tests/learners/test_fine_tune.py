import json

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from hfal import (
    FineTune,
    FrozenHead,
    Generation,
    HfalError,
    Pairs,
    QuestionAnswering,
    Relations,
    TextClassification,
    TokenClassification,
    TrainingConfig,
)
from hfal.examples import Examples
from hfal.pool import labelled, with_labels
from hfal.signals import Needs
from hfal.tasks.base import one_of_several
from hfal.training import _class_weights, _linear, loss_of_a_guess, train
from hfal.training_config import GUESS
from tests.conftest import NAMES, save_tiny_model

TASK = TextClassification(label_names=NAMES)
LOGITS = Needs(pool=frozenset({"logits"}))
QUICK = TrainingConfig(num_train_epochs=1, min_steps=12, learning_rate=5e-3, max_cycles=1)


def bound(model, config=QUICK, task=TASK, cache=None, **options):
    learner = FineTune(model, config, **options)
    learner.bind(task, 0, cache)
    return learner


def test_it_learns_and_the_same_seed_gives_the_same_model(tiny_model, rows, test_rows):
    config = TrainingConfig(num_train_epochs=4, min_steps=150, learning_rate=3e-3)
    learner = bound(tiny_model, config)
    report = learner.fit(labelled(rows, TASK))
    assert report.steps >= 150
    assert learner.evaluate(labelled(test_rows, TASK))["accuracy"] > 0.6
    first = learner.signals(test_rows, LOGITS).get("logits")
    again = bound(tiny_model, config)
    again.fit(labelled(rows, TASK))
    assert torch.equal(again.signals(test_rows, LOGITS).get("logits"), first)


def test_each_fit_starts_again_from_the_pretrained_weights(tiny_model, rows, test_rows):
    learner = bound(tiny_model)
    learner.fit(labelled(rows.select(range(20)), TASK))
    learner.fit(labelled(rows, TASK))
    once = bound(tiny_model)
    once.fit(labelled(rows, TASK))
    assert torch.equal(learner.signals(test_rows, LOGITS).get("logits"), once.signals(test_rows, LOGITS).get("logits"))


def test_few_labels_do_not_mean_few_steps(tiny_model, rows):
    learner = bound(tiny_model, TrainingConfig(num_train_epochs=2, min_steps=40, max_cycles=1))
    report = learner.fit(labelled(rows.select(range(10)), TASK))
    assert report.steps == 40
    config = TrainingConfig(num_train_epochs=7, min_steps=1, max_cycles=1)
    many = bound(tiny_model, config).fit(labelled(rows, TASK))
    assert many.steps == 7 * 8  # 120 rows in steps of 16


def test_training_goes_on_until_it_has_converged(tiny_model, rows):
    few = labelled(rows.select(range(16)), TASK)
    slow, fast = {"learning_rate": 1e-7}, {"learning_rate": 5e-3}
    for cycles in (1, 3):
        config = TrainingConfig(num_train_epochs=1, min_steps=5, max_cycles=cycles, **slow)
        report = bound(tiny_model, config).fit(few)
        assert (report.steps, report.details["epochs"]) == (5 * cycles, 5 * cycles) and report.loss > 1
    at_once = bound(tiny_model, TrainingConfig(min_steps=60, max_cycles=3, **fast)).fit(few)
    assert at_once.steps == 60 and at_once.loss < 0.1
    longer = bound(tiny_model, TrainingConfig(min_steps=8, max_cycles=9, **fast)).fit(few)
    assert 8 < longer.steps < 72 and longer.steps % 8 == 0 and longer.loss < 0.25 * np.log(3)


def test_training_that_memory_does_not_hold_says_what_to_lower(tiny_model, rows, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Examples, "losses", full)
    with pytest.raises(HfalError, match=r"training of 8 rows at once: lower .*per_device_train_batch_size"):
        bound(tiny_model, TrainingConfig(per_device_train_batch_size=8)).fit(labelled(rows, TASK))


def test_another_cycle_begins_at_the_peak_of_the_rate():
    factor = _linear(10, 0.2)
    assert [factor(10 + step) for step in range(10)] == [factor(step) for step in range(10)]
    assert factor(2) == 1 and factor(9) < factor(3)


def test_rows_that_count_less_make_the_loss_of_a_guess_smaller(tiny_model, rows):
    few, config = labelled(rows.select(range(16)), TASK), TrainingConfig(num_train_epochs=1, min_steps=1)
    report = bound(tiny_model, config)._fit(few, np.full(16, 0.5, dtype=np.float32), None, None, None)
    assert report.details[GUESS] == pytest.approx(np.log(3) / 2, abs=1e-3)
    assert bound(tiny_model, config).fit(few).details[GUESS] == pytest.approx(np.log(3), abs=1e-3)


def test_a_guess_knows_how_frequent_classes_are_where_they_are_not_balanced(rows):
    labels = torch.tensor([0] * 6 + [2] * 2)
    ones, light = np.ones(8, dtype=np.float32), np.array([1] * 6 + [0.5] * 2, dtype=np.float32)
    plain = TrainingConfig(class_weights=None)
    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    assert loss_of_a_guess(plain, TASK, labels, ones) == pytest.approx(entropy)
    expected = -(6 * np.log(6 / 7) + np.log(1 / 7)) / 8  # the second class counts as one row of seven
    assert loss_of_a_guess(plain, TASK, labels, light) == pytest.approx(expected, abs=1e-6)
    assert loss_of_a_guess(TrainingConfig(), TASK, labels, ones) == pytest.approx(np.log(3))
    assert loss_of_a_guess(plain, TASK, labels[:6], ones[:6]) is None


def test_easy_rows_first_goes_on_too_once_all_of_them_count(tiny_model, rows):
    config = TrainingConfig(num_train_epochs=1, min_steps=5, learning_rate=1e-7, self_paced=0.5)
    assert bound(tiny_model, config).fit(labelled(rows.select(range(16)), TASK)).steps == 15


def test_losses_that_are_not_of_one_label_a_row_take_one_cycle(tiny_model, rows):
    config = TrainingConfig(num_train_epochs=1, min_steps=5, learning_rate=1e-7, label_smoothing=0.1)
    assert bound(tiny_model, config).fit(labelled(rows.select(range(16)), TASK)).steps == 5


def test_signals_are_what_transformers_computes(tiny_model, rows):
    learner = bound(tiny_model)
    learner.fit(labelled(rows, TASK))
    fields = Needs(pool=frozenset({"logits", "embeddings", "features"}))
    found = learner.signals(rows, fields)
    batch = AutoTokenizer.from_pretrained(tiny_model)(rows["text"][:], padding=True, return_tensors="pt")
    with torch.no_grad():
        out = learner.model(**batch, output_hidden_states=True)
        pooled = learner.model.bert.pooler(out.hidden_states[-1])
    mask = batch["attention_mask"][..., None]
    torch.testing.assert_close(found.get("logits"), out.logits, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.get("features"), pooled, atol=1e-5, rtol=1e-4)
    mean = (out.hidden_states[-1] * mask).sum(1) / mask.sum(1)
    torch.testing.assert_close(found.get("embeddings"), normalize(mean), atol=1e-5, rtol=1e-4)


def test_saved_models_load_with_plain_transformers_and_resume(tiny_model, rows, tmp_path):
    learner = bound(tiny_model)
    learner.fit(labelled(rows, TASK))
    learner.save(tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").exists()
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    assert loaded.config.label2id == {name: i for i, name in enumerate(NAMES)}
    fresh = bound(tiny_model)
    fresh.load(tmp_path / "model")
    assert torch.equal(fresh.signals(rows, LOGITS).get("logits"), learner.signals(rows, LOGITS).get("logits"))


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_model(tiny_model, rows):
    learner = bound(tiny_model)
    learner.fit(labelled(rows, TASK))
    before = learner.signals(rows, LOGITS).get("logits")
    learner.config = TrainingConfig(learning_rate=1e30, max_grad_norm=0, min_steps=30)
    with pytest.raises(HfalError, match="training loss is nan at step"):
        learner.fit(labelled(rows, TASK))
    assert torch.equal(learner.signals(rows, LOGITS).get("logits"), before)


def test_the_global_random_state_is_left_alone(tiny_model, rows):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    learner = bound(tiny_model)
    learner.fit(labelled(rows.select(range(20)), TASK))
    learner.signals(rows, Needs(pool=frozenset({"mc_logits"}), mc_samples=2))
    assert torch.equal(torch.rand(3), expected)


def test_micro_batches_sum_to_the_gradient_of_the_whole_step(tiny_model, rows):
    """Without dropout, cutting a step into 1, 2 or 4 pieces trains the same model."""
    results = []
    for pieces in (1, 2, 4):
        learner = bound(
            tiny_model,
            TrainingConfig(
                per_device_train_batch_size=16 // pieces,
                gradient_accumulation_steps=pieces,
                min_steps=10,
                num_train_epochs=1,
            ),
        )
        fresh = learner._fresh
        learner._fresh = lambda rows=0, fresh=fresh: _without_dropout(fresh(rows))
        learner.fit(labelled(rows, TASK))
        results.append(learner.signals(rows, LOGITS).get("logits"))
    torch.testing.assert_close(results[0], results[1], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(results[0], results[2], atol=1e-4, rtol=1e-3)


def _without_dropout(model):
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def test_the_best_epoch_on_validation_rows_is_kept_and_patience_ends_training(tiny_model, rows, test_rows):
    config = TrainingConfig(num_train_epochs=60, min_steps=1, learning_rate=2e-2, early_stopping_patience=2)
    learner = bound(tiny_model, config)
    report = learner.fit(labelled(rows.select(range(48)), TASK), labelled(test_rows, TASK))
    assert report.details["epochs"] < 60
    assert report.details["best_epoch"] == report.details["epochs"] - 2
    kept = TASK.loss(
        learner.signals(test_rows, LOGITS).get("logits"), torch.tensor(test_rows["label"][:]), None, 0.0
    ).mean()
    assert float(kept) == pytest.approx(report.details["validation_loss"], rel=1e-3)


def test_trackers_write_through_accelerate(tiny_model, rows, tmp_path):
    learner = bound(
        tiny_model,
        TrainingConfig(min_steps=3, num_train_epochs=1, log_with="tensorboard"),
        cache=tmp_path / "cache",
    )
    learner.fit(labelled(rows.select(range(20)), TASK))
    assert list((tmp_path / "logs").rglob("events.out.tfevents*"))


def test_bf16_trains_where_asked(tiny_model, rows):
    learner = bound(tiny_model, TrainingConfig(min_steps=5, num_train_epochs=1, mixed_precision="bf16", max_cycles=1))
    report = learner.fit(labelled(rows.select(range(40)), TASK))
    assert np.isfinite(report.loss)
    assert learner.signals(rows, LOGITS).get("logits").dtype == torch.float32
    assert bound(tiny_model).fit(labelled(rows.select(range(40)), TASK)).steps == 12  # and no trace is left


def test_multi_label_training(tiny_model, rows):
    task = TextClassification(label_names=NAMES, multi_label=True)
    train_rows = with_labels(rows.select_columns(["text"]), [[label] for label in rows["label"]])
    learner = bound(tiny_model, TrainingConfig(min_steps=150, learning_rate=3e-3, class_weights="balanced"), task)
    learner.fit(train_rows)
    assert learner.evaluate(train_rows)["micro_f1"] > 0.6
    assert learner.model.config.problem_type == "multi_label_classification"


def test_class_weights_have_mean_one_over_the_rows():
    targets = torch.tensor([0] * 8 + [2] * 2)
    weights = _class_weights(TASK, targets, torch.device("cpu"))
    assert weights.tolist() == pytest.approx([10 / 16, 1.0, 10 / 4])


def test_classes_are_balanced_where_nothing_else_is_said(tiny_model, rows):
    few = labelled(rows.select([at for at, label in enumerate(rows["label"]) if label or at < 30]), TASK)
    ways = ("auto", "balanced", None)
    learners = [bound(tiny_model, QUICK.model_copy(update={"class_weights": way})) for way in ways]
    auto, balanced, none = (learner.fit(few).loss for learner in learners)
    assert auto == balanced != none
    assert bound(tiny_model).config.class_weights == "auto"


@pytest.mark.parametrize(
    ("task", "balanced"),
    [
        (TextClassification(label_names=NAMES), True),
        (TextClassification(label_names=NAMES, multi_label=True), False),
        (Relations(label_names=NAMES), True),
        (Pairs(label_names=["no", "yes"]), False),
        (TokenClassification(label_names=["O", "B-X"]), False),
        (Generation(), False),
        (QuestionAnswering(), False),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_classes_are_balanced_where_all_matter_alike(task, balanced):
    assert one_of_several(task) is balanced


def test_the_schedule_rises_and_falls():
    factor = _linear(100, 0.1)
    values = [factor(step) for step in range(100)]
    assert values[0] < values[5] < values[10] == 1.0
    assert values[-1] == pytest.approx(1 / 90)
    assert min(values) > 0


def test_before_the_first_labels_embeddings_can_be_had(tiny_model, rows):
    learner = bound(tiny_model)
    assert learner.signals(rows, Needs(pool=frozenset({"embeddings"}))).get("embeddings").shape == (120, 32)
    with pytest.raises(HfalError, match="before the first labels"):
        learner.signals(rows, LOGITS)
    with pytest.raises(HfalError, match="no model has been trained"):
        _ = learner.model


def test_models_that_cannot_be_loaded_are_told_in_one_line(tmp_path, tiny_model):
    with pytest.raises(HfalError, match="there is no folder"):
        bound(str(tmp_path / "nowhere"))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(HfalError, match=r"has no config\.json"):
        bound(str(empty))
    (empty / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(HfalError, match="has no weights"):
        bound(str(empty))
    (empty / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(HfalError, match="pickled, which is not safe"):
        bound(str(empty))
    without_pad = str(save_tiny_model(tmp_path / "nopad", pad_token=None))
    with pytest.raises(HfalError, match=r"has no pad token: name one with learner\.pad_token"):
        bound(without_pad)
    assert bound(without_pad, pad_token="[UNK]").tokenizer.pad_token == "[UNK]"
    with pytest.raises(HfalError, match="not in the vocabulary"):
        bound(without_pad, pad_token="<nothing>")


def test_train_needs_no_more_than_one_row(tiny_model, rows):
    learner = bound(tiny_model)
    model, report = train(
        learner._fresh(),
        TASK,
        Examples(learner.tokens.get(rows.select([0])), torch.tensor([2]), pad_id=0),
        TrainingConfig(min_steps=2, num_train_epochs=1),
        seed=0,
    )
    assert report.steps == 2 and not model.training


def test_seed_sets_are_the_same_whichever_learner_looks(tiny_model, rows):
    fields = Needs(pool=frozenset({"embeddings"}))
    frozen = FrozenHead(tiny_model)
    frozen.bind(TASK, 0)
    ours, theirs = (learner.signals(rows, fields).get("embeddings") for learner in (bound(tiny_model), frozen))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_pooling_is_what_was_asked_before_the_first_labels_too(tiny_model, rows):
    fields = Needs(pool=frozenset({"embeddings"}))
    found = bound(tiny_model, pooling="cls").signals(rows, fields).get("embeddings")
    batch = AutoTokenizer.from_pretrained(tiny_model)(rows["text"][:], padding=True, return_tensors="pt")
    with torch.no_grad():
        states = AutoModelForSequenceClassification.from_pretrained(tiny_model).base_model(**batch)[0]
    assert torch.allclose(found, normalize(states[:, 0]), atol=1e-5)


def test_the_last_epochs_are_a_committee_that_is_saved(tiny_model, rows, tmp_path):
    """Its samples are the logits of the models of those epochs, also after the model was loaded."""
    config = TrainingConfig(num_train_epochs=4, min_steps=1, learning_rate=1e-3, save_total_limit=3, max_cycles=1)
    learner = FineTune(tiny_model, config)
    learner.bind(TASK, 0)
    learner.fit(labelled(rows.select(range(30)), TASK))
    part = rows.select(range(40, 50))
    needs = Needs(pool=frozenset({"logits", "mc_logits"}), mc_samples=20, mc_layers="checkpoints")
    found = learner.signals(part, needs)
    samples = found.get("mc_logits")
    assert samples.shape == (3, 10, 3)
    torch.testing.assert_close(samples[-1], found.get("logits"), rtol=1e-4, atol=1e-5)
    assert float((samples[0] - samples[1]).abs().max()) > 1e-3
    learner.save(tmp_path)
    loaded = FineTune(tiny_model, config)
    loaded.bind(TASK, 0)
    loaded.load(tmp_path)
    torch.testing.assert_close(loaded.signals(part, needs).get("mc_logits"), samples)
    few = bound(tiny_model)
    few.fit(labelled(rows.select(range(30)), TASK))
    with pytest.raises(HfalError, match="set learner.training.save_total_limit"):
        few.signals(part, needs)


def test_a_frozen_head_has_no_checkpoints(tiny_model, rows):
    learner = FrozenHead(tiny_model)
    learner.bind(TASK, 0)
    learner.fit(labelled(rows.select(range(30)), TASK))
    with pytest.raises(HfalError, match="needs learner.type: fine_tune"):
        learner.signals(rows, Needs(pool=frozenset({"mc_logits"}), mc_samples=5, mc_layers="checkpoints"))


def test_aligned_training_is_for_rows(tiny_model):
    with pytest.raises(HfalError, match="do not go with tags of words"):
        bound(tiny_model, TrainingConfig(waal=0.1), TokenClassification(label_names=["O", "B-x", "I-x"]))
