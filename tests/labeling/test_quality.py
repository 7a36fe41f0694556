"""Which labels to ask again, and how well each person labels."""

import json

import pytest

from hfal.config import load_config
from hfal.errors import HfalError
from hfal.labeling.desk import Desk
from hfal.labeling.gold import EVERY, Gold
from hfal.labeling.importing import import_file
from hfal.labeling.relabel import doubts
from hfal.report.view import open_run
from hfal.running import run_config
from tests.conftest import NAMES, make_rows, make_tagged
from tests.labeling.conftest import rows_of, text_of, truth_of, write_project
from tests.test_cli import hfal


def label(folder, kind="text", wrong=(), who=("ann",), flagged=()):
    """Everybody knows the truth, but of the rows at `wrong` the first says something else."""
    truth, lines = truth_of(kind), []
    for at, row in enumerate(rows_of(folder)):
        for person in who:
            said = truth[text_of(row)]
            if at in wrong and person == who[0]:
                said = ["O"] * len(said) if kind == "words" else NAMES[(NAMES.index(said) + 1) % 3]
            lines.append({"id": row["id"], "label": said, "annotator": person, "flagged": at in flagged})
    path = folder.parent / "some.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    import_file(folder, path)
    run_config(load_config(folder), lambda part, done: None)


def test_wrong_labels_come_first(tmp_path):
    config = write_project(tmp_path, "demo/minilm", "text", {"budget": {"rows": 110}, "batch": {"rows": 110}})
    run_config(load_config(config), lambda part, done: None)
    folder, wrong = tmp_path / "run", (2, 17, 40, 66, 93)
    ids = [row["id"] for row in rows_of(folder)]
    label(folder, wrong=wrong)
    found = doubts(folder)
    assert len(found) == 110
    assert [doubt.worth for doubt in found] == sorted((doubt.worth for doubt in found), reverse=True)
    first = {doubt.row["id"] for doubt in found[:22]}
    assert sum(ids[at] in first for at in wrong) >= 4, "most of them among the first fifth"
    assert all(doubt.model != doubt.label for doubt in found[:5])


def test_disagreement_and_flags_count(waiting):
    folder = waiting(overlap=2)
    rows = [row["id"] for row in rows_of(folder)]
    label(folder, wrong=(4,), who=("ann", "bob"), flagged=(9,))
    found = doubts(folder)
    assert found[0].row["id"] == rows[9] and found[0].flagged
    split = next(doubt for doubt in found if doubt.row["id"] == rows[4])
    assert split.agree == 0.5


def test_words_and_several_labels_are_looked_at_too(waiting):
    for kind in ("words", "multi"):
        folder = waiting(kind)
        label(folder, kind)
        found = doubts(folder)
        assert len(found) == 12 and all(0 <= doubt.probability <= 1 for doubt in found)


def test_relabel_on_the_command_line_and_back(waiting):
    folder = waiting()
    with pytest.raises(HfalError, match="no finished round"):
        doubts(folder)
    label(folder, wrong=(3,))
    path = folder.parent / "again.jsonl"
    done = hfal("relabel", folder, "--most", 5, "-o", path)
    assert done.returncode == 0, done.stderr
    assert "probability" in done.stdout and "5 rows" in done.stdout
    truth = truth_of("text")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(line["label"] is None for line in lines)
    path.write_text("".join(json.dumps(line | {"label": truth[line["text"]]}) + "\n" for line in lines))
    assert "5 labels taken" in hfal("import", folder, path, "--annotator", "referee").stdout


def gold_file(folder, size=4):
    rows = make_rows(size, seed=9)
    path = folder.parent / "gold.csv"
    rows.to_csv(path, index=False)
    return path, {row["text"]: NAMES[row["label"]] for row in rows}


def test_gold_rows_are_mixed_in_and_each_person_is_scored(waiting, monkeypatch):
    folder = waiting()
    path, right = gold_file(folder)
    done = hfal("gold", folder, path)
    assert "4 gold rows kept" in done.stdout, done.stderr
    monkeypatch.setattr("hfal.labeling.gold.EVERY", 3)
    desk, truth, seen = Desk(folder), truth_of("text"), []
    said = desk.start("ann")
    while said["row"]:
        text = said["row"]["texts"][0][1]
        if text in right:
            seen.append(text)
            assert said["row"]["suggestion"] is None and "measure quality" in said["row"]["why"]
            answer = right[text] if len(seen) != 2 else NAMES[(NAMES.index(right[text]) + 1) % 3]
        else:
            answer = truth[text]
        said = desk.answer("ann", {"id": said["row"]["id"], "label": answer, "seconds": 1.0})
    desk.close()
    assert len(seen) == len(set(seen)) == 4
    assert Gold(open_run(folder)).scores() == {"ann": (0.75, 4)}
    assert said["done"] == 12, "gold rows are not of the round"
    run_config(load_config(folder), lambda part, done: None)
    assert "gold      ann 75% of 4" in hfal("status", folder).stdout


def test_a_gold_answer_can_be_undone(waiting, monkeypatch):
    folder = waiting()
    path, _ = gold_file(folder)
    Gold(open_run(folder)).keep(path)
    monkeypatch.setattr("hfal.labeling.gold.EVERY", 1)
    desk = Desk(folder)
    row = desk.answer("ann", {"id": desk.next("ann")["row"]["id"], "label": "bad"})["row"]
    assert row["id"].startswith("gold")
    desk.answer("ann", {"id": row["id"], "label": "good"})
    back = desk.undo("ann")["row"]
    assert back["id"] == row["id"] and back["before"] == "good"
    assert Gold(open_run(folder)).scores() == {}
    desk.close()


def test_a_gold_set_needs_right_labels(waiting):
    folder = waiting()
    bad = folder.parent / "gold.csv"
    bad.write_text("text,label\nhello there,goood\n")
    assert "did you mean 'good'" in hfal("gold", folder, bad).stderr
    bad.write_text("text\nhello there\n")
    assert "no column 'label'" in hfal("gold", folder, bad).stderr


def test_gold_for_words(waiting):
    folder = waiting("words")
    path = folder.parent / "gold.jsonl"
    make_tagged(3, seed=5).to_json(path)
    gold = Gold(open_run(folder))
    assert gold.keep(path) == 3 and EVERY == 20
    assert all(len(row["label"]) == len(row["tokens"]) for row in gold.rows.values())


def test_status_says_how_far_people_agree(waiting):
    folder = waiting(overlap=2)
    label(folder, wrong=(1, 2), who=("ann", "bob"))
    status = hfal("status", folder).stdout
    assert "agree     83% alike" in status and "kappa of ann and bob" in status and "(over 12 rows)" in status
