from itertools import pairwise

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from hfal import Contrastive, HfalError, TextClassification, TokenClassification, TrainingConfig
from hfal.functional import label_pairs
from hfal.learners.base import outputs_of
from hfal.pool import labelled
from hfal.signals import Needs
from tests.conftest import NAMES, make_rows

TASK = TextClassification(label_names=NAMES)
FEATURES = Needs(pool=frozenset({"features"}))
CONFIG = TrainingConfig(num_train_epochs=1, min_steps=60, learning_rate=1e-3)


def bound(model, task=TASK, config=CONFIG, **options):
    learner = Contrastive(model, config, **options)
    learner.bind(task, 0)
    return learner


def test_pairs_are_of_one_class_and_of_two_and_bounded():
    labels = torch.tensor([0, 0, 1, 1, 1, 2])
    first, second, same = label_pairs(labels, 4, 1000, torch.Generator().manual_seed(0))
    assert torch.equal((labels[first] == labels[second]).float(), same) and bool((first != second).all())
    assert torch.bincount(first[same == 0]).tolist() == [4] * 6
    assert torch.bincount(first[same == 1], minlength=6).tolist() == [4] * 5 + [0], "the only row of its class"
    sizes = [
        len(label_pairs(torch.arange(n) % 3, 20, 60, torch.Generator().manual_seed(0))[0]) for n in (6, 15, 40, 900)
    ]
    assert max(sizes) <= 60 and all(b >= a or b > 40 for a, b in pairwise(sizes))
    assert set(label_pairs(torch.zeros(5, dtype=torch.int64), 2, 100, torch.Generator())[2].tolist()) == {1.0}


def test_rows_of_one_class_come_together_and_the_head_is_on_them(tiny_model, rows, tmp_path):
    train, test = labelled(rows.select(range(60)), TASK), labelled(make_rows(60, seed=4), TASK)
    learner = bound(tiny_model, most_pairs=600)
    labels = torch.as_tensor(train["labels"])
    alike = labels[:, None] == labels

    def gap():
        found = learner.signals(train, FEATURES).get("features")
        cosine = found @ found.T
        return float(cosine[alike].mean() - cosine[~alike].mean())

    learner.fit(train.select(range(3)))
    before = gap()
    report = learner.fit(train)
    assert report.details["pairs"] == 600 and gap() > before + 0.05
    assert learner.evaluate(train)["accuracy"] > 0.9
    learner.save(tmp_path)
    other = bound(tiny_model)
    other.load(tmp_path)
    torch.testing.assert_close(outputs_of(other, TASK, test).logits, outputs_of(learner, TASK, test).logits)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    batch = learner.tokens.get(test).padded(0)
    with torch.no_grad():
        torch.testing.assert_close(plain(**batch).logits, outputs_of(learner, TASK, test).logits, atol=1e-4, rtol=1e-3)
    again = bound(tiny_model, most_pairs=600)
    again.fit(train)
    torch.testing.assert_close(outputs_of(again, TASK, test).logits, outputs_of(learner, TASK, test).logits)


def test_one_class_alone_and_one_row_alone_train_too(tiny_model, rows):
    for size in (1, 2):
        train = labelled(rows, TASK)
        alone = train.select(np.flatnonzero(np.array(train["labels"]) == 0)[:size])
        learner = bound(tiny_model, config=CONFIG.model_copy(update={"min_steps": 1}))
        learner.fit(alone)
        assert bool(outputs_of(learner, TASK, rows).logits.isfinite().all())


def test_what_it_does_not_do_is_told(tiny_model):
    for task, config, message in (
        (TokenClassification(label_names=["O", "B-x", "I-x"]), CONFIG, "one label each"),
        (TASK, TrainingConfig(waal=0.1), "do not go with contrastive"),
    ):
        with pytest.raises(HfalError, match=message):
            bound(tiny_model, task, config)
    with pytest.raises(HfalError, match="most_pairs"):
        Contrastive(tiny_model, most_pairs=0)
