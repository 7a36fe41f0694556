"""A matrix of runs from end to end: paired, resumed, the same bytes again, one's own strategy beside."""

import csv
import json
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from hfal import HfalError
from hfal.bench import cells_of, check_bench, load_bench, prepare, run_bench
from hfal.bench.cells import run_cells
from hfal.bench.pictures import _groups
from hfal.bench.summary import _points
from hfal.cli import app
from hfal.evaluation import Curve, area_under_curve
from hfal.rounds import Ledger
from hfal.strategies.base import _REGISTRY
from tests.conftest import make_rows
from tests.processes import started

SAME = ("results.csv", "comparisons.csv", "tables.md", "tables.tex", "report.html", "ranks.png", "bench.lock.json")


def matrix(folder: Path, model: str, **changes):
    for name, size, seed in (("pool", 150, 0), ("test", 60, 1), ("other", 120, 2)):
        make_rows(size, seed).to_parquet(folder / f"{name}.parquet")
    test = {"source": str(folder / "test.parquet")}
    return {
        "output_dir": str(folder / "bench"),
        "sets": {
            "one": {"pool": {"source": str(folder / "pool.parquet")}, "test": test},
            "two": {"pool": {"source": str(folder / "other.parquet")}, "test": test, "hard": {"imbalance": 3.0}},
        },
        "learners": {"frozen": {"model": model}},
        "strategies": ["random", "margin", {"name": "spread", "strategy": "kmeans", "start": "typiclust"}],
        "budget": 30,
        "batch": 10,
        "seeds": 2,
        "jobs": 1,
    } | changes


@pytest.fixture(scope="module")
def done(tmp_path_factory, tiny_model):
    folder = tmp_path_factory.mktemp("bench")
    values = matrix(folder, tiny_model)
    summary = run_bench(check_bench(values))
    return folder, values, summary


def test_all_runs_of_a_seed_begin_alike_and_numbers_are_those_of_the_runs(done):
    folder, values, summary = done
    config = check_bench(values)
    cells = cells_of(config, prepare(config))
    assert len(cells) == 12
    first = {}
    for cell in cells:
        ids = tuple(Ledger(cell.folder).selection(0)["id"].to_pylist())
        first.setdefault((cell.data, cell.seed, cell.strategy == "spread"), set()).add(ids)
    assert all(len(found) == 1 for found in first.values()), "one seed set for all of a seed, but for one's own start"
    assert first["one", 0, False] != first["one", 1, False]
    rows = list(csv.DictReader((folder / "bench" / "results.csv").open()))
    for table in summary.tables:
        for line in table.lines:
            for seed, area in enumerate(line.areas):
                mine = [
                    r
                    for r in rows
                    if (r["data"], r["strategy"], r["seed"], r["metric"])
                    == (table.data, line.way, str(seed), "macro_f1")
                ]
                curve = Curve(*zip(*[(float(r["labels"]), float(r["score"])) for r in mine], strict=True))
                assert curve.cost == (10, 20, 30) and area_under_curve(curve) == pytest.approx(area)
        base = table.lines[0]
        assert base.way == "random" and base.against is None
        for line in table.lines[1:]:
            assert line.against.difference == pytest.approx(np.mean(np.subtract(line.areas, base.areas)))
            assert not line.against.significant, "two pairs cannot be"
    assert set(summary.overall) == {"margin", "spread"} and summary.overall["margin"].pairs == 4
    assert sum(summary.wins["margin", "random"]) == 2


def test_the_report_says_what_is_not_significant_and_how_the_pool_was_made(done):
    folder, _, summary = done
    page = (folder / "bench" / "report.html").read_text()
    assert page.count("not significant") >= 4 and "imbalance 3.0" in page and "spread: typiclust" in page
    assert "<script" not in page and "http://" not in page.replace("http://www.w3.org", "").replace(
        "http://purl.org", ""
    ).replace("http://creativecommons.org", "")
    tables = (folder / "bench" / "tables.md").read_text()
    assert "### one" in tables and "### All data sets" in tables and "| random |" in tables
    assert r"\begin{tabular}" in (folder / "bench" / "tables.tex").read_text()
    assert summary.ranks is not None and sum(summary.ranks.mean.values()) == pytest.approx(6)


def test_run_again_from_its_lock_it_gives_the_same_bytes(done, tmp_path):
    folder, _, _ = done
    before = {name: (folder / "bench" / name).read_bytes() for name in SAME}
    kept = tmp_path / "kept"
    shutil.move(folder / "bench" / "cells", kept)
    shutil.rmtree(folder / "bench" / "cache")
    try:
        run_bench(load_bench(folder / "bench" / "bench.lock.json", ("jobs=1",)))
        changed = [name for name in SAME if (folder / "bench" / name).read_bytes() != before[name]]
        assert not changed
    finally:
        shutil.rmtree(folder / "bench" / "cells")
        shutil.move(kept, folder / "bench" / "cells")


def test_what_is_done_is_not_run_again_and_what_is_lacking_is(done, monkeypatch):
    folder, values, _ = done
    config = check_bench(values)
    cells = cells_of(config, prepare(config))
    ran = []
    monkeypatch.setattr("hfal.bench.cells.run_cell", lambda cell, cache: ran.append(cell))
    run_cells(config, cells)
    assert ran == []
    more = check_bench({**values, "seeds": 3})
    run_cells(more, cells_of(more, prepare(more)))
    assert len(ran) == 6 and {cell.seed for cell in ran} == {2}
    ran.clear()
    make_rows(121, 2).to_parquet(folder / "other.parquet")
    try:
        run_cells(config, cells_of(config, prepare(config)))
        assert len(ran) == 6 and {cell.data for cell in ran} == {"two"}, "other rows, other runs"
    finally:
        make_rows(120, 2).to_parquet(folder / "other.parquet")


def test_other_versions_are_other_runs(done, monkeypatch):
    _, values, _ = done
    config = check_bench(values)
    data = prepare(config)
    before = {cell.folder for cell in cells_of(config, data)}
    monkeypatch.setattr("hfal.bench.cells.versions", lambda: {"hfal": "9"})
    assert not before & {cell.folder for cell in cells_of(config, data)}


def test_several_processes_give_the_numbers_of_one(done, tmp_path, tiny_model):
    folder, values, _ = done
    again = {**values, "output_dir": str(tmp_path / "b"), "jobs": 2, "sets": {"one": values["sets"]["one"]}, "seeds": 1}
    run_bench(check_bench(again))
    mine = list(csv.DictReader((tmp_path / "b" / "results.csv").open()))
    theirs = [
        r for r in csv.DictReader((folder / "bench" / "results.csv").open()) if (r["data"], r["seed"]) == ("one", "0")
    ]
    assert [float(r["score"]) for r in mine] == pytest.approx([float(r["score"]) for r in theirs], abs=1e-6)


def test_ctrl_c_says_how_to_go_on(tmp_path, tiny_model):
    values = matrix(tmp_path, tiny_model, seeds=3)
    (tmp_path / "bench.yaml").write_text(yaml.safe_dump(values))
    process = started("bench", tmp_path / "bench.yaml", said=tmp_path / "said")
    while process.poll() is None and not list((tmp_path / "bench").glob("cells/*/result.json")):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    code = process.wait(60)
    said = (tmp_path / "said").read_text()
    assert code == 130 and "run the same command to go on" in said and "Traceback" not in said, said
    assert not (tmp_path / "bench" / "report.html").exists()
    assert len(run_bench(check_bench(values)).tables) == 2


OWN = '''
from dataclasses import dataclass
from hfal import FrozenHead
from hfal.signals import Needs
from hfal.strategies import picked, register
import torch

@register("first_ones")
@dataclass(frozen=True)
class FirstOnes:
    """The first rows."""
    needs: Needs = Needs()
    def select(self, context, size):
        return picked(context, torch.arange(min(size, len(context.pool))))

class Mine(FrozenHead):
    pass
'''


def test_ones_own_strategy_and_learner_are_compared_in_one_command(tmp_path, tiny_model, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine_for_bench.py").write_text(OWN)
    values = matrix(tmp_path, tiny_model, imports=["mine_for_bench"], strategies=["random", "first_ones"], seeds=1)
    del values["sets"]["two"]
    values["learners"]["own"] = {"type": "custom", "path": "mine_for_bench:Mine", "arguments": {"model": tiny_model}}
    (tmp_path / "bench.yaml").write_text(yaml.safe_dump(values))
    try:
        found = CliRunner().invoke(app, ["bench", "bench.yaml"])
    finally:
        _REGISTRY.pop("first_ones", None)
    assert found.exit_code == 0, found.output
    rows = list(csv.DictReader((tmp_path / "bench" / "comparisons.csv").open()))
    by_way = {row["way"]: float(row["area"]) for row in rows}
    assert set(by_way) == {f"{learner}: {one}" for learner in ("frozen", "own") for one in ("random", "first_ones")}
    assert by_way["own: random"] == by_way["frozen: random"]
    assert json.loads((tmp_path / "bench" / "bench.lock.json").read_text())["config"]["imports"] == ["mine_for_bench"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strategies": ["margin"]}, "baseline: 'random' is not among the strategies"),
        ({"strategies": ["random", "random"]}, "'random' is there twice"),
        ({"strategies": ["random", "margn"]}, r"unknown strategy 'margn' \(did you mean 'margin'\?\)"),
        ({"sets": {}}, "sets"),
        ({"imports": ["no_such_module"]}, "imports: 'no_such_module' cannot be imported"),
        ({"seeds": 0}, "seeds: 0 given"),
        ({"learners": {"x": {"type": "custom", "path": "nowhere"}}}, "path: 'nowhere' given"),
        (
            {"sets": {"one": {"pool": {"source": "x"}, "test": {"source": "y"}, "hard": {"noise": 2.0}}}},
            "noise: 2.0 given",
        ),
    ],
)
def test_mistakes_are_one_line(tmp_path, tiny_model, change, message):
    with pytest.raises(HfalError, match=message) as caught:
        check_bench(matrix(tmp_path, tiny_model, **change))
    assert "\n" not in str(caught.value)


def test_a_run_that_fails_is_named(tmp_path, tiny_model):
    values = matrix(tmp_path, tiny_model, budget=5, strategies=["random", "mnlp"])
    with pytest.raises(HfalError, match="one, frozen, (random|mnlp), seed 0: "):
        run_bench(check_bench(values))


def test_a_score_that_is_not_there_and_labels_that_are_not(done, tmp_path, tiny_model):
    _, values, _ = done
    wrong = {**values, "sets": {"one": {**values["sets"]["one"], "metric": "bleu"}}}
    with pytest.raises(HfalError, match=r"sets.one.metric: there is no 'bleu'; there are: accuracy, macro_f1"):
        run_bench(check_bench(wrong))
    bare = matrix(tmp_path, tiny_model)
    make_rows(50).remove_columns(["label"]).to_parquet(tmp_path / "pool.parquet")
    bare["sets"]["one"]["task"] = {"label_names": ["bad", "fine", "good"]}
    with pytest.raises(HfalError, match="no column 'label'"):
        run_bench(check_bench(bare))


def test_the_warning_compares_one_score_with_itself(done, tmp_path, monkeypatch):
    _, values, _ = done
    monkeypatch.setattr("hfal.bench.cells.plain_scores", lambda *_: {"accuracy": 1.0, "macro_f1": 0.0})
    one = {**values["sets"]["one"], "metric": "accuracy"}
    by_accuracy = {**values, "output_dir": str(tmp_path / "a"), "sets": {"one": one}, "seeds": 1}
    found = run_bench(check_bench(by_accuracy))
    assert "logistic regression on TF-IDF reaches 1.000" in found.tables[0].warning
    one["metric"] = "macro_f1"
    warning = run_bench(check_bench(by_accuracy)).tables[0].warning
    assert warning is None or "TF-IDF" not in warning


def test_a_picture_names_each_way_by_its_own_name(done, tmp_path):
    _, values, _ = done
    ours = {**values, "output_dir": str(tmp_path / "b"), "sets": {"one": values["sets"]["one"]}, "seeds": 1}
    run_bench(check_bench({**ours, "strategies": ["margin", "entropy"], "baseline": "margin"}))
    page = (tmp_path / "b" / "report.html").read_text()
    assert ">margin<" in page and ">random<" not in page


def test_bars_are_over_what_is_not_told_apart():
    assert _groups([1.0, 1.5, 3.0, 3.2], 1.0) == [(0, 1), (2, 3)]
    assert _groups([1.0, 1.5, 2.2], 1.0) == [(0, 1), (1, 2)]
    assert _groups([1.0, 3.0], 1.0) == []


def test_a_table_shows_all_rounds_or_five_from_first_to_last():
    assert _points([50.0, 100.0, 150.0, 200.0]) == [50, 100, 150, 200]
    assert _points([999.6]) == [1000]
    assert _points([20.0 * n for n in range(1, 12)]) == [20, 60, 120, 180, 220]


def test_each_table_counts_in_the_unit_of_its_budget(tmp_path, tiny_model):
    values = matrix(tmp_path, tiny_model, strategies=["random"], seeds=1)
    values["sets"]["two"] |= {"budget": {"words": 90}, "batch": {"words": 40}}
    for name, size, seed in (("pool", 40, 0), ("other", 40, 2), ("test", 20, 1)):
        make_rows(size, seed).to_parquet(tmp_path / f"{name}.parquet")
    run_bench(check_bench(values))
    heads = [line for line in (tmp_path / "bench" / "tables.md").read_text().splitlines() if "baseline's end" in line]
    assert "30 labels" in heads[0]
    assert " words |" in heads[1]
    assert "labels" not in heads[1]
