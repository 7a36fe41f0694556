import numpy as np
import pytest

from hfal.agreement import agreement, labels_of, resolved, units
from hfal.answers import Answer
from hfal.tasks import TextClassification, TokenClassification

NAMES = ["bad", "fine", "good"]


@pytest.fixture
def task():
    return TextClassification(label_names=NAMES)


@pytest.fixture
def multi():
    return TextClassification(label_names=NAMES, multi_label=True)


@pytest.fixture
def words():
    return TokenClassification(label_names=["O", "B-x", "I-x"])


def many(seed, rows=60, people=("a", "b", "c"), wrong=(0.1, 0.2, 0.5)):
    rng = np.random.default_rng(seed)
    truth = {f"r{at}": NAMES[rng.integers(3)] for at in range(rows)}
    labels = {
        row: {who: name if rng.random() > p else NAMES[rng.integers(3)] for who, p in zip(people, wrong, strict=True)}
        for row, name in truth.items()
    }
    return truth, labels


def test_skipped_rows_have_no_label():
    said = {
        "r": {"a": Answer("r", "a", "bad"), "b": Answer("r", "b", skipped=True)},
        "s": {"a": Answer("s", "a", skipped=True)},
    }
    assert labels_of(said) == {"r": {"a": "bad"}}


def test_units_are_what_people_can_differ_in(task, multi, words):
    assert units(task, "bad") == ["bad"]
    assert units(multi, ["bad", "good"]) == ["yes", "no", "yes"]
    assert units(words, ["O", "B-x"]) == ["O", "B-x"]


def test_majority_counts_and_ties_go_to_those_who_agree_with_the_others(task):
    labels = {
        "r": {"a": "bad", "b": "bad", "c": "good"},
        "s": {"a": "bad", "b": "bad", "c": "fine"},
        "t": {"b": "good", "c": "fine"},  # a tie: c is alone everywhere else
    }
    assert resolved(labels, task) == {"r": "bad", "s": "bad", "t": "good"}


def test_majority_decides_each_class_of_several(multi):
    labels = {"r": {"a": ["bad", "fine"], "b": ["fine"], "c": ["fine", "good"]}}
    assert resolved(labels, multi) == {"r": ["fine"]}


def test_words_are_decided_one_by_one_and_what_is_illegal_goes_to_the_nearest_person(words):
    legal = {"r": {"a": ["B-x", "I-x", "O"], "b": ["B-x", "I-x", "O"], "c": ["O", "O", "O"]}}
    assert resolved(legal, words) == {"r": ["B-x", "I-x", "O"]}
    labels = {
        "r": {"a": ["B-x", "I-x", "I-x"], "b": ["O", "B-x", "I-x"], "c": ["O", "O", "O"]},
        "s": {"a": ["O"], "b": ["O"], "c": ["B-x"]},
    }  # word by word: O, (tie), I-x: which is no legal sequence whatever the tie
    assert resolved(labels, words)["r"] == ["O", "B-x", "I-x"]


@pytest.mark.parametrize("how", ["majority", "dawid_skene"])
def test_the_order_of_people_and_rows_does_not_matter(task, how):
    truth, labels = many(0)
    other = {row: dict(reversed(people.items())) for row, people in reversed(labels.items())}
    found = resolved(labels, task, how)
    assert found == resolved(other, task, how)
    assert np.mean([found[row] == name for row, name in truth.items()]) > 0.85


def test_dawid_skene_learns_whom_to_believe(task):
    truth, labels = many(1, 400, tuple("abcde"), (0.02, 0.6, 0.6, 0.6, 0.6))
    score = {}
    for how in ("majority", "dawid_skene"):
        found = resolved(labels, task, how)
        score[how] = np.mean([found[row] == name for row, name in truth.items()])
    assert score["dawid_skene"] > score["majority"]


def test_agreement_is_that_of_the_definitions(task):
    """Against the formulas: Cohen 1960, Fleiss 1971, Krippendorff's nominal alpha for complete data."""
    _, labels = many(2)
    table = np.array([[NAMES.index(people[who]) for who in "abc"] for people in labels.values()])
    found = agreement(labels, task)
    assert found["rows"] == 60
    pairs = [(0, 1), (0, 2), (1, 2)]
    assert found["share"] == pytest.approx(np.mean([(table[:, i] == table[:, j]).mean() for i, j in pairs]))
    for i, j in pairs:
        same = (table[:, i] == table[:, j]).mean()
        chance = sum((table[:, i] == k).mean() * (table[:, j] == k).mean() for k in range(3))
        name = f"{'abc'[i]} and {'abc'[j]}"
        assert found["cohen"][name] == pytest.approx((same - chance) / (1 - chance))
    counts = np.stack([(table == k).sum(1) for k in range(3)], axis=1)
    observed = ((counts * (counts - 1)).sum(1) / (3 * 2)).mean()
    share = counts.sum(0) / counts.sum()
    expected = (share**2).sum()
    assert found["fleiss"] == pytest.approx((observed - expected) / (1 - expected))
    n = counts.sum()
    by_chance = 1 - (counts.sum(0) * (counts.sum(0) - 1)).sum() / (n * (n - 1))
    assert found["krippendorff"] == pytest.approx(1 - (1 - observed) / by_chance)


def test_agreement_with_gaps_and_without_overlap(task):
    assert agreement({"r": {"a": "bad"}}, task) == {}
    alike = agreement({"r": {"a": "bad", "b": "bad"}}, task)
    assert alike["share"] == 1.0
    assert "krippendorff" not in alike, "nobody could have disagreed"
    gaps = agreement({"r": {"a": "bad", "b": "bad"}, "s": {"b": "good", "c": "bad"}, "t": {"a": "fine"}}, task)
    assert (gaps["rows"], gaps["share"]) == (2, 0.5)
