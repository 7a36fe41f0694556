"""What is chosen for those who do not choose."""

from dataclasses import replace

import pytest

from hfal import ActiveLearner, FrozenHead, Pool, TextClassification
from hfal.errors import HfalError
from hfal.rounds import Ledger
from hfal.strategies import Auto, Context, Facts
from tests.conftest import NAMES
from tests.learners.test_pairs import make_pairs

FACTS = Facts("text_classification", "typiclust", "margin>kmeans(prefilter=10)", classes=3, rows=1000, labeled=20)


@pytest.mark.parametrize(
    ("facts", "spec"),
    [
        ({"labeled": 0}, "typiclust"),
        ({}, "margin>kmeans(prefilter=10)"),
        ({"classes": 6}, "uncertainty_herding"),
        ({"classes": 6, "rows": 60_000}, "margin>kmeans(prefilter=10)"),
        ({"classes": 6, "several": True}, "margin>kmeans(prefilter=10)"),
        ({"classes": 6, "per_cost": True}, "margin>kmeans(prefilter=10)"),
        ({"task": "relations", "classes": 19}, "uncertainty_herding"),
        ({"task": "pairs", "classes": 2}, "margin"),
        ({"task": "visual_question_answering", "classes": 100, "usual": "badge"}, "badge"),
        ({"task": "token_classification", "usual": "mnlp>kmeans(prefilter=10)"}, "mnlp>kmeans(prefilter=10)"),
        ({"task": "generation", "usual": "idds"}, "idds"),
    ],
)
def test_the_choice_follows_from_task_pool_and_labels(facts, spec):
    assert Auto().settle(replace(FACTS, **facts)) == spec
    assert Auto().reason(spec)


def test_each_round_says_what_was_chosen_and_why_and_is_what_that_would_have_chosen(
    rows, test_rows, tiny_model, tmp_path
):
    pool = Pool.from_dataset(rows, TextClassification(label_names=NAMES))
    options = {"test": test_rows, "budget": 30, "batch_size": 10}
    active = ActiveLearner(pool.copy(), FrozenHead(tiny_model), output_dir=tmp_path / "a", start="auto", **options)
    rounds = active.run()
    named = {"start": "typiclust", "strategy": "margin>kmeans(prefilter=10)"}
    ActiveLearner(pool.copy(), FrozenHead(tiny_model), output_dir=tmp_path / "b", **named, **options).run()
    picks = [[Ledger(tmp_path / run).selection(n)["id"].to_pylist() for n in range(3)] for run in "ab"]
    assert picks[0] == picks[1]
    assert [r.strategy for r in rounds] == ["auto: typiclust", *["auto: margin>kmeans(prefilter=10)"] * 2]
    assert rounds[1].notes == [
        "auto chose margin>kmeans(prefilter=10): it was best or near it on all data of this kind (docs/evidence.md)"
    ]
    again = ActiveLearner(pool.copy(), FrozenHead(tiny_model), output_dir=tmp_path / "a", start="auto", **options)
    assert [r.notes for r in again.run()] == [r.notes for r in rounds]


def test_pairs_are_asked_by_margin(tiny_model):
    from hfal import Pairs

    data = make_pairs(80, 0).rename_column("labels", "label")
    pool = Pool.from_dataset(data, Pairs(label_names=["no", "yes"]))
    rounds = ActiveLearner(pool, FrozenHead(tiny_model), budget=20, batch_size=10).run()
    assert [r.strategy for r in rounds] == ["similar_pairs", "auto: margin"]


def test_outside_of_the_loop_there_is_nothing_to_go_by():
    with pytest.raises(HfalError, match="auto chooses in the loop only"):
        Auto().select(Context.__new__(Context), 3)
