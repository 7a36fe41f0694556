"""Entities on the command line: files, budgets in words, reports, several processes."""

import json
import re

import pyarrow.parquet as pq
import pytest
import yaml
from datasets import load_dataset

from hfal.tasks.schemes import spans
from tests.conftest import TAGS, make_tagged
from tests.processes import run_here, run_on
from tests.test_cli import hfal, selections


def write_conll(path, rows):
    blocks = [
        "\n".join(f"{word}\t{TAGS[tag]}" for word, tag in zip(row["tokens"], row["ner_tags"], strict=True))
        for row in rows
    ]
    path.write_text("\n\n".join(blocks) + "\n")


@pytest.fixture(scope="module")
def project(tmp_path_factory, tiny_model):
    """CoNLL files of one's own and a config for them."""
    folder = tmp_path_factory.mktemp("entities")
    write_conll(folder / "train.conll", make_tagged(120))
    write_conll(folder / "test.txt", make_tagged(50, seed=1))
    config = {
        "output_dir": str(folder / "run"),
        "pool": {"source": str(folder / "train.conll")},
        "test": {"source": str(folder / "test.txt"), "format": "conll"},
        "task": {"type": "token_classification"},
        "learner": {"type": "frozen_head", "model": tiny_model},
        "budget": {"words": 300},
        "batch": {"words": 100},
        "repeats": 2,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    done = hfal("run", folder / "config.yaml")
    assert done.returncode == 0, done.stderr
    return folder, done


def options_for(*changes):
    return [part for change in changes for part in ("--set", change)]


def test_run_prints_words_and_entity_scores_beside_chance(project):
    _, done = project
    header = next(line for line in done.stdout.splitlines() if line.strip().startswith("round  labels"))
    assert header.split() == ["round", "labels", "words", "F1", "random", "precision", "random", "recall", "random"]
    assert re.search(r"auto, 300 words, into", done.stdout)
    assert re.search(
        r"seed 0\s+round 2 +\d+ labels +(29\d|300) words +F1 0\.\d+ +precision 0\.\d+ +recall 0\.\d+", done.stdout
    )
    assert re.search(r"Random ends at F1 0\.\d+ with [\d.]+ words; this run (is there|does not)", done.stdout)


def test_chance_spends_as_many_words(project):
    last = [
        json.loads(sorted((project[0] / "run" / place).glob("rounds/*/round.json"))[-1].read_text())["words"]
        for place in ("", "baseline", "repeats/seed-1", "repeats/seed-1/baseline")
    ]
    assert all(290 <= words <= 300 for words in last)


def test_the_report_marks_entities_and_draws_over_words(project):
    page = (project[0] / "run" / "report.html").read_text()
    assert len(re.findall(r"<mark style=", page)) > 20
    assert "Words needed, by F1 reached" in page and "Types, after the last round" in page
    table = pq.read_table(project[0] / "run" / "rounds" / "0001" / "labels.parquet").to_pylist()
    kinds = [kind for row in table for _, _, kind in spans(row["label"])]
    assert f"<small>{kinds[0]}</small></mark>" in page
    (head,) = list((project[0] / "run" / "metrics.csv").read_text().splitlines()[:1])
    assert head == "run,strategy,seed,round,labels,words,spent,f1,precision,recall,seconds"


def test_status_and_predict_speak_of_words_and_tags(project, tmp_path):
    run = project[0] / "run"
    told = hfal("status", run).stdout
    assert re.search(r"spent +\d+ of 300 words", told) and "raise budget.words to go on" in told
    assert hfal("predict", run, project[0] / "train.conll", "--output", tmp_path / "p.jsonl").returncode == 0
    rows = load_dataset("json", data_files=str(tmp_path / "p.jsonl"), split="train")
    assert len(rows) == 120
    assert all(len(row["prediction"]) == len(row["tokens"]) and 0 < row["probability"] <= 1 for row in rows)
    right = sum(p == t for row in rows for p, t in zip(row["prediction"], row["ner_tags"], strict=True))
    assert right / sum(len(row["tokens"]) for row in rows) > 0.6


def test_going_on_with_more_words_and_no_other_unit(project, tmp_path):
    copy = tmp_path / "run"
    base = ["repeats=1", "baseline=null", f"output_dir={copy}"]
    assert hfal("run", project[0] / "config.yaml", *options_for(*base)).returncode == 0
    before = selections(copy)
    assert hfal("run", project[0] / "config.yaml", *options_for(*base, "budget.words=400")).returncode == 0
    assert selections(copy)[: len(before)] == before and len(selections(copy)) > len(before)
    refused = hfal("run", project[0] / "config.yaml", *options_for(*base, "budget={rows: 50}"))
    assert refused.returncode == 2 and "budget.words is 400 there and None now" in refused.stderr


@pytest.mark.parametrize(
    ("lines", "changes", "problem"),
    [
        ("Ann\tB-bad\nsings\n", [], "line 2: expected a word and its tag"),
        (
            "Ann\tI-bad\n\nBob\tB-bad\nB\tI-bad\n\nC\tB-bad\n",
            [],
            "word 0, 'Ann', in row 0 .* may not stand at the start",
        ),
        (
            "Ann\tB-bad\n",
            ["task.label_names=[O, B-good, I-good]"],
            r"tag 'B-bad' of word \d+, '\w+', in row 0 of test is not one of",
        ),
        ("Ann\tB-bad\n", ["task.tokens=words"], "no column 'words'"),
        ("Ann\tB-bad\n", ["budget={words: 20}"], "less than the seed set of 100 words"),
    ],
)
def test_bad_entity_files_are_one_line(project, tmp_path, lines, changes, problem):
    write_conll(tmp_path / "x.conll", make_tagged(100))
    good = (tmp_path / "x.conll").read_text()
    (tmp_path / "x.conll").write_text(lines + "\n" + good)
    sets = options_for(f"output_dir={tmp_path}/run", f"pool.source={tmp_path}/x.conll", "task.scheme=BIO", *changes)
    refused = hfal("run", project[0] / "config.yaml", *sets)
    assert refused.returncode == 2, refused.stdout
    assert refused.stderr.strip().count("\n") == 0
    assert re.search(problem, refused.stderr), refused.stderr


def test_a_type_that_only_the_test_rows_have_counts_and_is_told(project, tmp_path):
    rows = make_tagged(50, seed=1)
    write_conll(tmp_path / "test.conll", rows)
    with open(tmp_path / "test.conll", "a") as handle:
        handle.write("\nParis\tB-place\nis\tO\n")
    sets = options_for(f"output_dir={tmp_path}/run", f"test.source={tmp_path}/test.conll", "repeats=1", "baseline=null")
    done = hfal("run", project[0] / "config.yaml", *sets)
    assert done.returncode == 0, done.stderr
    assert "the pool has no row of place" in done.stderr
    last = json.loads((tmp_path / "run" / "rounds" / "0002" / "metrics.json").read_text())
    assert last["per_class"]["place"]["support"] == 1 and last["per_class"]["place"]["recall"] == 0


@pytest.mark.slow
def test_two_processes_choose_the_same_rows_as_one(project, tmp_path):
    changes = [
        "learner.type=fine_tune",
        "repeats=1",
        "baseline=null",
        "strategy=token_bald(mc_samples=4)>kmeans(prefilter=3)",
    ]
    changes += ["learner.training={min_steps: 20, num_train_epochs: 1, learning_rate: 1.0e-3}"]
    run_on(2, project[0] / "config.yaml", *changes, f"output_dir={tmp_path / 'two'}")
    run_here(project[0] / "config.yaml", *changes, f"output_dir={tmp_path / 'one'}")
    assert selections(tmp_path / "one") == selections(tmp_path / "two")
    scores = [json.loads((tmp_path / name / "rounds" / "0002" / "metrics.json").read_text()) for name in ("one", "two")]
    assert scores[0] == scores[1]


def test_init_sees_word_lists_and_writes_a_config_that_runs(project, tmp_path, tiny_model):
    text = (project[0] / "train.conll").read_text()
    (tmp_path / "mine.conll").write_text("Rome\tI-bad\n\n" + text)
    done = hfal(
        "init", "--source", tmp_path / "mine.conll", "--model", tiny_model, "-o", tmp_path / "c.yaml", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "2 classes: bad, good" in done.stdout
    config = yaml.safe_load((tmp_path / "c.yaml").read_text())
    assert config["task"] == {
        "type": "token_classification",
        "tokens": "tokens",
        "tags": "ner_tags",
        "scheme": "BIO",
        "illegal": "repair",
    }
    assert set(config["budget"]) == set(config["batch"]) == {"words"}
    ran = hfal("run", tmp_path / "c.yaml", "--set", "baseline=null", "--set", "budget.words=150", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr


def test_raw_text_with_spans_runs_to_its_report(tmp_path, tiny_model):
    with open(tmp_path / "rows.jsonl", "w") as handle:
        for row in make_tagged(80):
            text, entities = "", []
            tags = [TAGS[tag] for tag in row["ner_tags"]]
            bounds = []
            for word in row["tokens"]:
                bounds.append((len(text), len(text) + len(word)))
                text += word + " "
            for first, end, kind in spans(tags):
                entities.append({"start": bounds[first][0], "end": bounds[end - 1][1], "label": kind})
            handle.write(json.dumps({"text": text, "entities": entities}) + "\n")
    config = {
        "output_dir": str(tmp_path / "run"),
        "pool": {"source": str(tmp_path / "rows.jsonl")},
        "test": {"source": str(tmp_path / "rows.jsonl"), "rows": 30},
        "task": {"type": "token_classification", "text": "text"},
        "learner": {"model": tiny_model},
        "budget": {"words": 200},
        "batch": {"words": 100},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    done = hfal("run", tmp_path / "config.yaml")
    assert done.returncode == 0, done.stderr
    assert "<mark" in (tmp_path / "run" / "report.html").read_text()
    out = hfal("predict", tmp_path / "run", tmp_path / "rows.jsonl")
    first = json.loads(out.stdout.splitlines()[0])
    for entity in first["prediction"]:
        assert set(entity) == {"start", "end", "label"} and first["text"][entity["start"] : entity["end"]].strip()
