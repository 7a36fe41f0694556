"""Texts that are written, through the loop: runs, budgets in words, people."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from hfal import HfalError
from hfal.config import load_config
from hfal.demo import demo_dataset
from hfal.labeling import open_work
from hfal.labeling.desk import Desk
from hfal.labeling.exporting import export_round
from hfal.labeling.importing import import_file
from hfal.labeling.relabel import doubts
from hfal.predicting import predict_file
from hfal.running import run_config
from hfal.tasks import Generation
from hfal.tasks.text_scores import rouge, score_texts
from tests.processes import run_here, run_on
from tests.test_cli import selections
from tests.writing import make_texts, save_tiny_writer

SHORT = {"num_train_epochs": 1, "min_steps": 3, "learning_rate": 1.0e-3}


@pytest.fixture(scope="session")
def writer(tmp_path_factory):
    return save_tiny_writer(tmp_path_factory.mktemp("t5"), "t5")


def write_project(folder: Path, model: str, embedder: str, **changes) -> Path:
    for name, size, seed in (("pool", 60, 0), ("test", 20, 1)):
        make_texts(size, seed).to_json(folder / f"{name}.jsonl")
    config = {
        "output_dir": str(folder / "run"),
        "pool": {"source": str(folder / "pool.jsonl")},
        "test": {"source": str(folder / "test.jsonl")},
        "task": {"type": "generation"},
        "learner": {
            "type": "generate",
            "model": model,
            "embedder": embedder,
            "max_source_length": 40,
            "max_new_tokens": 8,
            "training": SHORT,
        },
        "strategy": "nsp",
        "budget": {"rows": 30},
        "batch": {"rows": 10},
        "baseline": None,
    } | changes
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder / "config.yaml"


@pytest.mark.parametrize(
    "strategy",
    [
        "idds",
        "facility_location",
        "huds",
        "hadas",
        "mean_token_entropy",
        "bleu_variance(mc_samples=3)",
        "semantic_entropy(mc_samples=3)",
        "latent_variance(mc_samples=3)",
        "nsp>kmeans(prefilter=3)",
        "idds>bleu_variance(mc_samples=2)",
        "huds(by=latent_variance(mc_samples=2))",
    ],
)
def test_every_strategy_of_writing_runs(strategy, tmp_path, tiny_model, writer):
    config = load_config(write_project(tmp_path, writer, tiny_model, strategy=strategy, budget={"rows": 20}))
    outcome = run_config(config, lambda *_: None)
    done = outcome.rounds[0][1]
    assert outcome.main_metric == "rouge_l" and [r.labeled for r in done] == [10, 20]
    assert {"rouge_l", "rouge_1", "chrf", "exact_match", "words"} <= done[-1].metrics.keys()


def test_strategies_of_classes_are_refused_and_those_that_fit_named(tmp_path, tiny_model, writer):
    config = load_config(write_project(tmp_path, writer, tiny_model, strategy="margin"))
    with pytest.raises(HfalError, match="strategy margin reads each row's own prediction.*idds"):
        run_config(config, lambda *_: None)


def test_a_report_shows_sources_and_texts(tmp_path, tiny_model, writer):
    run_config(load_config(write_project(tmp_path, writer, tiny_model)), lambda *_: None)
    report = (tmp_path / "run" / "report.html").read_text()
    assert "ROUGE-L" in report and "it is a happy phone" in report


@pytest.mark.parametrize("unit", ["words", "target_words"])
def test_budgets_in_words_of_source_or_target(unit, tmp_path, tiny_model, writer):
    config = write_project(tmp_path, writer, tiny_model, budget={unit: 100}, batch={unit: 40})
    outcome = run_config(load_config(config), lambda *_: None)
    rows = [
        row for path in (tmp_path / "run/rounds").glob("*/selection.parquet") for row in pq.read_table(path).to_pylist()
    ]
    texts = {row["source"]: row["target"] for row in make_texts(60)}
    spent = sum(len((row["source"] if unit == "words" else texts[row["source"]]).split()) for row in rows)
    assert outcome.rounds[0][1][-1].spent == spent <= 100


@pytest.mark.parametrize("when", ["selection.parquet", "labels.parquet", "round.json"])
def test_a_run_that_ends_at_any_write_goes_on_with_the_same_picks(when, tmp_path, tiny_model, writer):
    config = load_config(write_project(tmp_path, writer, tiny_model, strategy="semantic_entropy(mc_samples=3)"))
    whole = run_config(config, lambda *_: None)
    picks = selections(tmp_path / "run")
    names = ["selection.parquet", "labels.parquet", "metrics.json", "round.json"]
    for name in names[names.index(when) :]:
        (tmp_path / "run/rounds/0001" / name).unlink()
    shutil.rmtree(tmp_path / "run/rounds/0002")
    again = run_config(config, lambda *_: None)
    assert selections(tmp_path / "run") == picks
    assert again.rounds[0][1][-1].metrics == whole.rounds[0][1][-1].metrics


def test_people_write_and_change_what_is_suggested(tmp_path, tiny_model, writer):
    config = write_project(tmp_path, writer, tiny_model, oracle="people", audit=0.0)
    run_config(load_config(config), lambda *_: None)
    folder = tmp_path / "run"
    desk = Desk(folder)
    said = desk.start("ann")
    assert said["kind"] == "text" and said["classes"] == []
    for _ in range(10):
        said = desk.answer("ann", {"id": said["row"]["id"], "label": " it is a happy phone\nreally ", "seconds": 3.0})
    desk.close()
    run_config(load_config(folder), lambda *_: None)
    assert (
        pq.read_table(folder / "rounds/0000/labels.parquet")["label"].to_pylist()
        == [["it is a happy phone\nreally"]] * 10
    )
    work = open_work(folder)
    assert isinstance(next(iter(work.rows.values()))["predicted"][0], str)
    export_round(work, "csv", tmp_path / "out.csv")
    import pandas as pd

    pd.read_csv(tmp_path / "out.csv", dtype=str).assign(label="=quite usual").to_csv(tmp_path / "out.csv", index=False)
    assert import_file(folder, tmp_path / "out.csv").new == 10
    run_config(load_config(folder), lambda *_: None)
    found = doubts(folder)
    assert len(found) == 20 and all(0 <= doubt.probability <= 1 for doubt in found)
    assert predict_file(folder, str(tmp_path / "test.jsonl"), tmp_path / "out.jsonl") == 20
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert all(isinstance(line["prediction"], str) and 0 < line["probability"] <= 1 for line in lines)


@pytest.mark.slow
def test_two_processes_write_and_choose_the_same_as_one(tmp_path, tiny_model, writer):
    config = write_project(tmp_path, writer, tiny_model, strategy="semantic_entropy(mc_samples=3)")
    run_on(2, config, f"output_dir={tmp_path / 'two'}")
    run_here(config, f"output_dir={tmp_path / 'one'}")
    assert selections(tmp_path / "one") == selections(tmp_path / "two")


def test_scores_are_those_of_the_packages():
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rougeL"], use_stemmer=True)
    text, references = "The meetings moved to Friday.", ["meeting moved to friday", "no meeting"]
    expected = max(scorer.score(reference, text)["rougeL"].fmeasure for reference in references)
    assert rouge([text], [references])[0]["rouge_l"] == pytest.approx(expected)
    chrf = pytest.importorskip("sacrebleu").sentence_chrf(text, references).score / 100
    found = score_texts([text, "same"], [references, ["same"]])
    assert found["chrf"] == pytest.approx((chrf + 1) / 2) and found["exact_match"] == 0.5


def test_texts_in_other_scripts_have_words_too():
    assert rouge(["会议改到星期五"], [["会议改到星期五"]])[0]["rouge_l"] == 1
    assert 0 < rouge(["Größe über alles"], [["die Größe"]])[0]["rouge_1"] < 1
    assert rouge([""], [["x"]])[0]["rouge_l"] == 0


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (None, "is neither a text"),
        (" ", "the target in row 2 is empty"),
        ([1], "is neither a text"),
        ("a\ud800", "half a character"),
    ],
)
def test_a_target_that_is_no_text_is_refused_with_its_row(label, message):
    with pytest.raises(HfalError, match=message):
        Generation().encode(label, "row 2")


def test_references_are_several_right_texts():
    assert Generation().encode(["a ", " ", "b"], "row 0") == ["a", "b"]


def test_the_made_up_emails_are_as_they_were():
    rows = demo_dataset("demo/emails")
    assert len(rows) == 1200 == len(set(rows["email"]))
    assert rows[0] == demo_dataset("demo/emails")[0]
