"""Questions about pictures through the loop: runs, people, files, processes."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from datasets import Image

from hfal.config import check_config, load_config
from hfal.errors import HfalError
from hfal.labeling import open_work
from hfal.labeling.desk import Desk
from hfal.labeling.exporting import export_round
from hfal.labeling.importing import import_file
from hfal.labeling.relabel import doubts
from hfal.predicting import predict_file
from hfal.report.view import open_run
from hfal.running import run_config
from tests.pictures import make_questions
from tests.processes import run_here, run_on
from tests.test_cli import selections

SHORT = {"num_train_epochs": 1, "min_steps": 3, "per_device_train_batch_size": 16}


def write_project(folder: Path, model: str, **changes) -> Path:
    """Pictures in files, questions in a table, and a config."""
    for name, size, seed in (("pool", 80, 0), ("test", 40, 1)):
        rows = make_questions(size, seed)
        (folder / name).mkdir()
        for at, picture in enumerate(rows["image"]):
            (folder / name / f"{at}.png").write_bytes(picture["bytes"])
        paths = [str(folder / name / f"{at}.png") for at in range(size)]
        rows.remove_columns("image").add_column("image", paths).to_json(folder / f"{name}.jsonl")
    config = {
        "output_dir": str(folder / "run"),
        "pool": {"source": str(folder / "pool.jsonl")},
        "test": {"source": str(folder / "test.jsonl")},
        "task": {"type": "visual_question_answering"},
        "learner": {"type": "fusion", "model": model, "image_size": 24, "training": SHORT},
        "strategy": "latent_variance(mc_samples=3)",
        "budget": {"rows": 30},
        "batch": {"rows": 10},
    } | changes
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder / "config.yaml"


def for_people(folder: Path, model: str, **changes) -> Path:
    names = ["blue", "green", "no", "red", "yes"]
    task = {"type": "visual_question_answering", "label_names": names}
    config = write_project(folder, model, task=task, oracle="people", audit=0.0, **changes)
    run_config(load_config(config), lambda *_: None)
    return folder / "run"


def test_a_run_shows_the_pictures_that_it_asked(tmp_path, tiny_model):
    outcome = run_config(load_config(write_project(tmp_path, tiny_model)), lambda *_: None)
    assert outcome.main_metric == "vqa_accuracy"
    assert [done.labeled for done in outcome.rounds[0][1]] == [10, 20, 30]
    report = (tmp_path / "run" / "report.html").read_text()
    assert report.count('<img src="data:image/png;base64,') == 30
    assert "VQA accuracy" in report
    asked = pq.read_table(tmp_path / "run/rounds/0001/selection.parquet").to_pylist()
    for row in asked:
        lies_at = tmp_path / "pool" / row["image"]["path"]
        assert row["image"]["bytes"] == lies_at.read_bytes() and "/" not in row["image"]["path"]


@pytest.mark.parametrize("when", ["selection.parquet", "labels.parquet", "metrics.json", "round.json"])
def test_a_run_that_ends_at_any_write_goes_on_with_the_same_picks(tmp_path, tiny_model, when):
    config = load_config(write_project(tmp_path, tiny_model, baseline=None))
    whole = run_config(config, lambda *_: None)
    picks = selections(tmp_path / "run")
    names = ["selection.parquet", "labels.parquet", "metrics.json", "round.json"]
    for name in names[names.index(when) :]:
        (tmp_path / "run/rounds/0001" / name).unlink()
    shutil.rmtree(tmp_path / "run/rounds/0002")
    shutil.rmtree(tmp_path / "run/model")
    again = run_config(config, lambda *_: None)
    assert selections(tmp_path / "run") == picks
    assert again.rounds[0][1][-1].metrics == whole.rounds[0][1][-1].metrics


def test_people_type_answers_known_and_new(tmp_path, tiny_model):
    folder = for_people(tmp_path, tiny_model)
    desk = Desk(folder)
    said = desk.start("ann")
    assert said["kind"] == "answer" and said["classes"] == ["blue", "green", "no", "red", "yes"]
    (name, source), (column, question) = said["row"]["pictures"][0], said["row"]["texts"][0]
    assert name == "image" and source.startswith("data:image/png;base64,")
    assert column == "question" and question
    for number in range(10):
        label = "a bright one" if number == 3 else "yes" if number % 2 else "red"
        said = desk.answer("ann", {"id": said["row"]["id"], "label": label, "seconds": 1.0})
    desk.close()
    assert said["row"] is None
    run_config(load_config(folder), lambda *_: None)
    labels = pq.read_table(folder / "rounds/0000/labels.parquet")["label"].to_pylist()
    assert ["a bright one"] in labels and ["yes"] in labels
    work = open_work(folder)
    assert work.number == 1
    row = next(iter(work.rows.values()))
    assert row["predicted"][0] in ("blue", "green", "no", "red", "yes")
    desk = Desk(folder)
    assert desk.next("ann")["row"]["suggestion"] == row["predicted"][0]
    with pytest.raises(HfalError, match="this row has no answer"):
        desk.answer("ann", {"id": row["id"], "label": "  "})
    desk.close()


@pytest.mark.parametrize("kind", ["label_studio", "jsonl", "csv"])
def test_rounds_go_to_other_tools_and_come_back(kind, tmp_path, tiny_model):
    folder = for_people(tmp_path, tiny_model)
    path = tmp_path / ("out.json" if kind == "label_studio" else f"out.{kind}")
    rows, _ = export_round(open_work(folder), kind, path)
    assert rows == 10
    text = path.read_text()
    assert "data:image/png;base64," in text and str(tmp_path) not in text
    if kind == "label_studio":
        tasks = json.loads(text)
        assert "<Image " in (tmp_path / "out.xml").read_text() and "<TextArea " in (tmp_path / "out.xml").read_text()
        for task in tasks:
            value = {"text": ["green"]}
            task["annotations"] = [{"completed_by": 1, "result": [{"type": "textarea", "value": value}]}]
        path.write_text(json.dumps(tasks))
    elif kind == "jsonl":
        lines = [json.loads(line) | {"label": "green"} for line in text.splitlines()]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    else:
        import pandas as pd

        pd.read_csv(path, dtype=str).assign(label="green").to_csv(path, index=False)
    assert import_file(folder, path).new == 10
    run_config(load_config(folder), lambda *_: None)
    assert pq.read_table(folder / "rounds/0000/labels.parquet")["label"].to_pylist() == [["green"]] * 10


def test_doubtful_labels_and_predictions_of_files(tmp_path, tiny_model, capsys):
    folder = for_people(tmp_path, tiny_model)
    path = tmp_path / "labels.jsonl"
    export_round(open_work(folder), "jsonl", path)
    lines = [json.loads(line) | {"label": "green"} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    import_file(folder, path)
    run_config(load_config(folder), lambda *_: None)
    found = doubts(folder)
    assert len(found) == 10 and all(0 <= doubt.probability <= 1 for doubt in found)
    predict_file(folder, str(tmp_path / "test.jsonl"), tmp_path / "out.csv")
    text = (tmp_path / "out.csv").read_text()
    assert text.splitlines()[0] == "question,answers,image,prediction,probability" and len(text.splitlines()) == 41


def test_gold_rows_are_pictures_too(tmp_path, tiny_model):
    from hfal.labeling.gold import Gold

    folder = for_people(tmp_path, tiny_model)
    gold = Gold(open_run(folder))
    assert gold.keep(tmp_path / "test.jsonl") == 40
    row = next(iter(gold.rows.values()))
    assert row["image"]["bytes"].startswith(b"\x89PNG") and row["label"]


def test_a_picture_that_is_broken_is_set_aside_and_named(tmp_path, tiny_model, caplog):
    config = write_project(tmp_path, tiny_model, baseline=None)
    (tmp_path / "pool" / "3.png").write_bytes(b"no picture")
    (tmp_path / "pool" / "5.png").unlink()
    outcome = run_config(load_config(config), lambda *_: None)
    assert outcome.rounds[0][1][-1].labeled == 30
    assert "pool: 2 rows left out" in caplog.text and "3.png that cannot be decoded" in caplog.text


def test_impossible_settings_are_one_line():
    base = {"output_dir": "x", "pool": {"source": "demo/easy-vqa"}, "budget": {"rows": 3}, "batch": {"rows": 1}}
    task = {"type": "visual_question_answering"}
    with pytest.raises(HfalError, match="latent_samples|learner.*image_sise"):
        check_config(base | {"task": task, "learner": {"type": "fusion", "model": "demo/minilm", "image_sise": 3}})


@pytest.mark.slow
def test_two_processes_choose_the_same_pictures_as_one(tmp_path, tiny_model):
    config = write_project(tmp_path, tiny_model, baseline=None)
    run_on(2, config, f"output_dir={tmp_path / 'two'}")
    run_here(config, f"output_dir={tmp_path / 'one'}")
    assert selections(tmp_path / "one") == selections(tmp_path / "two")
    scores = [json.loads((tmp_path / name / "rounds/0002/metrics.json").read_text()) for name in ("one", "two")]
    assert scores[0] == scores[1]


def test_rows_on_the_hub_are_pictures(tmp_path, tiny_model):
    from hfal.hub.contents import queried

    run_config(load_config(write_project(tmp_path, tiny_model, baseline=None)), lambda *_: None)
    rows = queried(open_run(tmp_path / "run"), 1)
    assert isinstance(rows.features["image"], Image)
    assert rows[0]["image"].size == (24, 24)
