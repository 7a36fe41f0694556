"""Answers that stand in a text, through the loop and with people."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from hfal import HfalError
from hfal.config import load_config
from hfal.hub.contents import labeled
from hfal.labeling import open_work
from hfal.labeling.desk import Desk
from hfal.labeling.exporting import export_round
from hfal.labeling.importing import import_file
from hfal.predicting import predict_file
from hfal.report.view import open_run
from hfal.running import run_config
from tests.learners.test_extract import make_asked


def write_project(folder: Path, model: str, **changes) -> Path:
    make_asked(60).to_parquet(folder / "pool.parquet")
    make_asked(20, 1).to_parquet(folder / "test.parquet")
    config = {
        "output_dir": str(folder / "run"),
        "pool": {"source": str(folder / "pool.parquet")},
        "test": {"source": str(folder / "test.parquet")},
        "task": {"type": "question_answering"},
        "learner": {"type": "extract", "model": model, "training": {"num_train_epochs": 1, "min_steps": 4}},
        "strategy": "margin",
        "budget": {"rows": 24},
        "batch": {"rows": 8},
        "baseline": None,
    } | changes
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder / "config.yaml"


@pytest.mark.parametrize(
    "strategy",
    ["margin", "entropy", "least_confidence", "bald(mc_samples=3)", "typiclust", "margin>kmeans(prefilter=3)"],
)
def test_strategies_see_a_rows_own_spans(strategy, tmp_path, tiny_model):
    drawn = {"strategy": "random"}  # its rows do not hang on a model's last bits: one of them has no answer
    config = load_config(write_project(tmp_path, tiny_model, strategy=strategy, start=drawn))
    outcome = run_config(config, lambda *_: None)
    assert [r.labeled for r in outcome.rounds[0][1]] == [8, 16, 24] and outcome.main_metric == "f1"
    report = (tmp_path / "run/report.html").read_text()
    assert [] in pq.read_table(tmp_path / "run/rounds/0000/labels.parquet")["label"].to_pylist()
    assert "what is it" in report and "(no answer)" in report


def test_what_a_model_of_places_cannot_give_is_told(tmp_path, tiny_model):
    config = load_config(write_project(tmp_path, tiny_model, strategy="badge"))
    with pytest.raises(HfalError, match="extract cannot give features"):
        run_config(config, lambda *_: None)


def waiting_run(tmp_path, tiny_model):
    config = write_project(tmp_path, tiny_model, oracle="people", audit=0.0)
    run_config(load_config(config), lambda *_: None)
    return tmp_path / "run"


def test_people_mark_the_answer_or_none(tmp_path, tiny_model):
    folder = waiting_run(tmp_path, tiny_model)
    desk = Desk(folder)
    said = desk.start("ann")
    assert (said["kind"], said["single"], said["classes"]) == ("words", True, ["answer"])
    assert said["row"]["texts"] == [["question", "what is it"]] and said["row"]["text"].startswith("n0x")
    first = said["row"]
    with pytest.raises(HfalError, match="a question has one answer"):
        desk.answer("ann", {"id": first["id"], "label": [[0, 1, "answer"], [2, 3, "answer"]]})
    said = desk.answer("ann", {"id": first["id"], "label": [[1, 3, "answer"]], "seconds": 1.0})
    while said["row"]:
        said = desk.answer("ann", {"id": said["row"]["id"], "label": [], "seconds": 1.0})
    again = desk.undo("ann")
    assert again["row"]["before"] == []
    desk.answer("ann", {"id": again["row"]["id"], "label": []})
    desk.close()
    run_config(load_config(folder), lambda *_: None)
    labels = {r["id"]: r["label"] for r in pq.read_table(folder / "rounds/0000/labels.parquet").to_pylist()}
    (a, _), (_, b) = first["bounds"][1], first["bounds"][2]
    assert labels[first["id"]] == [{"start": a, "text": first["text"][a:b]}]
    assert sum(bool(label) for label in labels.values()) == 1
    desk = Desk(folder)
    suggestion = desk.next("ann")["row"]["suggestion"]
    assert suggestion == [] or suggestion[0][2] == "answer"
    desk.close()
    assert labeled(open_run(folder), 0)["label"]


@pytest.mark.parametrize("kind", ["label_studio", "jsonl", "csv"])
def test_answers_go_to_other_tools_and_come_back(kind, tmp_path, tiny_model):
    folder = waiting_run(tmp_path, tiny_model)
    path = tmp_path / ("out.json" if kind == "label_studio" else f"out.{kind}")
    export_round(open_work(folder), kind, path)
    if kind == "label_studio":
        assert 'name="question"' in (tmp_path / "out.xml").read_text()
        tasks = json.loads(path.read_text())
        for task in tasks:
            value = {"start": 0, "end": 3, "text": task["data"]["text"][:3], "labels": ["answer"]}
            task["annotations"] = [{"completed_by": 1, "result": [{"type": "labels", "value": value}]}]
        path.write_text(json.dumps(tasks))
    elif kind == "jsonl":
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        lines = [line | {"label": {"text": [line["context"][:3]], "answer_start": [0]}} for line in lines]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    else:
        import pandas as pd

        frame = pd.read_csv(path, dtype=str)
        frame["label"] = [json.dumps([{"start": 0, "text": context[:3]}]) for context in frame["context"]]
        frame.to_csv(path, index=False)
    assert import_file(folder, path).new == 8
    run_config(load_config(folder), lambda *_: None)
    labels = pq.read_table(folder / "rounds/0000/labels.parquet")["label"].to_pylist()
    assert all(label[0]["start"] == 0 and len(label[0]["text"]) == 3 for label in labels)
    assert predict_file(folder, str(tmp_path / "test.parquet"), tmp_path / "o.jsonl") == 20


def test_an_answer_that_is_not_in_its_row_is_refused_with_its_line(tmp_path, tiny_model):
    folder = waiting_run(tmp_path, tiny_model)
    name = next(iter(open_work(folder).rows))
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps({"id": name, "label": [{"start": 0, "text": "zzz"}]}) + "\n")
    with pytest.raises(HfalError, match="line 1, column label: answer 'zzz' in row .* is not at 0"):
        import_file(folder, path)
