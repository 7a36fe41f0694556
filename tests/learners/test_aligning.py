"""The loss that draws labelled and unlabelled rows together (WAAL)."""

import numpy as np
import pytest
import torch

from hfal import FineTune, TextClassification, TrainingConfig
from hfal.aligning import AlignedExamples
from hfal.pool import labelled
from tests.conftest import NAMES

TASK = TextClassification(label_names=NAMES)
CPU = torch.device("cpu")


@pytest.fixture
def setting(tiny_model, rows):
    """Labelled rows of two classes, unlabelled ones of the third, and a model trained on all three."""
    learner = FineTune(tiny_model, TrainingConfig(num_train_epochs=1, min_steps=150, learning_rate=1e-3))
    learner.bind(TASK, 0)
    learner.fit(labelled(rows, TASK))
    learner.config = TrainingConfig(waal=0.5)
    train = labelled(rows.filter(lambda row: row["label"] < 2).select(range(24)), TASK)
    others = rows.filter(lambda row: row["label"] == 2)
    examples = learner._examples(train, others)
    assert isinstance(examples, AlignedExamples) and examples.others == len(others)
    model = learner._model.eval()
    examples.prepare(model, 0, CPU)
    return learner, model, examples, train, others


def gap(examples, model, seed=1):
    """What the critic says lies between unlabelled and labelled rows, from the losses alone."""
    torch.manual_seed(seed)
    rows = np.arange(24)
    with_gap = examples.losses(model, TASK, rows, CPU, part=0)
    weight, examples.weight = examples.weight, 0.0
    torch.manual_seed(seed)
    plain = examples.losses(model, TASK, rows, CPU)
    examples.weight = weight
    each = (with_gap - plain) / weight
    torch.testing.assert_close(each, each.mean().expand(24), atol=1e-5, rtol=1e-4)  # the same share for each row
    return each.mean()


def test_the_losses_are_those_of_the_labels_and_the_distance(setting):
    learner, model, examples, train, _ = setting
    torch.manual_seed(1)
    with torch.no_grad():
        losses = examples.losses(model, TASK, np.arange(24), CPU)
        plain = learner._examples(train).losses(model, TASK, np.arange(24), CPU)
        apart = losses - plain
    torch.testing.assert_close(apart, apart.mean().expand(24), atol=1e-4, rtol=1e-3)
    assert float((apart.mean() / examples.weight - gap(examples, model)).abs()) < 1e-4


def test_the_critic_learns_to_tell_them_apart_and_the_model_to_hide_it(setting):
    _, model, examples, _, _ = setting
    with torch.no_grad():
        before = float(gap(examples, model))
    for step in range(150):
        with torch.no_grad():
            examples.losses(model, TASK, np.arange(24), CPU, part=0)
        examples.after_step(step)
    found = gap(examples, model)
    assert float(found) > before + 0.01
    optimizer = torch.optim.SGD(model.base_model.parameters(), lr=0.05)
    for _ in range(5):
        optimizer.zero_grad()
        gap(examples, model).backward()
        optimizer.step()
    assert float(gap(examples, model)) < float(found)


def test_a_learner_reads_unlabelled_rows_only_where_asked(tiny_model):
    assert FineTune(tiny_model, TrainingConfig(waal=0.1)).reads_unlabeled
    assert not FineTune(tiny_model, TrainingConfig()).reads_unlabeled
