"""The command line, from a config to labelled rounds."""

import csv
import json
import shutil

import pyarrow.parquet as pq
import pytest
import yaml

from hfal.answers import Answer, Answers, now
from hfal.labeling import open_work
from hfal.report.view import open_run
from tests.conftest import make_rows, make_tagged
from tests.labeling.conftest import answer_all, rows_of, truth_of, write_project
from tests.test_cli import hfal, selections


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_model):
    """A whole run: three rounds, each labelled through a file."""
    folder = tmp_path_factory.mktemp("people")
    config = write_project(folder, tiny_model, "text", {})
    outputs = [hfal("run", config)]
    for _ in range(3):
        hfal("import", folder / "run", answer_all(folder / "run"))
        outputs.append(hfal("run", folder / "run"))
    return folder / "run", outputs


def test_a_run_waits_and_says_how_to_label(finished):
    _, outputs = finished
    first = outputs[0].stdout
    assert "Round 0: 12 rows to label (5 of them drawn by chance" in first
    for command in ("hfal label", "hfal push", "hfal export"):
        assert command in first


def test_the_run_ends_with_figures_from_the_audit_alone(finished):
    folder, outputs = finished
    last = outputs[-1]
    assert last.returncode == 0, last.stderr
    assert "pool accuracy" in last.stdout
    status = hfal("status", folder).stdout
    assert "95% interval" in status and "(15 rows)" in status
    assert "spent     36 of 36 labels" in status
    page = (folder / "report.html").read_text()
    assert "How good the model is on your pool" in page and "by chance" in page
    assert "the band is their 95% interval" in page
    low, high = open_run(folder).interval("pool_accuracy")
    assert len(low) == len(high) == 2 and all(0 <= a < b <= 1 for a, b in zip(low, high, strict=True))


def test_audited_rows_are_marked_unscored_and_never_trained_on(finished):
    folder, _ = finished
    for path in sorted(folder.glob("rounds/*/selection.parquet")):
        rows = pq.read_table(path).to_pylist()
        assert sum(row["audit"] for row in rows) == 5
        assert all((row["score"] is None) == row["audit"] == (row["strategy"] == "audit") for row in rows)
    rounds = [json.loads(p.read_text()) for p in sorted(folder.glob("rounds/*/round.json"))]
    assert [r["labeled"] for r in rounds] == [12, 24, 36]
    assert [r["audit"]["rows"] for r in rounds] == [5, 10, 15]


def test_labels_keep_who_when_how_long_and_each_answer(finished):
    folder, _ = finished
    row = pq.read_table(folder / "rounds" / "0001" / "labels.parquet").to_pylist()[0]
    assert (row["annotator"], row["seconds"], row["source"]) == ("ann", 2.5, "file")
    assert row["answers"][0]["label"] == row["label"] and row["time"] is not None


def test_the_same_labels_give_the_same_rounds(finished, tiny_model, tmp_path):
    folder, _ = finished
    config = write_project(tmp_path, tiny_model, "text", {})
    hfal("run", config)
    for _ in range(2):
        hfal("import", tmp_path / "run", answer_all(tmp_path / "run"))
        hfal("run", config)
    assert selections(tmp_path / "run") == selections(folder)


@pytest.mark.parametrize("kind", ["words", "multi"])
def test_words_and_several_labels_go_round_too(waiting, kind):
    folder = waiting(kind)
    assert hfal("import", folder, answer_all(folder, kind)).returncode == 0
    done = hfal("run", folder)
    assert done.returncode == 0, done.stderr
    assert "Round 1: 12 rows to label" in done.stdout
    assert hfal("import", folder, answer_all(folder, kind)).returncode == 0
    assert "round 1" in hfal("run", folder).stdout
    assert "95% interval" in hfal("status", folder).stdout


def test_part_of_a_round_may_be_accepted_and_the_rest_returns(waiting):
    folder = waiting()
    rows = rows_of(folder)
    early = hfal("run", folder, "--accept-partial")
    assert early.returncode == 2 and "nobody has answered" in early.stderr
    hfal("import", folder, answer_all(folder, rows=rows[:8]))
    assert "8 of 12 rows labelled" in hfal("status", folder).stdout
    assert "4 still without" in hfal("run", folder).stdout
    done = hfal("run", folder, "--accept-partial")
    assert done.returncode == 0, done.stderr
    table = pq.read_table(folder / "rounds" / "0000" / "labels.parquet")
    assert table["id"].to_pylist() == [row["id"] for row in rows[:8]]
    assert "Round 1: 12 rows to label" in done.stdout
    assert "spent     8 of 36" in hfal("status", folder).stdout


def test_accepting_part_of_a_simulated_round_is_an_error(tmp_path, tiny_model):
    config = write_project(tmp_path, tiny_model, "text", {"oracle": "simulated"})
    assert "--accept-partial is for rounds that people label" in hfal("run", config, "--accept-partial").stderr


def test_two_people_must_answer_where_overlap_says_so(waiting):
    folder = waiting(overlap=2)
    hfal("import", folder, answer_all(folder, who="ann"))
    assert "12 still without" in hfal("run", folder).stdout
    hfal("import", folder, answer_all(folder, who="bob", rows=rows_of(folder)[:4]))
    assert "people    ann 12, bob 4 (8 for them)" in hfal("status", folder).stdout
    hfal("import", folder, answer_all(folder, who="bob"))
    assert "Round 1" in hfal("run", folder).stdout
    row = pq.read_table(folder / "rounds" / "0000" / "labels.parquet").to_pylist()[0]
    assert row["annotator"] == "ann, bob" and len(row["answers"]) == 2


def test_a_correction_of_an_earlier_round_comes_with_the_next(waiting):
    folder = waiting()
    rows = rows_of(folder)
    hfal("import", folder, answer_all(folder))
    hfal("run", folder)
    fixed = next(row for row in rows if not row["audit"])
    correction = folder.parent / "fix.jsonl"
    wrong = "bad" if truth_of("text")[fixed["text"]] != "bad" else "good"
    correction.write_text(json.dumps({"id": fixed["id"], "label": wrong, "annotator": "ann"}) + "\n")
    assert "1 label taken" in hfal("import", folder, correction).stdout
    hfal("import", folder, answer_all(folder))
    assert hfal("run", folder).returncode == 0
    second = {
        row["id"]: row["label"] for row in pq.read_table(folder / "rounds" / "0001" / "labels.parquet").to_pylist()
    }
    assert second[fixed["id"]] == wrong and len(second) == 13
    assert "spent     24 of 36" in hfal("status", folder).stdout, "a row asked twice is paid once"


def test_skipped_rows_are_not_trained_on_nor_asked_again(waiting):
    folder = waiting()
    rows = rows_of(folder)
    skipped = next(row["id"] for row in rows if not row["audit"])
    answers = Answers(open_work(folder).run.ledger.path(0))
    said = [
        Answer(
            row["id"],
            "ann",
            None if row["id"] == skipped else truth_of("text")[row["text"]],
            time=now(),
            source="file",
            skipped=row["id"] == skipped,
        )
        for row in rows
    ]
    answers.add(said, "file")
    assert hfal("run", folder).returncode == 0
    hfal("import", folder, answer_all(folder))
    assert hfal("run", folder).returncode == 0
    asked = [row for ids in selections(folder) for row in ids]
    assert asked.count(skipped) == 1


def test_nobody_is_asked_in_a_simulated_run(tmp_path, tiny_model):
    config = write_project(tmp_path, tiny_model, "text", {"oracle": "simulated"})
    config.write_text(config.read_text().replace("oracle: simulated", "oracle: simulated\nbaseline: null"))
    folder = tmp_path / "run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(config, folder / "config.yaml")
    done = hfal("export", folder, tmp_path / "x.csv", "--to", "csv")
    assert done.returncode == 2 and "nobody is asked in this run" in done.stderr


def test_people_cannot_be_asked_for_several_seeds(tmp_path, tiny_model):
    config = write_project(tmp_path, tiny_model, "text", {"repeats": 3})
    assert "people label a run once" in hfal("run", config).stderr


def test_a_seed_set_of_skips_is_one_clear_error(waiting):
    folder = waiting()
    path = folder.parent / "skips.csv"
    with open(path, "w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "label", "skipped"])
        writer.writerows([row["id"], "", "true"] for row in rows_of(folder))
    assert "12 labels taken" in hfal("import", folder, path).stdout
    done = hfal("run", folder)
    assert done.returncode == 2 and "no row has a label to train on" in done.stderr


def test_the_config_of_a_run_folder_is_read_again(waiting):
    folder = waiting()
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["oracle"] == "people"
    assert hfal("run", folder).returncode == 0


def test_ahead_chooses_a_round_before_the_one_before_it_is_labelled(tmp_path, tiny_model):
    runs = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        config = write_project(tmp_path / name, tiny_model, "text", {"people": {"ahead": True}, "budget": {"rows": 48}})
        folder = tmp_path / name / "run"
        hfal("run", config)
        hfal("import", folder, answer_all(folder))
        done = hfal("run", folder)
        assert "Round 1: 12 rows to label" in done.stdout, done.stderr
        assert (folder / "rounds" / "0002" / "selection.parquet").exists()
        if name == "two":  # the same picks where it was chosen again
            (folder / "rounds" / "0002" / "selection.parquet").unlink()
        for _ in range(3):
            hfal("import", folder, answer_all(folder))
            done = hfal("run", folder)
            assert done.returncode == 0, done.stderr
        assert "spent     48 of 48" in hfal("status", folder).stdout
        runs.append(selections(folder))
    assert runs[0] == runs[1]
    asked = [row for ids in runs[0] for row in ids]
    assert len(asked) == len(set(asked)) == 48
    assert [len(ids) for ids in runs[0]] == [12] * 4


@pytest.mark.parametrize("words", [False, True])
def test_init_without_labels_writes_a_config_for_people(tmp_path, tiny_model, words):
    rows = make_tagged(60).remove_columns("ner_tags") if words else make_rows(60).remove_columns("label")
    rows.to_json(tmp_path / "rows.jsonl")
    config = tmp_path / "hfal.yaml"
    asked = hfal("init", "--source", tmp_path / "rows.jsonl", "-o", config)
    assert asked.returncode == 2 and "people will give them" in asked.stdout and "--labels" in asked.stderr
    done = hfal(
        "init", "--source", tmp_path / "rows.jsonl", "--labels", "bad, good", "--model", tiny_model, "-o", config
    )
    assert done.returncode == 0, done.stderr
    ran = hfal("run", config, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "Round 0: " in ran.stdout and "hfal label" in ran.stdout
    assert open_work(tmp_path / "runs" / "rows").task.classes == ("bad", "good")
