"""Advice to stop, and when it is not given."""

import pytest
from sklearn.metrics import cohen_kappa_score

from hfal import TextClassification, TokenClassification
from hfal.evaluation.stopping import advice, stability
from hfal.rounds import Round


def rounds(*stopping, **audit):
    return [
        Round(number=n, strategy="margin", asked=10, labeled=10, spent=10, stopping=s, audit=audit)
        for n, s in enumerate(stopping)
    ]


def test_kappa_and_changed_are_those_of_the_literature():
    before, now = [0, 1, 2, 1, 0, 2, 1, 1], [0, 1, 2, 2, 0, 2, 1, 0]
    found = stability(before, now, TextClassification(label_names=["a", "b", "c"]))
    assert found == {"kappa": pytest.approx(cohen_kappa_score(before, now)), "changed": 0.25}


def test_words_and_several_labels_are_compared_one_by_one():
    words = TokenClassification(label_names=["O", "B-a", "B-b"], scheme="BIO")
    several = TextClassification(label_names=["a", "b", "c"], multi_label=True)
    assert stability([[0, 1], [1]], [[0, 2], [1]], words)["changed"] == pytest.approx(1 / 3)
    assert stability([[0], [1, 2]], [[0, 1], [1, 2]], several)["changed"] == pytest.approx(1 / 6), "of six yes or no"
    assert stability([[0]], [[1]], several)["changed"] == pytest.approx(2 / 3), "as many labels are not the same ones"
    assert stability([1, 1], [1, 1], TextClassification(label_names=["a", "b"])) == {"kappa": 1.0, "changed": 0.0}


def test_three_stable_rounds_are_needed():
    same, other = {"kappa": 0.995, "changed": 0.004}, {"kappa": 0.95, "changed": 0.03}
    assert advice(rounds({}, same, same), None, 0.005) == []
    assert advice(rounds(same, other, same), None, 0.005) == []
    found = advice(rounds({}, same, same, same), None, 0.005)
    assert len(found) == 2 and "kappa 0.995" in found[0] and "at most 0.40%" in found[1]
    assert len(advice(rounds({}, same, same, same), None, 0.001)) == 1, "a small gain may be worth it"


def test_the_target_is_reached_by_the_lower_end():
    assert advice(rounds({}, low=0.89, value=0.93), 0.9, 0.01) == []
    assert "target 0.9 is reached" in advice(rounds({}, low=0.905, value=0.93), 0.9, 0.01)[0]
    assert advice([], 0.9, 0.01) == []
