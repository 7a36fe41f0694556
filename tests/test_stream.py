import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfal import FrozenHead, HfalError, TextClassification
from hfal.pool import labelled
from hfal.stream import Stream, Threshold, blocks
from tests.conftest import NAMES, make_rows

TASK = TextClassification(label_names=NAMES)


@pytest.fixture(scope="module")
def learner(tiny_model):
    learner = FrozenHead(tiny_model)
    learner.bind(TASK, 0)
    learner.fit(labelled(make_rows(60), TASK))
    return learner


def texts(count, seed=5):
    return [{"text": text} for text in make_rows(count, seed)["text"][:]]


@given(st.integers(0, 20), st.sampled_from([0.02, 0.1, 0.5]), st.sampled_from(["even", "rising", "same", "jumps"]))
def test_the_rate_is_kept_whatever_the_scores_do(seed, rate, kind):
    scores = np.random.default_rng(seed).random(1500)
    if kind == "rising":
        scores = scores + np.linspace(0, 50, 1500)
    elif kind == "same":
        scores[:] = 0.3
    elif kind == "jumps":
        scores[700:] *= 0.001
    threshold = Threshold(rate)
    asked = [threshold.wants(float(score)) for score in scores]
    assert abs(sum(asked) - rate * 1500) <= 60
    if kind == "even" and rate < 0.5:
        assert scores[asked].mean() > scores.mean() + 0.2


def test_high_scores_are_asked(learner, tmp_path):
    stream = Stream(learner, TASK, tmp_path, "margin", rate=0.2)
    decisions = stream.offer(texts(300))
    asked = [d.score for d in decisions if d.asked]
    passed = [d.score for d in decisions if not d.asked]
    assert 40 <= len(asked) <= 80 and np.mean(asked) > np.mean(passed)
    lines = [json.loads(line) for line in (tmp_path / "asked.jsonl").read_text().splitlines()]
    assert [line["text"] for line in lines] == [d.row["text"] for d in decisions if d.asked]


def test_blocks_decide_as_single_rows_do(learner, tmp_path):
    whole = Stream(learner, TASK, tmp_path / "a", rate=0.1).offer(texts(80))
    one = Stream(learner, TASK, tmp_path / "b", rate=0.1)
    assert [d.asked for row in texts(80) for d in one.offer([row])] == [d.asked for d in whole]


def test_a_stream_goes_on_where_it_was_and_asks_a_row_once(learner, tmp_path):
    rows = texts(120)
    straight = Stream(learner, TASK, tmp_path / "a", rate=0.1)
    expected = [d.asked for d in straight.offer(rows)]
    first = Stream(learner, TASK, tmp_path / "b", rate=0.1)
    found = [d.asked for d in first.offer(rows[:50])]
    with open(tmp_path / "b" / "asked.jsonl", "a") as handle:
        handle.write('{"text": "half a li')  # killed while it wrote
    again = Stream(learner, TASK, tmp_path / "b", rate=0.1)
    assert (again.seen, again.asked) == (50, sum(found))
    found += [d.asked for d in again.offer(rows[50:])]
    assert found == expected
    asked = [row for row, was in zip(rows, found, strict=True) if was]
    assert not any(d.asked for d in again.offer(asked)) and again.seen == 120


def test_the_budget_is_a_bound(learner, tmp_path):
    stream = Stream(learner, TASK, tmp_path, rate=0.5, budget=7)
    stream.offer(texts(200))
    assert stream.asked == 7 and stream.spent


def test_what_is_wrong_is_named(learner, tmp_path):
    with pytest.raises(HfalError, match="kmeans chooses among many rows"):
        Stream(learner, TASK, tmp_path, "kmeans")
    with pytest.raises(HfalError, match="a tag for each word"):
        Stream(learner, TASK, tmp_path, "mnlp")
    with pytest.raises(HfalError, match="rate must be above 0"):
        Stream(learner, TASK, tmp_path, rate=0)
    stream = Stream(learner, TASK, tmp_path)
    with pytest.raises(HfalError, match="row 2 of the stream has no text"):
        stream.offer([{"text": "fine"}, {"body": "no"}])
    assert stream.seen == 0 and stream.offer([]) == []
    stream.offer([{"text": "fine"}])
    with pytest.raises(HfalError, match=r"begun with rate 0\.1, not 0\.2"):
        Stream(learner, TASK, tmp_path, rate=0.2)
    with pytest.raises(HfalError, match="rows, line 2: not JSON"):
        list(blocks(['{"text": "a"}', "{", ""], 1, "rows"))
    with pytest.raises(HfalError, match="line 1: a row is an object"):
        list(blocks(["[1]"], 1, "rows"))
