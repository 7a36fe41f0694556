import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, List, Value
from sklearn.metrics import accuracy_score, f1_score

from hfal import HfalError, TextClassification

NAMES = ["negative", "neutral", "positive"]
TASK = TextClassification(label_names=NAMES)
MANY = TextClassification(label_names=NAMES, multi_label=True)


def test_label_names_come_from_the_data():
    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    assert TextClassification().resolve(Dataset.from_dict({"text": ["a"], "label": [1]}, features=features)).names == (
        "no",
        "yes",
    )
    found = TextClassification().resolve(Dataset.from_dict({"text": ["a", "b"], "label": ["spam", "ham"]}))
    assert found.names == ("ham", "spam")
    numbers = TextClassification().resolve(Dataset.from_dict({"text": list("abc"), "label": [10, 2, 10]}))
    assert numbers.names == ("2", "10")
    assert numbers.encode(10, "row 0") == 1
    lists = Dataset.from_dict({"text": ["a", "b"], "label": [["x", "y"], []]})
    assert TextClassification(multi_label=True).resolve(lists).names == ("x", "y")
    inside = Features({"text": Value("string"), "label": List(ClassLabel(names=["p", "q"]))})
    data = Dataset.from_dict({"text": ["a"], "label": [[1]]}, features=inside)
    assert TextClassification(multi_label=True).resolve(data).names == ("p", "q")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0.5, 1.5], "fractions"),
        (["one", "one"], "1 different labels"),
        ([None, None], "0 different labels"),
    ],
)
def test_columns_that_are_no_labels_are_refused(labels, message):
    with pytest.raises(HfalError, match=message):
        TextClassification().resolve(Dataset.from_dict({"text": ["a", "b"], "label": labels}))


def test_a_missing_label_column_asks_for_label_names():
    with pytest.raises(HfalError, match="give label_names"):
        TextClassification().resolve(Dataset.from_dict({"text": ["a"]}))
    with pytest.raises(HfalError, match="at least two classes"):
        TextClassification(label_names=["one"])
    with pytest.raises(HfalError, match="'a' is given more than once"):
        TextClassification(label_names=["a", "a"])
    with pytest.raises(HfalError, match="list of names"):
        TextClassification(label_names="abc")


def test_labels_are_encoded_from_names_and_indices():
    assert [TASK.encode(label, "row 0") for label in ("neutral", 2, np.int64(0))] == [1, 2, 0]
    assert MANY.encode(["positive", 0, "positive"], "row 0") == [0, 2]
    assert MANY.decode([0, 2]) == ["negative", "positive"]
    assert MANY.encode([], "row 0") == []


@pytest.mark.parametrize("label", [3, -1, "Positive!", None, 1.0, True, ["neutral"]])
def test_other_labels_are_refused_with_their_row(label):
    with pytest.raises(HfalError, match="row 17 of labels.jsonl is not one of negative, neutral, positive"):
        TASK.encode(label, "row 17 of labels.jsonl")


def test_the_nearest_name_is_offered():
    with pytest.raises(HfalError, match=r"\(did you mean 'positive'\?\)"):
        TASK.encode("positve", "row 17")
    with pytest.raises(HfalError, match="is not a list of labels"):
        MANY.encode("positive", "row 2")


def test_metrics_equal_scikit_learn():
    torch.manual_seed(0)
    logits, true = torch.randn(50, 3), torch.randint(3, (50,)).tolist()
    guess = logits.argmax(1).tolist()
    found = TASK.metrics(logits, true)
    assert found["accuracy"] == pytest.approx(accuracy_score(true, guess))
    assert found["macro_f1"] == pytest.approx(f1_score(true, guess, average="macro"))
    assert found["per_class"]["neutral"]["support"] == true.count(1)


def test_a_class_that_the_test_rows_lack_is_left_out_of_the_mean():
    logits = torch.tensor([[5.0, 0, 0], [0, 5.0, 0]])
    assert TASK.metrics(logits, [0, 1])["macro_f1"] == 1.0


def test_multi_label_metrics_and_targets():
    logits = torch.tensor([[5.0, -5, 5], [-5, -5, -5], [5, -5, -5]])
    assert MANY.predict(logits)[0] == [[0, 2], [], [0]]
    found = MANY.metrics(logits, [[0, 2], [], [1]])
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["micro_f1"] == pytest.approx(f1_score([1, 0, 1, 0, 0, 0, 0, 1, 0], [1, 0, 1, 0, 0, 0, 1, 0, 0]))
    assert MANY.targets([[0, 2], []]).tolist() == [[1, 0, 1], [0, 0, 0]]


def test_losses_equal_torch_and_smoothing_moves_them():
    torch.manual_seed(1)
    logits, targets = torch.randn(6, 3), torch.randint(3, (6,))
    expected = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    torch.testing.assert_close(TASK.loss(logits, targets, None, 0.0), expected)
    assert not torch.allclose(TASK.loss(logits, targets, None, 0.2), expected)
    several = torch.randint(2, (6, 3)).float()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, several, reduction="none").mean(1)
    torch.testing.assert_close(MANY.loss(logits, several, None, 0.0), expected)
