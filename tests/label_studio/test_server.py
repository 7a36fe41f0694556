"""A round through a real Label Studio and back."""

import json

import pytest

from hfal.config import load_config
from hfal.labeling import open_work
from hfal.labeling.desk import Desk
from hfal.labeling.importing import import_file
from hfal.labeling.words import entities, text_and_bounds
from hfal.running import run_config
from tests.label_studio.server import program, running
from tests.labeling.conftest import answer_all, made, text_of, truth_of, waiting  # noqa: F401 - fixtures
from tests.labeling.test_desk import label_all
from tests.test_cli import hfal

pytestmark = [
    pytest.mark.slow,
    pytest.mark.label_studio,
    pytest.mark.skipif(
        program() is None,
        reason="Label Studio is not installed: python -m tests.label_studio.server install, or name it in LABEL_STUDIO",
    ),
]


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    with running(tmp_path_factory.mktemp("studio")) as server:
        yield server


def second_round(folder, kind):
    """A round with suggestions: the first is labelled as the truth has it."""
    import_file(folder, answer_all(folder, kind))
    run_config(load_config(folder), lambda part, done: None)


def result_of(work, row, label):
    """What a person clicks, as Label Studio keeps it."""
    if not work.task.per_word:
        chosen = label if isinstance(label, list) else [label]
        about = {"from_name": "label", "to_name": "text", "type": "choices"}
        return [{**about, "value": {"choices": sorted(set(chosen))}}]
    text, bounds = text_and_bounds(work, row)
    found = []
    for first, end, kind in entities(work, label):
        start, stop = bounds[first][0], bounds[end - 1][1]
        value = {"start": start, "end": stop, "text": text[start:stop], "labels": [kind]}
        found.append({"from_name": "label", "to_name": "text", "type": "labels", "value": value})
    return found


@pytest.mark.parametrize("kind", ["text", "multi", "words"])
def test_a_round_goes_out_and_comes_back(studio, waiting, kind):  # noqa: F811
    folder, truth = waiting(kind), truth_of(kind)
    second_round(folder, kind)
    path = folder.parent / "tasks.json"
    assert hfal("export", folder, path, "--to", "label_studio").returncode == 0
    project, tasks = studio.project(path.with_suffix(".xml").read_text(), json.loads(path.read_text()))
    work = open_work(folder)
    assert len(tasks) == 12
    predicted = sum(bool(task["total_predictions"]) for task in tasks)
    assert predicted == 7, "audited rows have no suggestion there either"
    for task in tasks:
        row = work.rows[task["data"]["hfal_id"]]
        studio.annotate(task["id"], result_of(work, row, truth[text_of(row)]))
    exported = folder.parent / "export.json"
    exported.write_text(json.dumps(studio.export(project)))
    done = hfal("import", folder, exported)
    assert "12 labels taken" in done.stdout, done.stderr
    for name, people in open_work(folder).answers.current().items():
        (answer,) = people.values()
        wanted = truth[text_of(work.rows[name])]
        assert answer.label == (sorted(set(wanted), key=work.task.names.index) if kind == "multi" else wanted)
        assert answer.annotator == "a@example.org" or answer.annotator.startswith("user")
        assert answer.seconds == 2.5
    assert hfal("run", folder).returncode == 0


def test_several_annotations_and_cancelled_ones(studio, waiting):  # noqa: F811
    folder = waiting()
    path = folder.parent / "tasks.json"
    hfal("export", folder, path, "--to", "label_studio")
    project, tasks = studio.project(path.with_suffix(".xml").read_text(), json.loads(path.read_text()))
    work = open_work(folder)
    for at, task in enumerate(tasks[:4]):
        row = work.rows[task["data"]["hfal_id"]]
        if at == 0:
            studio.annotate(task["id"], [], was_cancelled=True)
        else:
            studio.annotate(task["id"], result_of(work, row, "good"))
    exported = folder.parent / "export.json"
    exported.write_text(json.dumps(studio.export(project)))
    import_file(folder, exported)
    held = open_work(folder).answers.current()
    said = sorted((answer.skipped, answer.label) for people in held.values() for answer in people.values())
    assert said == [(False, "good")] * 3 + [(True, None)], "a cancelled task is a skip"
    assert label_all(Desk(folder))["done"] == 12, "what is left goes on elsewhere"
