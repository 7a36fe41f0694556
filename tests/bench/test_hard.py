"""Pools made harder, against what was asked of them."""

import numpy as np
import pytest

from hfal import HfalError, Pool, TextClassification, TokenClassification
from hfal.bench.config import Hard
from hfal.bench.hard import harder
from tests.conftest import NAMES, make_rows, make_tagged

TASK = TextClassification(label_names=NAMES)


def made(rows, **how):
    return harder(rows, TASK, Hard(**how), seed=0)


def labels_of(rows):
    return np.array([NAMES.index(name) for name in rows["label"]])


def test_classes_are_as_rare_as_asked():
    rows = make_rows(900)
    sizes = np.bincount(labels_of(made(rows, imbalance=16.0)))
    assert sizes[0] / sizes[2] == pytest.approx(16, rel=0.1) and sizes[0] / sizes[1] == pytest.approx(4, rel=0.05)
    assert (np.bincount(labels_of(made(make_rows(60), imbalance=1000.0))) >= 2).all()


def test_a_share_of_the_labels_is_wrong_and_all_else_is_as_it_was():
    rows = make_rows(500)
    found = made(rows, noise=0.2)
    assert found["text"] == rows["text"]
    assert (labels_of(found) != np.array(rows["label"])).sum() == 100


def test_copies_differ_by_a_word_and_keep_their_label():
    rows = make_rows(300)
    found = made(rows, duplicates=0.4)
    assert len(found) == 500
    truth = {text: NAMES[label] for text, label in zip(rows["text"], rows["label"], strict=True)}
    for row in found.select(range(300, 500)):
        near = [text for text in truth if text.split()[-1] in row["text"] or row["text"].split()[-1] in text]
        assert any(
            abs(len(text.split()) - len(row["text"].split())) == 1 and truth[text] == row["label"] for text in near
        )
    assert len(Pool.from_dataset(found, TASK)) >= 480


def test_long_texts_are_rarer():
    rows = make_rows(2000)
    lengths = np.array([len(text.split()) for text in made(rows, shift=1.0)["text"]])
    before = np.array([len(text.split()) for text in rows["text"]])
    assert 0.4 < len(lengths) / len(before) < 0.6
    assert (lengths >= 12).mean() < 0.4 * (before >= 12).mean()


def test_the_same_seed_gives_the_same_pool():
    rows = make_rows(200)
    how = {"imbalance": 5.0, "noise": 0.1, "duplicates": 0.2, "shift": 0.5}
    assert made(rows, **how).to_dict() == made(rows, **how).to_dict()
    assert made(rows, **how).to_dict() != harder(rows, TASK, Hard(**how), seed=1).to_dict()


def test_words_have_no_harder_pool():
    rows = make_tagged(20)
    with pytest.raises(HfalError, match="which token_classification does not have"):
        harder(rows, TokenClassification().resolve(rows), Hard(noise=0.1), 0)
