import json
import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfal.answers import PAGE, Answer, Answers, check_annotator, now
from hfal.errors import HfalError


@pytest.fixture
def answers(tmp_path):
    made = Answers(tmp_path)
    made.open()
    yield made
    made.close()


def answer(row="a", who="ann", label="good", **said):
    return Answer(row, who, label, time=said.pop("time", now()), **said)


def test_an_answer_is_on_disk_when_append_returns(answers, tmp_path):
    answers.append(answer(seconds=1.5, flagged=True))
    (line,) = (tmp_path / "answers" / PAGE).read_text().splitlines()
    said = json.loads(line)
    assert (said["id"], said["annotator"], said["label"], said["seconds"], said["flagged"]) == (
        "a",
        "ann",
        "good",
        1.5,
        True,
    )


def test_the_last_answer_of_each_person_holds_and_a_withdrawn_one_does_not(answers):
    answers.append(answer(time="2026-01-01T00:00:01"))
    answers.append(answer(label="bad", time="2026-01-01T00:00:02"))
    answers.append(answer(who="bob", time="2026-01-01T00:00:03"))
    answers.append(answer(who="bob", label=None, withdrawn=True, time="2026-01-01T00:00:04"))
    answers.append(answer("b", label=None, skipped=True, time="2026-01-01T00:00:05"))
    current = answers.current()
    assert {who: one.label for who, one in current["a"].items()} == {"ann": "bad"}
    assert current["b"]["ann"].skipped


def test_half_a_line_at_the_end_is_no_answer_and_is_cut_off(tmp_path):
    first = Answers(tmp_path)
    first.open()
    first.append(answer())
    first.close()
    path = tmp_path / "answers" / PAGE
    with open(path, "ab") as handle:
        handle.write(b'{"id": "b", "annot')
    assert [one.id for one in Answers(tmp_path).read()] == ["a"]
    second = Answers(tmp_path)
    second.open()
    second.append(answer("c"))
    second.close()
    assert [one.id for one in Answers(tmp_path).read()] == ["a", "c"]


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    (tmp_path / "answers").mkdir()
    (tmp_path / "answers" / PAGE).write_text("{broken\n" + json.dumps({"id": "a", "annotator": "x"}) + "\n")
    with pytest.raises(HfalError, match=r"page\.jsonl is damaged in line 1"):
        Answers(tmp_path).read()


def test_two_pages_cannot_write_one_round(answers, tmp_path):
    with pytest.raises(HfalError, match="another label page serves"):
        Answers(tmp_path).open()


def test_taking_the_same_answers_twice_adds_nothing(tmp_path):
    made = Answers(tmp_path)
    given_ = [answer("a"), answer("b", label=None, skipped=True)]
    assert made.add(given_, "file") == 2
    assert made.add(given_, "file") == 0
    again = [answer("a", time="2030-01-01T00:00:00.000+00:00"), answer("c")]
    assert made.add(again, "hub") == 1, "a known answer that comes again with another time is the same"
    assert len(made.read()) == 3


def test_an_old_import_does_not_undo_a_later_correction(tmp_path):
    made = Answers(tmp_path)
    old = answer("a", label="bad", time="2026-01-01T00:00:00")
    made.add([old], "file")
    made.add([answer("a", label="good", time="2026-01-02T00:00:00")], "file")
    assert made.add([old], "file") == 0
    assert made.current()["a"]["ann"].label == "good"


def test_a_write_that_fails_leaves_no_half_line(answers, tmp_path, monkeypatch):
    answers.append(answer("a"))
    real = os.fsync

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HfalError, match="No space left"):
        answers.append(answer("b"))
    monkeypatch.setattr(os, "fsync", real)
    answers.append(answer("c"))
    assert [one.id for one in answers.read()] == ["a", "c"]


@given(st.text(max_size=40), st.text(max_size=40), st.one_of(st.text(), st.lists(st.text())))
def test_no_text_breaks_a_line(tmp_path_factory, row, who, label):
    made = Answers(tmp_path_factory.mktemp("answers"))
    said = answer(row, who, label)
    made.add([said], "file")
    assert made.read() == [said]


@pytest.mark.parametrize("name", ["", "  ", None, 3, "a\nb", "x" * 81, "a\x00"])
def test_a_name_is_one_short_line(name):
    with pytest.raises(HfalError, match="annotator's name"):
        check_annotator(name)


def test_a_name_loses_the_blanks_around_it():
    assert check_annotator("  Zoë 👩🏽‍🔬 ".replace("\u200d", "")) == "Zoë 👩🏽🔬"


WRITER = """
import sys
from hfal.answers import Answer, Answers, now
made = Answers(__import__("pathlib").Path(sys.argv[1])); made.open()
for at in range(100_000):
    made.append(Answer(f"row{at}", "ann", "x" * 300, time=now()))
    print(at, flush=True)
"""


def test_what_was_confirmed_survives_a_kill(tmp_path):
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as writer:
        confirmed = [writer.stdout.readline() for _ in range(50)]
        writer.send_signal(signal.SIGKILL)
        confirmed += writer.stdout.readlines()
    told = max(int(line) for line in confirmed if line.endswith("\n"))
    made = Answers(tmp_path)
    made.open()
    kept = [one.id for one in made.read()]
    made.close()
    assert kept[: told + 1] == [f"row{at}" for at in range(told + 1)]
    assert len(kept) <= told + 2
