import pytest
import torch
from datasets import Dataset

from hfal import HfalError, Relations
from hfal.pool import content_keys

TASK = Relations(label_names=["Other", "Part", "Cause"], none="Other")


def test_words_are_counted_without_markers():
    assert TASK.lengths({"text": ["an <e1>array</e1> of <e2>big cells</e2>."]}) == [5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no marks at all", "has the marker <e1> 0 times"),
        ("<e1>a</e1> <e1>b</e1> <e2>c</e2>", "has the marker <e1> 2 times"),
        ("<e1> </e1> <e2>c</e2>", "has no words between <e1> and </e1>"),
        ("</e1>a<e1> <e2>c</e2>", "has no words between <e1> and </e1>"),
        ("", "is empty"),
    ],
)
def test_a_text_in_which_an_entity_is_not_marked_is_named(text, message):
    rows = Dataset.from_dict({"text": ["<e2>fine</e2> <e1>this</e1>", text]})
    with pytest.raises(HfalError, match=f"row 1: column 'text' {message}"):
        content_keys(rows, TASK)


def test_no_relation_is_left_out_of_the_mean():
    logits = torch.eye(3)[[0, 1, 2, 2]]
    found = TASK.metrics(logits, [0, 1, 2, 1])
    assert found["macro_f1"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    every = Relations(label_names=["Other", "Part", "Cause"]).metrics(logits, [0, 1, 2, 1])
    assert every["macro_f1"] == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)


@pytest.mark.parametrize("markers", [["a", "b", "c"], ["a", "b", "c", "c"], ["a", "b", "c", " "]])
def test_markers_are_four(markers):
    with pytest.raises(HfalError, match="markers must be four different texts"):
        Relations(markers=markers)


def test_the_label_of_no_relation_is_one_of_the_names():
    rows = Dataset.from_dict({"text": ["<e2>fine</e2> <e1>this</e1>"], "label": ["x"]})
    with pytest.raises(HfalError, match="none: 'Othr' is not one of Other, Part"):
        Relations(label_names=["Other", "Part"], none="Othr").resolve(rows)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        (
            "an <e1>array</e1> of <e2>cells</e2>.",
            [("an ", None), ("array", 1), (" of ", None), ("cells", 2), (".", None)],
        ),
        ("<e2>cells</e2><e1>array</e1>", [("cells", 2), ("array", 1)]),
    ],
)
def test_pieces_of_a_marked_text_say_which_entity_they_are(text, pieces):
    assert TASK.segments(text) == pieces
