"""Rows that are measured on: refused where they can measure nothing."""

import pytest
from datasets import Dataset

from hfal import HfalError, Pairs, Pool, TextClassification, TokenClassification
from hfal.apart import held_out
from tests.conftest import make_rows, make_tagged


def pairs(labels):
    columns = {"left": [f"a {at}" for at in range(len(labels))], "right": [f"b {at}" for at in range(len(labels))]}
    return Dataset.from_dict(columns | {"label": labels})


def test_a_test_set_without_a_pair_that_is_looked_for_is_refused():
    pool = Pool.from_dataset(pairs([0, 1, 0, 1]), Pairs(label_names=["different", "same"]))
    with pytest.raises(HfalError, match="test: there is no pair of 'same' in its 3 rows: every score would be 0"):
        held_out(pairs([0, 0, 0]), pool, "test")
    assert len(held_out(pairs([0, 0, 1]), pool, "test")) == 3
    neutral = Pool.from_dataset(pairs([0, 1, 2]), Pairs(label_names=["no", "yes", "maybe"]))
    assert len(held_out(pairs([0, 0, 0]), neutral, "test")) == 3, "three classes are looked for alike"


def test_a_test_set_without_an_entity_is_refused():
    pool = Pool.from_dataset(make_tagged(20), TokenClassification())
    rows = make_tagged(3, 1).map(lambda row: {"ner_tags": [0] * len(row["tokens"])})
    with pytest.raises(HfalError, match="validation: there is no entity in its 3 rows"):
        held_out(rows, pool, "validation")


def test_texts_of_one_class_can_be_measured_on():
    pool = Pool.from_dataset(make_rows(30), TextClassification())
    one = make_rows(60, 1).filter(lambda row: row["label"] == 0)
    assert len(held_out(one, pool, "test")) == len(one)
