"""Who labels which row next."""

import threading

import pytest

from hfal.answers import Answer, Answers, now
from hfal.config import load_config
from hfal.errors import HfalError
from hfal.labeling import open_work
from hfal.labeling.desk import LEASE, Desk
from hfal.running import run_config
from tests.labeling.conftest import rows_of, truth_of


class Clock:
    def __init__(self):
        self.time = 0.0

    def __call__(self):
        return self.time


@pytest.fixture
def desk(waiting):
    made = Desk(waiting(), Clock())
    yield made
    made.close()


def say(desk, who, row, label="good", **more):
    return desk.answer(who, {"id": row["id"], "label": label, "seconds": 1.5, **more})


def label_all(desk, who="ann", kind="text"):
    said = desk.next(who)
    while said["row"]:
        said = say(desk, who, said["row"])
    return said


def test_rows_come_in_the_order_of_choice_and_each_answer_is_on_disk_first(desk):
    order = [row["id"] for row in rows_of(desk.folder)]
    said = desk.start("ann")
    for number, name in enumerate(order):
        assert said["row"]["id"] == name
        said = say(desk, "ann", said["row"])
        kept = Answers(open_work(desk.folder).run.ledger.path(0)).current()
        assert kept[name]["ann"].label == "good" and kept[name]["ann"].seconds == 1.5
        assert said["done"] == number + 1
    assert said["row"] is None and said["left"] == 0


def test_two_people_get_different_rows(desk):
    one, other = desk.next("ann")["row"]["id"], desk.next("bob")["row"]["id"]
    assert one != other
    assert desk.next("ann")["row"]["id"] == one, "asked again, the same row"


def test_with_overlap_two_people_get_the_same_rows(waiting):
    desk = Desk(waiting(overlap=2))
    first = desk.next("ann")["row"]
    assert desk.next("bob")["row"]["id"] == first["id"]
    assert desk.next("cat")["row"]["id"] != first["id"], "a third is not needed for this row"
    say(desk, "ann", first)
    assert say(desk, "bob", first, "bad")["done"] == 1
    desk.close()


def test_a_row_whose_reader_has_gone_is_asked_of_others(desk):
    rows = [row["id"] for row in rows_of(desk.folder)]
    left = desk.next("ann")["row"]["id"]
    said = desk.next("bob")
    while said["row"] and said["row"]["id"] != left:
        said = say(desk, "bob", said["row"])
    assert said["row"] is None and said["done"] == len(rows) - 1
    desk._clock.time += LEASE + 1
    assert desk.next("bob")["row"]["id"] == left


def test_undo_withdraws_and_shows_the_row_again(desk):
    first = desk.next("ann")["row"]
    second = say(desk, "ann", first)["row"]
    back = desk.undo("ann")
    assert back["row"]["id"] == first["id"] and back["row"]["before"] == "good" and back["done"] == 0
    assert say(desk, "ann", first, "bad")["row"]["id"] == second["id"]
    assert desk.work.answers.current()[first["id"]]["ann"].label == "bad"
    desk.undo("ann")
    assert desk.undo("ann")["note"] == "nothing to undo"
    assert desk.work.answers.current() == {}


def test_undo_reaches_back_beyond_a_restart(desk, waiting):
    first = desk.next("ann")["row"]
    say(desk, "ann", first)
    desk.close()
    again = Desk(desk.folder)
    assert again.undo("ann")["row"]["id"] == first["id"]
    again.close()


def test_what_was_sent_twice_is_kept_once(desk):
    first = desk.next("ann")["row"]
    one = say(desk, "ann", first, nonce="x")
    assert say(desk, "ann", first, nonce="x")["row"]["id"] == one["row"]["id"]
    assert len(desk.work.answers.read()) == 1


def test_what_does_not_fit_is_refused_and_the_row_stays(desk):
    first = desk.next("ann")["row"]
    for said, part in [
        ({"id": first["id"], "label": "goood"}, "did you mean 'good'"),
        ({"id": "nothing", "label": "good"}, "was not asked"),
        ({"label": "good"}, "has an id"),
        ("good", "has an id"),
    ]:
        with pytest.raises(HfalError, match=part):
            desk.answer("ann", said)
    for name in ("", "  ", None, "a\nb", "x" * 81):
        with pytest.raises(HfalError, match="annotator's name"):
            desk.start(name)
    assert desk.next("ann")["row"]["id"] == first["id"] and desk.work.answers.read() == []


def test_skips_and_flags_are_kept(desk):
    first = desk.next("ann")["row"]
    second = desk.answer("ann", {"id": first["id"], "skipped": True})["row"]
    say(desk, "ann", second, flagged=True)
    held = desk.work.answers.current()
    assert held[first["id"]]["ann"].skipped and held[first["id"]]["ann"].label is None
    assert held[second["id"]]["ann"].flagged


@pytest.mark.parametrize("seconds", [None, -1, "soon", float("nan"), True, 1e12])
def test_times_that_make_no_sense_do_not_matter(desk, seconds):
    row = desk.next("ann")["row"]
    desk.answer("ann", {"id": row["id"], "label": "good", "seconds": seconds})
    kept = desk.work.answers.current()[row["id"]]["ann"].seconds
    assert kept is None or kept == 3600.0


def test_spans_of_words_become_tags(waiting):
    desk = Desk(waiting("words"))
    row = desk.start("ann")["row"]
    words = [row["text"][start:end] for start, end in row["bounds"]]
    assert len(words) > 3
    with pytest.raises(HfalError, match="does not fit"):
        say(desk, "ann", row, [[0, 2, "bad"], [1, 3, "good"]])
    with pytest.raises(HfalError, match="does not fit"):
        say(desk, "ann", row, [[0, 99, "bad"]])
    with pytest.raises(HfalError, match="spans"):
        say(desk, "ann", row, [["x", "y"]])
    say(desk, "ann", row, [[2, 4, "good"], [0, 1, "bad"]])
    tags = desk.work.answers.current()[row["id"]]["ann"].label
    assert tags[:4] == ["B-bad", "O", "B-good", "I-good"]
    assert desk.undo("ann")["row"]["before"] == [[0, 1, "bad"], [2, 4, "good"]]
    desk.close()


def test_suggestions_are_shown_but_never_of_audited_rows(waiting):
    folder = waiting()
    desk = Desk(folder)
    label_all(desk)
    run_config(load_config(folder), lambda part, done: None)
    seen = []
    said = desk.next("ann")
    assert said["round"] == 1, "the desk went on by itself"
    while said["row"]:
        seen.append((said["row"]["suggestion"] is not None, "to measure quality" in said["row"]["why"]))
        said = say(desk, "ann", said["row"])
    assert sorted(seen) == [(False, True)] * 5 + [(True, False)] * 7
    desk.close()


def test_suggestions_can_be_hidden(waiting):
    folder = waiting(suggest=False)
    desk = Desk(folder)
    label_all(desk)
    run_config(load_config(folder), lambda part, done: None)
    said = desk.next("ann")
    while said["row"]:
        assert said["row"]["suggestion"] is None
        said = say(desk, "ann", said["row"])
    desk.close()


def test_an_answer_to_a_round_that_has_gone_on_comes_as_a_correction(waiting):
    folder = waiting()
    desk = Desk(folder)
    first = desk.next("ann")["row"]
    label_all(desk)
    run_config(load_config(folder), lambda part, done: None)
    assert desk.next("ann")["round"] == 1
    say(desk, "bob", first, "bad")
    assert Answers(open_work(folder).run.ledger.path(0)).current()[first["id"]]["bob"].label == "bad"
    desk.close()


def test_labels_that_come_in_by_file_are_seen_while_the_page_is_open(desk):
    rows, truth = rows_of(desk.folder), truth_of("text")
    assert desk.next("ann")["done"] == 0
    said = [Answer(row["id"], "bob", truth[row["text"]], time=now(), source="file") for row in rows[:7]]
    Answers(desk.work.run.ledger.path(0)).add(said, "file")
    after = desk.next("ann")
    assert after["done"] == 7 and after["row"]["id"] == rows[7]["id"]


def test_a_second_page_on_the_same_round_is_refused(desk):
    with pytest.raises(HfalError, match="another label page"):
        Desk(desk.folder)


def test_many_at_once_lose_nothing(waiting):
    desk = Desk(waiting(overlap=5))
    people = [f"p{number}" for number in range(5)]
    threads = [threading.Thread(target=label_all, args=(desk, who)) for who in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held = desk.work.answers.current()
    assert len(held) == 12 and all(sorted(row) == people for row in held.values())
    assert len(desk.work.answers.read()) == 60
    desk.close()
