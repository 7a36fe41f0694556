"""Pairs through the loop, and candidates out of two tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from hfal import ActiveLearner, FrozenHead, HfalError, Pairs, Pool
from hfal.candidates import find_candidates, table_of
from hfal.cli import app
from hfal.config import check_config
from hfal.data import load_source
from hfal.running import run_config
from tests.learners.test_pairs import make_pairs


def pool_of(size, seed=0):
    rows = make_pairs(size, seed)
    return rows.rename_column("labels", "label")


def config_for(tmp_path, tiny_model, **more):
    for name, size, seed in (("pool", 120, 0), ("test", 50, 1), ("source", 150, 3)):
        pool_of(size, seed).to_parquet(tmp_path / f"{name}.parquet")
    return check_config(
        {
            "output_dir": str(tmp_path / "run"),
            "pool": {"source": str(tmp_path / "pool.parquet")},
            "test": {"source": str(tmp_path / "test.parquet")},
            "task": {"type": "pairs", "label_names": ["no", "yes"]},
            "learner": {"model": tiny_model},
            "strategy": "margin",
            "budget": {"rows": 30},
            "batch": {"rows": 10},
        }
        | more
    )


def test_a_run_starts_with_alike_and_other_pairs_and_scores_f1(tmp_path, tiny_model):
    outcome = run_config(config_for(tmp_path, tiny_model), lambda *_: None)
    assert outcome.main_metric == "f1"
    rounds = outcome.rounds[0][1]
    assert [r.labeled for r in rounds] == [10, 20, 30]
    assert rounds[0].strategy == "similar_pairs"
    assert "F1" in (tmp_path / "run" / "report.html").read_text()


def test_a_run_with_a_source_resumes_with_the_same_picks(tmp_path, tiny_model):
    source = {"transfer": {"source": str(tmp_path / "source.parquet")}}
    config = config_for(tmp_path, tiny_model, strategy="source_like(unlike=true)>margin(prefilter=3)", **source)
    first = run_config(config, lambda *_: None)
    asked = [pd.read_parquet(p)["id"].tolist() for p in sorted((tmp_path / "run/rounds").glob("*/selection.parquet"))]
    for left in ("round.json", "selection.parquet", "metrics.json", "labels.parquet"):
        (tmp_path / "run/rounds/0002" / left).unlink(missing_ok=True)
    again = run_config(config, lambda *_: None)
    assert asked == [
        pd.read_parquet(p)["id"].tolist() for p in sorted((tmp_path / "run/rounds").glob("*/selection.parquet"))
    ]
    assert again.rounds[0][1][-1].metrics == first.rounds[0][1][-1].metrics


def test_source_rows_that_are_measured_on_are_left_out(tiny_model, caplog):
    rows, test = pool_of(60), pool_of(30, 1)
    pool = Pool.from_dataset(rows, Pairs(label_names=["no", "yes"]))
    both = test.select(range(10))
    with_both = ActiveLearner(
        pool,
        FrozenHead(tiny_model),
        "margin",
        test=test,
        budget=20,
        batch_size=10,
        transfer=_joined(both, pool_of(40, 7)),
    )
    assert len(with_both.transfer) == 40
    assert "transfer: 10 rows left out" in caplog.text


def _joined(*parts):
    from datasets import concatenate_datasets

    return concatenate_datasets(list(parts))


def test_source_like_without_a_source_says_what_is_missing(tiny_model):
    pool = Pool.from_dataset(pool_of(40), Pairs(label_names=["no", "yes"]))
    with pytest.raises(HfalError, match="say which with transfer"):
        ActiveLearner(pool, FrozenHead(tiny_model), "source_like", budget=20, batch_size=10).run()


def test_classes_that_a_source_numbers_otherwise_are_read_by_name(tmp_path, tiny_model):
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features({"left": Value("string"), "right": Value("string"), "label": ClassLabel(names=["yes", "no"])})
    rows = Dataset.from_dict({"left": ["a"], "right": ["b"], "label": [0]}, features=features)
    from hfal.pool import labelled

    assert labelled(rows, Pairs(label_names=["no", "yes"]), "test")["labels"] == [1]


def tables(tmp_path):
    words = ["great", "lovely", "bright", "superb", "happy", "awful", "terrible", "boring", "broken", "sad"]
    left = pd.DataFrame({"id": [f"l{n}" for n in range(10)], "name": [f"the {w} phone" for w in words]})
    right = pd.DataFrame({"key": range(10), "title": [f"a {w} phone" for w in reversed(words)], "note": [None] * 10})
    left.to_csv(tmp_path / "left.csv", index=False)
    right.to_csv(tmp_path / "right.csv", index=False)
    matches = pd.DataFrame({"left_id": left["id"], "right_id": range(9, -1, -1)})
    matches.to_csv(tmp_path / "matches.csv", index=False)
    return tmp_path / "left.csv", tmp_path / "right.csv", tmp_path / "matches.csv"


def test_candidates_of_two_tables_with_their_recall(tmp_path, tiny_model):
    left, right, matches = map(str, tables(tmp_path))
    out = tmp_path / "pairs.parquet"
    command = ["pairs", left, right, "-o", str(out), "--model", tiny_model, "--neighbours", "3", "--right-id", "key"]
    result = CliRunner().invoke(app, [*command, "--matches", matches])
    assert result.exit_code == 0, result.output
    assert "30 pairs of 100 possible" in result.output
    found = pd.read_parquet(out)
    known = pd.read_csv(matches, dtype=str)
    for k in (1, 2, 3):
        nearest = found.sort_values("similarity", ascending=False).groupby("left_id").head(k)
        share = np.mean([((nearest.left_id == a) & (nearest.right_id == b)).any() for a, b in known.values])
        if k < 3:
            assert f"{share:.1%} with {k}" in result.output
    pool = Pool.from_dataset(load_source_of(out), Pairs(label_names=["no", "yes"]), "id")
    assert len(pool) == 30


def test_a_file_that_is_there_is_not_written_over_unless_it_is_said(tmp_path, tiny_model):
    left, _, _ = map(str, tables(tmp_path))
    before = Path(left).read_bytes()
    command = ["pairs", left, left, "-o", left, "--model", tiny_model]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, HfalError) and "exists already" in str(result.exception)
    assert Path(left).read_bytes() == before
    assert CliRunner().invoke(app, [*command, "--force"]).exit_code == 0
    assert "similarity" in Path(left).read_text()


def load_source_of(path):
    from hfal.config import Source

    return load_source(Source(source=str(path)))


def test_one_table_with_itself_gives_each_pair_once_and_never_a_row_with_itself(tmp_path, tiny_model):
    left, _, _ = tables(tmp_path)
    table = table_of(load_source_of(left), "left")
    found = find_candidates(table, table, tiny_model, 4)
    assert (found.left < found.right).all()
    pairs = set(zip(found.left.tolist(), found.right.tolist(), strict=True))
    assert len(pairs) == len(found.left) >= 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--columns", "nme"], "no column 'nme'"),
        (["-o", "pairs.xlsx"], "its name must end in .csv, .jsonl, .parquet"),
        (["--matches", "MATCHES"], "left_id 'zz' is not in the left table"),
    ],
)
def test_wrong_tables_are_told(arguments, message, tmp_path, tiny_model):
    left, right, matches = map(str, tables(tmp_path))
    pd.DataFrame({"left_id": ["zz"], "right_id": ["1"]}).to_csv(matches, index=False)
    arguments = [matches if a == "MATCHES" else a for a in arguments]
    command = ["pairs", left, right, "-o", str(tmp_path / "o.csv"), "--model", tiny_model, *arguments]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, HfalError)
    assert message in str(result.exception)


def test_a_table_with_a_repeated_id_or_an_empty_row_is_refused():
    from datasets import Dataset

    with pytest.raises(HfalError, match="the id '1' is there more than once"):
        table_of(Dataset.from_dict({"id": [1, 1], "t": ["a", "b"]}), "left")
    with pytest.raises(HfalError, match="row 1 has no text in t"):
        table_of(Dataset.from_dict({"t": ["a", " "]}), "left")
    two = table_of(Dataset.from_dict({"name": ["x", None], "price": ["3", "4"]}), "left")
    assert two.texts == ["name: x price: 3", "price: 4"]
