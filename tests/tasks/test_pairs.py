import numpy as np
import pytest
import torch
from datasets import Dataset
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

from hfal import HfalError, Pairs, Pool
from hfal.pool import content_keys, drop_empty

ROWS = Dataset.from_dict(
    {"left": ["a b", "a", "a b", "c"], "right": ["c", "b c", "c", "a b"], "label": ["no", "yes", "no", "no"]}
)
TASK = Pairs(label_names=["no", "yes"])


def test_a_pair_is_known_by_both_texts_in_their_order():
    keys = content_keys(ROWS, TASK)
    assert keys[0] == keys[2]
    assert len({key.tobytes() for key in keys}) == 3  # neither "a b" + "c" and "a" + "b c" nor swapped sides are one
    assert Pool.from_dataset(ROWS, Pairs()).duplicates == 1


def test_words_of_both_sides_are_counted():
    assert TASK.lengths(ROWS[:2]) == [3, 3]


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        (["x", " "], ["y", "z"], "row 1: column 'left' is empty"),
        (["x", "y"], ["z", None], r"row 1: column 'right' is missing \(None\)"),
    ],
)
def test_a_pair_that_lacks_a_side_is_named(left, right, message, caplog):
    rows = Dataset.from_dict({"left": left, "right": right})
    with pytest.raises(HfalError, match=message):
        content_keys(rows, TASK)
    assert len(drop_empty(rows, TASK)) == 1


def test_scores_are_those_of_the_class_that_is_looked_for():
    torch.manual_seed(0)
    logits, true = torch.randn(80, 2), (torch.rand(80) < 0.3).long().tolist()
    guess = logits.argmax(1).tolist()
    found = TASK.metrics(logits, true)
    assert TASK.main_metric == "f1" and next(iter(found)) == "f1"
    assert found["f1"] == pytest.approx(f1_score(true, guess))
    assert found["precision"] == pytest.approx(precision_score(true, guess))
    assert found["recall"] == pytest.approx(recall_score(true, guess))
    sure = torch.softmax(logits, 1)[:, 1].numpy()
    assert found["average_precision"] == pytest.approx(average_precision_score(true, sure))
    other = Pairs(label_names=["no", "yes"], positive="no").metrics(logits, true)
    assert other["f1"] == pytest.approx(f1_score(true, guess, pos_label=0))


def test_what_a_row_adds_to_f1_adds_up_to_it():
    torch.manual_seed(1)
    logits, true = torch.randn(80, 2), (torch.rand(80) < 0.3).long().tolist()
    tally = TASK.tally(logits, true)
    assert tally[:, 0].sum() / tally[:, 1].sum() == pytest.approx(TASK.metrics(logits, true)["f1"])


def test_with_three_classes_all_count():
    task = Pairs(label_names=["entails", "neutral", "contradicts"])
    assert (task.main_metric, task.sought, task.tallied) == ("macro_f1", None, "accuracy")
    assert "f1" not in task.metrics(torch.eye(3), [0, 1, 2])


def test_no_row_of_the_class_is_no_score_of_ranking():
    found = TASK.metrics(torch.randn(4, 2), [0, 0, 0, 0])
    assert "average_precision" not in found and np.isfinite(found["f1"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Pairs("a", "a"), "a pair has two"),
        (lambda: Pairs(positive="same").resolve(ROWS), "positive: 'same' is not one of no, yes"),
        (lambda: Pairs("links").resolve(ROWS), "no column 'links'"),
        (lambda: Pairs().resolve(Dataset.from_dict({"left": ["a"], "right": [[1]], "label": [1]})), "must hold text"),
    ],
)
def test_other_columns_are_refused(make, message):
    with pytest.raises(HfalError, match=message):
        make()
