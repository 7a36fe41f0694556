"""Configs for rows that are read from two columns."""

import pytest
import yaml
from datasets import ClassLabel, Dataset, Features, Image, Value

from hfal import HfalError
from hfal.config import load_config
from hfal.running import run_config
from hfal.starting import write_config
from tests.conftest import NAMES, TAGS, make_rows, make_tagged
from tests.learners.test_extract import make_asked
from tests.learners.test_pairs import make_pairs
from tests.pictures import make_questions


def ask(question, default, given):
    return default if given is None else given


def written(tmp_path, rows, model, **given):
    rows.to_parquet(tmp_path / "rows.parquet")
    options = {"text": None, "label": None} | given
    said = []
    write_config(
        tmp_path / "c.yaml", ask, source=str(tmp_path / "rows.parquet"), model=model, tell=said.append, **options
    )
    return yaml.safe_load((tmp_path / "c.yaml").read_text()), said


def pairs():
    features = Features(
        {"premise": Value("string"), "hypothesis": Value("string"), "label": ClassLabel(names=["n", "y"])}
    )
    rows = make_pairs(80)
    columns = {"premise": rows["left"][:], "hypothesis": rows["right"][:], "label": rows["labels"][:]}
    return Dataset.from_dict(columns, features=features)


def test_two_columns_that_belong_together_are_pairs_and_the_config_runs(tmp_path, tiny_model, monkeypatch):
    config, said = written(tmp_path, pairs(), tiny_model)
    assert config["task"] == {"type": "pairs", "left": "premise", "right": "hypothesis", "label": "label"}
    assert "2 classes: n, y" in said
    monkeypatch.chdir(tmp_path)
    changes = ["budget.rows=12", "batch.rows=6", "baseline=null"]
    outcome = run_config(load_config(tmp_path / "c.yaml", changes), lambda *_: None)
    assert outcome.rounds[0][1][-1].labeled == 12


def halved(rows, column):
    """Without the label of every second row."""
    return Dataset.from_dict(
        {name: rows[name][:] if name != column else [one if at % 2 else None for at, one in enumerate(rows[name])]
         for name in rows.column_names}
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["names", "numbers", "words"])
def test_labels_with_gaps_are_learned_from_the_start_and_people_give_the_rest(tmp_path, tiny_model, monkeypatch, kind):
    label = "ner_tags" if kind == "words" else "label"
    if kind == "words":
        rows = make_tagged(90).map(lambda row: {"names": [TAGS[tag] for tag in row["ner_tags"]]})
        rows = rows.remove_columns("ner_tags").rename_column("names", "ner_tags")
    else:
        rows = make_rows(90)
        names = [NAMES[one] for one in rows["label"]] if kind == "names" else rows["label"][:]
        rows = Dataset.from_dict({"text": rows["text"][:], "label": names})
    config, said = written(tmp_path, halved(rows, label), tiny_model)
    assert config["oracle"] == "people" and config["pool"]["seed_labels"] == label and "test" not in config
    assert any("45 rows have no label" in line for line in said)
    classes = {"names": sorted(NAMES), "numbers": ["0", "1", "2"], "words": set(TAGS)}[kind]
    assert type(classes)(config["task"]["label_names"]) == classes
    monkeypatch.chdir(tmp_path)
    outcome = run_config(load_config(tmp_path / "c.yaml"), lambda *_: None)
    assert outcome.waiting == 1, "the first round is trained on what there is"


def test_pairs_without_labels_are_for_people(tmp_path, tiny_model):
    config, _ = written(tmp_path, pairs().remove_columns("label"), tiny_model, classes="different, same")
    assert config["task"]["label_names"] == ["different", "same"] and config["oracle"] == "people"


def test_pictures_with_questions_are_answered_by_a_fusion(tmp_path, tiny_model):
    rows = make_questions(60).cast_column("image", Image())
    config, _ = written(tmp_path, rows, tiny_model)
    assert config["task"]["type"] == "visual_question_answering" and config["learner"]["type"] == "fusion"
    load_config(tmp_path / "c.yaml")


def test_answers_as_squad_has_them_are_extracted(tmp_path, tiny_model):
    config, _ = written(tmp_path, make_asked(60), tiny_model)
    assert config["task"] == {
        "type": "question_answering",
        "question": "question",
        "context": "context",
        "answers": "answers",
    }
    assert config["learner"]["type"] == "extract"
    load_config(tmp_path / "c.yaml")


def test_a_column_with_a_comma_in_its_name_is_one_column(tmp_path, tiny_model):
    rows = Dataset.from_dict({"a, b": [f"text {n}" for n in range(40)], "label": ["x", "y"] * 20})
    config, _ = written(tmp_path, rows, tiny_model)
    assert config["task"]["text"] == "a, b"


def test_a_column_that_is_not_there_is_told(tmp_path, tiny_model):
    with pytest.raises(HfalError, match="no column 'hypotheses'"):
        written(tmp_path, pairs(), tiny_model, text="premise, hypotheses")
