"""Answers that stand in a text."""

import numpy as np
import pytest
import torch
from datasets import Dataset

from hfal import HfalError, QuestionAnswering, TextClassification, TrainingConfig
from hfal.learners import Extract
from hfal.pool import Pool, labelled
from hfal.signals import Needs
from hfal.spans_read import NO_PLACE, SpanExamples, read_windows
from hfal.tasks.question_answering import normalized, token_f1
from tests.conftest import FILLER, WORDS

TASK = QuestionAnswering()
LONG = TrainingConfig(num_train_epochs=25, learning_rate=3e-3, min_steps=1, per_device_train_batch_size=16)


def make_asked(size, seed=0, long=0):
    """The answer is the words between "a" and "and"; a fifth of the contexts have none."""
    rng = np.random.default_rng(seed)
    rows = {"question": [], "context": [], "answers": []}
    plain = [word for word in FILLER if word not in ("a", "and")]
    for row in range(size):
        around = [list(map(str, rng.choice(plain, rng.integers(2, 6) + long))) for _ in range(2)]
        answer = " ".join(map(str, rng.choice([*WORDS["good"], *WORDS["bad"]], rng.integers(1, 3), replace=False)))
        head, tail = " ".join([f"n{seed}x{row}", *around[0]]), " ".join(around[1])
        known = rng.random() > 0.2
        context = f"{head} a {answer} and {tail}" if known else f"{head} {tail}"
        start = len(head) + 3
        rows["question"].append("what is it")
        rows["context"].append(context)
        rows["answers"].append({"text": [answer] if known else [], "answer_start": [start] if known else []})
    return Dataset.from_dict(rows)


@pytest.fixture(scope="module")
def rows():
    return labelled(make_asked(150), TASK)


@pytest.fixture(scope="module")
def others():
    return labelled(make_asked(50, seed=1), TASK)


@pytest.fixture(scope="module")
def trained(tiny_model, rows):
    learner = Extract(tiny_model, LONG)
    learner.bind(TASK, seed=0)
    learner.fit(rows)
    return learner


def test_a_model_learns_where_answers_stand_and_where_there_is_none(trained, others):
    scores = trained.evaluate(others)
    assert scores["f1"] > 0.7 and scores["exact_match"] > 0.6
    found = trained.signals(others, Needs(pool={"texts", "starts", "logits"}))
    for context, start, text in zip(others["context"], found.starts, found.texts, strict=True):
        assert text == ("" if start < 0 else context[start : start + len(text)])
    assert -1 in found.starts and max(found.starts) > 0


def test_a_saved_model_comes_back(trained, others, tiny_model, tmp_path):
    trained.save(tmp_path)
    again = Extract(tiny_model, LONG)
    again.bind(TASK, 0)
    again.load(tmp_path)
    assert again.evaluate(others) == trained.evaluate(others)


def test_in_half_precision_too_a_saved_model_is_the_one_that_was_trained(tiny_model, rows, others, tmp_path):
    config = TrainingConfig(num_train_epochs=2, min_steps=1, mixed_precision="bf16")
    learner, again = Extract(tiny_model, config), Extract(tiny_model, config)
    for each in (learner, again):
        each.bind(TASK, seed=0)
    learner.fit(rows)
    learner.save(tmp_path)
    again.load(tmp_path)
    needs = Needs(pool={"logits", "embeddings", "mc_logits"}, mc_samples=2)
    before, after = learner.signals(others, needs), again.signals(others, needs)
    for name in ("logits", "embeddings", "mc_logits"):
        assert torch.equal(before.get(name), after.get(name)) and before.get(name).dtype == torch.float32


def test_a_row_has_the_same_spans_alone_and_among_others(trained, others):
    needs = Needs(pool={"logits", "texts", "embeddings", "mc_logits"}, mc_samples=3)
    whole, part = trained.signals(others, needs), trained.signals(others.select([7, 3]), needs)
    assert part.texts == [whole.texts[7], whole.texts[3]]
    torch.testing.assert_close(part.logits, whole.logits[[7, 3]], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(part.mc_logits, whole.mc_logits[:, [7, 3]], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(part.embeddings, whole.embeddings[[7, 3]], atol=1e-5, rtol=1e-4)


def test_the_best_spans_by_brute_force(trained, others):
    part = others.select([0])
    windows = trained._windows(part)
    inputs = windows.tokens.padded(trained.tokenizer.pad_token_id)
    with torch.no_grad():
        answer = trained.model(**inputs)
    begin, stop, scores = answer.start_logits[0], answer.end_logits[0], []
    for a in range(len(windows.first)):
        for b in range(a, len(windows.first)):
            if windows.first[a] != NO_PLACE and windows.first[b] != NO_PLACE:
                scores.append(float(begin[a] + stop[b]))
    scores.append(float(begin[0] + stop[0]))
    found = trained.signals(part, Needs(pool={"logits"})).logits[0]
    best = sorted(scores, reverse=True)[: min(20, len(scores))]
    np.testing.assert_allclose(found[: len(best)][:5], best[:5], rtol=1e-4, atol=1e-4)


def test_long_contexts_are_read_in_windows_and_no_answer_goes_unseen(trained, tiny_model):
    long = labelled(make_asked(20, seed=2, long=60), TASK)
    learner = Extract(tiny_model, LONG, max_length=40)
    learner.bind(TASK, 0)
    windows = learner._windows(long)
    assert len(windows.tokens) > 2 * len(long) and windows.tokens.lengths.max() <= 40
    seen = [set() for _ in range(len(long))]
    for row in range(len(long)):
        for _, first, last in windows.ends(row):
            for a, b in zip(first, last, strict=True):
                if a != NO_PLACE:
                    seen[row].update(range(int(a), int(b)))
        context = long["context"][row]
        assert seen[row] >= {at for at, c in enumerate(context) if not c.isspace()}
    answers = [(x[0]["start"], x[0]["start"] + len(x[0]["text"])) if x else None for x in long["labels"]]
    examples = SpanExamples(windows, answers, 0)
    for row, answer in enumerate(answers):
        held = [examples.targets[w].tolist() for w, _, _ in windows.ends(row) if examples.targets[w].any()]
        assert bool(held) == (answer is not None)
        for window, first, last in windows.ends(row):
            a, b = examples.targets[window].tolist()
            if (a, b) != (0, 0):
                assert (int(first[a]), int(last[b])) == answer


def test_a_question_as_long_as_a_book_leaves_room_for_the_context(trained):
    tokenizer = trained.tokenizer
    windows = read_windows(tokenizer, ["the film " * 500], ["a phone and so"], 40)
    assert windows.tokens.lengths.max() <= 40 and (windows.first != NO_PLACE).any()


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("film", "stands 0 times in its context: say where"),
        ("so", "stands 2 times in its context"),
        ({"text": ["so"], "answer_start": [1]}, "is not at 1: there is "),
        ({"text": ["so"], "answer_start": []}, "lists text and answer_start of one length"),
        ([{"start": -1, "text": "so"}], "does not say where it starts"),
        ([{"start": 1, "text": ""}], "has no text"),
        (None, "is neither a text nor spans"),
    ],
)
def test_answers_that_do_not_stand_where_they_should_are_refused(label, message):
    with pytest.raises(HfalError, match=message):
        TASK.encode(label, "row 4", {"question": "q", "context": "it is so so"})


def test_answers_in_every_form():
    row = {"question": "q", "context": "it is so quiet"}
    expected = [{"start": 6, "text": "so"}]
    assert TASK.encode("so", "row", row) == expected
    assert TASK.encode({"text": ["so"], "answer_start": [6]}, "row", row) == expected
    assert TASK.encode(expected, "row", row) == expected
    assert TASK.encode({"text": [], "answer_start": []}, "row", row) == [] == TASK.encode("", "row", row)


def test_scores_are_squads():
    assert normalized("The  U.S. army, a unit!") == "us army unit"
    assert token_f1("the blue sky", "blue sky today") == pytest.approx(2 * 2 / (2 + 3))
    assert token_f1("", "") == 1 and token_f1("x", "") == 0 and token_f1("the", "") == 1


def test_a_wrong_answer_in_the_pool_is_named_by_row():
    rows = make_asked(5)
    bad = [dict(a) for a in rows["answers"]]
    bad[3] = {"text": ["zzz"], "answer_start": [0]}
    rows = rows.remove_columns("answers").add_column("answers", bad)
    with pytest.raises(HfalError, match="'zzz' in row 3 of test is not at 0"):
        labelled(rows, TASK)
    assert len(Pool.from_dataset(rows, TASK)) == 5


def test_other_tasks_and_fields_are_refused(trained, others, tiny_model):
    with pytest.raises(HfalError, match="it does not do text_classification"):
        Extract(tiny_model).bind(TextClassification(label_names=["a", "b"]), 0)
    with pytest.raises(HfalError, match="extract cannot give features"):
        trained.signals(others, Needs(pool={"features"}))
