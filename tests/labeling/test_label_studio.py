"""Tasks as Label Studio takes them, and its exports as it writes them."""

import json
import xml.etree.ElementTree as ET

import pytest

from hfal.errors import HfalError
from hfal.labeling import open_work
from hfal.labeling.exporting import export_round
from hfal.labeling.importing import import_file
from tests.conftest import NAMES
from tests.labeling.conftest import text_of, truth_of
from tests.labeling.test_files import answers_of


def exported(folder):
    path = folder.parent / "tasks.json"
    _, paths = export_round(open_work(folder), "label_studio", path)
    assert [p.name for p in paths] == ["tasks.json", "tasks.xml"]
    return json.loads(path.read_text()), ET.fromstring(paths[1].read_text())


def annotated(folder, tasks, result_of, **said):
    """What Label Studio's JSON export adds to its tasks."""
    for number, task in enumerate(tasks, 1):
        annotation = {
            "id": number,
            "completed_by": {"id": 1, "email": "ann@example.org"},
            "was_cancelled": False,
            "lead_time": 4.25,
            "created_at": "2026-01-02T03:04:05.678901Z",
            "updated_at": "2026-01-02T03:04:05.678901Z",
            "result": result_of(task),
        }
        task.update(id=number, annotations=[annotation | said], drafts=[], predictions=[])
    path = folder.parent / "export.json"
    path.write_text(json.dumps(tasks))
    return path


def choices(*names):
    value = {"value": {"choices": list(names)}, "type": "choices", "from_name": "label", "to_name": "text", "id": "x"}
    return [value]


def spans(*found):
    return [
        {"value": {"start": a, "end": b, "text": "?", "labels": [kind]}, "type": "labels", "from_name": "label"}
        for a, b, kind in found
    ]


def test_the_config_offers_the_names_of_the_task(waiting):
    _, single = exported(waiting("text"))
    assert [choice.get("value") for choice in single.iter("Choice")] == NAMES
    assert single.find("Choices").get("choice") == "single"
    assert single.find("Text").get("value") == "$text"
    _, several = exported(waiting("multi"))
    assert several.find("Choices").get("choice") == "multiple"
    _, words = exported(waiting("words"))
    assert [label.get("value") for label in words.iter("Label")] == ["bad", "good"]


def test_choices_come_back_with_who_when_and_how_long(waiting):
    folder = waiting()
    tasks, _ = exported(folder)
    truth = truth_of("text")
    path = annotated(folder, tasks, lambda task: choices(truth[task["data"]["text"]]))
    assert import_file(folder, path).new == 12
    for people in answers_of(folder).values():
        (one,) = people.values()
        assert (one.annotator, one.seconds, one.source) == ("ann@example.org", 4.25, "file")
        assert one.time == "2026-01-02T03:04:05.678+00:00"


def test_several_choices_come_back(waiting):
    folder = waiting("multi")
    tasks, _ = exported(folder)
    import_file(folder, annotated(folder, tasks, lambda task: choices("bad", "good")))
    assert all(people["ann@example.org"].label == ["bad", "good"] for people in answers_of(folder).values())


def test_no_choice_at_all_is_an_answer_where_several_may_be(waiting):
    folder = waiting("multi")
    tasks, _ = exported(folder)
    import_file(folder, annotated(folder, tasks, lambda task: []))
    assert all(people["ann@example.org"].label == [] for people in answers_of(folder).values())


def test_entities_come_back_as_tags(waiting):
    folder, truth = waiting("words"), truth_of("words")
    tasks, _ = exported(folder)

    def marked(task):
        found, at = [], 0
        text = task["data"]["text"]
        for word, tag in zip(text.split(" "), truth[text], strict=True):
            if tag.startswith("B-"):
                found.append([at, at + len(word), tag[2:]])
            elif tag.startswith("I-"):
                found[-1][1] = at + len(word)
            at += len(word) + 1
        return spans(*found)

    assert import_file(folder, annotated(folder, tasks, marked)).new == 12
    work = open_work(folder)
    for name, people in answers_of(folder).items():
        assert people["ann@example.org"].label == truth[text_of(work.rows[name])]


def test_sentences_without_an_entity_are_labelled_too(waiting):
    folder = waiting("words")
    tasks, _ = exported(folder)
    import_file(folder, annotated(folder, tasks, lambda task: []))
    assert all(set(people["ann@example.org"].label) == {"O"} for people in answers_of(folder).values())


def test_a_span_may_hold_blanks_around_its_words_but_not_cut_them(waiting):
    folder = waiting("words")
    tasks, _ = exported(folder)
    first = tasks[0]["data"]["text"].split(" ")[0]
    path = annotated(folder, tasks, lambda task: spans((0, len(first) + 1, "good")) if task is tasks[0] else [])
    import_file(folder, path)
    label = answers_of(folder)[tasks[0]["data"]["hfal_id"]]["ann@example.org"].label
    assert label[:2] == ["B-good", "O"]


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ([(0, 1, "good")], "cuts a word"),
        ([(0, 10_000, "good")], "a span from 0 to 10000"),
        ([(None, 2, "good")], "a span from None"),
        ([(0, "LEN", "nowhere")], "entity type 'nowhere'"),
        ([(0, "LEN", "good"), (0, "LEN", "bad")], "overlap"),
    ],
)
def test_bad_spans_are_refused(waiting, found, reason):
    folder = waiting("words")
    tasks, _ = exported(folder)
    size = len(tasks[0]["data"]["text"].split(" ")[0])
    fixed = [(a, size if b == "LEN" else b, kind) for a, b, kind in found]
    with pytest.raises(HfalError, match=f"export.json, line 1, column result: .*{reason}"):
        import_file(folder, annotated(folder, tasks, lambda task: spans(*fixed) if task is tasks[0] else []))
    assert answers_of(folder) == {}


def test_cancelled_annotations_are_skips_and_each_person_is_kept(waiting):
    folder = waiting()
    tasks, _ = exported(folder)
    annotated(folder, tasks, lambda task: choices("good"))
    for task in tasks:
        (first,) = task["annotations"]
        task["annotations"] = [first, first | {"completed_by": 7, "was_cancelled": True, "result": []}]
    path = folder.parent / "export.json"
    path.write_text(json.dumps(tasks))
    assert import_file(folder, path).new == 24
    for people in answers_of(folder).values():
        assert people["ann@example.org"].label == "good" and people["user 7"].skipped


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "is not JSON"),
        ("{}", "expected a list of tasks"),
        ("[1]", "line 1: is no task with data and annotations"),
        ('[{"data": {"hfal_id": "x"}, "annotations": [1]}]', "column annotations: holds something else"),
        ('[{"data": {"hfal_id": "x"}, "annotations": [{"result": []}]}]', "'x' was not asked in this run"),
        ('[{"data": {"hfal_id": "x"}, "annotations": [{}]}]', "column result: is missing"),
        ('[{"data": {}, "annotations": [{"result": []}]}]', "column id: is missing"),
    ],
)
def test_what_is_no_export_is_refused(waiting, content, reason):
    folder = waiting()
    path = folder.parent / "export.json"
    path.write_text(content)
    with pytest.raises(HfalError, match=reason):
        import_file(folder, path)


def test_two_choices_where_one_is_wanted_are_refused(waiting):
    folder = waiting()
    tasks, _ = exported(folder)
    with pytest.raises(HfalError, match="2 choices, but a row has one label"):
        import_file(folder, annotated(folder, tasks, lambda task: choices("good", "bad")))
    with pytest.raises(HfalError, match="holds spans"):
        import_file(folder, annotated(folder, tasks, lambda task: spans((0, 1, "good"))))
