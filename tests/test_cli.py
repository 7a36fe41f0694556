import contextlib
import csv
import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import pyarrow.parquet as pq
import pytest
import yaml
from datasets import Dataset
from transformers import AutoModelForSequenceClassification

from hfal.cli import main
from hfal.cli.app import CtrlC
from tests.conftest import NAMES, make_rows
from tests.processes import forked, options_of, run_all_on, run_here, started


@dataclass
class Done:
    """What a command line did."""

    returncode: int
    stdout: str
    stderr: str


def hfal(*arguments, cwd=None):
    """The command in this process (a fresh one would spend its time on imports)."""
    out, err, here = io.StringIO(), io.StringIO(), os.getcwd()
    code = 0
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(sys, "argv", ["hfal", *map(str, arguments)])
        patch.setattr(sys, "stdin", io.StringIO())
        patch.setenv("COLUMNS", "200")
        logger = logging.getLogger("hfal")
        logger.handlers = [logging.StreamHandler(err)]
        os.chdir(cwd or here)
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            os.chdir(here)
            logger.handlers = []
    return Done(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def project(tmp_path_factory, tiny_model):
    """A folder with a CSV of one's own and a config for it."""
    folder = tmp_path_factory.mktemp("project")
    data = make_rows(160)
    names = [NAMES[label] for label in data["label"]]
    Dataset.from_dict({"text": data["text"][:], "label": names}).to_csv(folder / "rows.csv", index=False)
    config = {
        "output_dir": str(folder / "run"),
        "pool": {"source": str(folder / "rows.csv"), "rows": 100},
        "test": {"source": str(folder / "rows.csv"), "rows": 50},
        "learner": {"type": "frozen_head", "model": tiny_model},
        "budget": {"rows": 30},
        "batch": {"rows": 10},
        "repeats": 2,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    done = hfal("run", folder / "config.yaml")
    assert done.returncode == 0, done.stderr
    return folder, done


def selections(folder):
    return [pq.read_table(p)["id"].to_pylist() for p in sorted(folder.glob("rounds/*/selection.parquet"))]


def test_run_prints_rounds_a_table_and_what_comes_next(project):
    folder, done = project
    assert re.search(r"seed 0\s+round 2 +30 labels +accuracy 0\.\d+ +macro-F1 0\.\d+", done.stdout)
    assert re.search(r"Means over 2 seeds", done.stdout)
    header = next(line for line in done.stdout.splitlines() if line.strip().startswith("round  labels"))
    assert header.split() == ["round", "labels", "accuracy", "random", "macro-F1", "random"]
    assert f"{folder}/run/report.html" in done.stdout
    assert "hfal predict" in done.stdout
    assert re.search(
        r"Random ends at macro-F1 0\.\d+ with 30 labels; this run (is there|does not get there)", done.stdout
    )
    assert "error" not in done.stderr


def test_the_run_folder_has_baseline_repeats_and_report(project):
    run = project[0] / "run"
    for place in ("", "baseline", "repeats/seed-1", "repeats/seed-1/baseline"):
        assert len(list((run / place).glob("rounds/*/round.json"))) == 3
    for name in ("report.html", "curve.png", "curve.svg", "metrics.csv"):
        assert (run / name).stat().st_size > 500
    with open(run / "metrics.csv") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 12
    assert {row["strategy"] for row in rows} == {"auto", "random"}


def test_running_again_changes_nothing_and_a_raised_budget_goes_on(project, tmp_path):
    folder, done = project
    again = hfal("run", folder / "config.yaml")
    table = done.stdout[done.stdout.index("Means over") :]
    assert table in again.stdout
    more = hfal("run", folder / "config.yaml", "--set", "budget.rows=40", "--set", "repeats=1")
    assert more.returncode == 2
    assert "repeats is 2 there and 1 now" in more.stderr


def test_status_tells_what_is_spent(project):
    done = hfal("status", project[0] / "run")
    assert done.returncode == 0
    assert "spent     30 of 30 labels" in done.stdout
    assert "macro-F1 0." in done.stdout
    missing = hfal("status", project[0] / "nowhere")
    assert missing.returncode == 2
    assert missing.stderr.count("\n") == 1 and "is not a run folder" in missing.stderr


def test_report_compares_runs(project, tmp_path):
    folder = project[0]
    done = hfal("report", folder / "run", folder / "run" / "repeats" / "seed-1", "-o", tmp_path / "both")
    assert done.returncode == 0, done.stderr
    assert "2 runs compared" in (tmp_path / "both" / "report.html").read_text()


def test_predict_labels_a_file(project, tmp_path):
    folder = project[0]
    for kind in ("csv", "jsonl", "parquet"):
        done = hfal("predict", folder / "run", folder / "rows.csv", "-o", tmp_path / f"out.{kind}")
        assert done.returncode == 0, done.stderr
        assert "160 rows labelled" in done.stdout
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(lines) == 160 and {line["prediction"] for line in lines} <= set(NAMES)
    assert pq.read_table(tmp_path / "out.parquet")["prediction"].to_pylist() == [line["prediction"] for line in lines]
    screen = hfal("predict", folder / "run", folder / "rows.csv")
    assert [json.loads(line)["prediction"] for line in screen.stdout.splitlines()] == [x["prediction"] for x in lines]
    (tmp_path / "other.csv").write_text("body\nhello\n")
    wrong = hfal("predict", folder / "run", tmp_path / "other.csv")
    assert wrong.returncode == 2 and "no column 'text'" in wrong.stderr
    assert hfal("predict", folder / "run", folder / "rows.csv", "-o", "x.xlsx").returncode == 2


def test_rows_with_nothing_to_read_stay_without_a_prediction(project, tmp_path):
    rows = tmp_path / "some.jsonl"
    rows.write_text('{"text": "a great film"}\n{"text": "  "}\n{"text": null}\n')
    done = hfal("predict", project[0] / "run", rows)
    said = [json.loads(line)["prediction"] for line in done.stdout.splitlines()]
    assert done.returncode == 0 and said[0] in NAMES and said[1:] == [None, None]
    assert "2 rows without a prediction: nothing to read in them (the first, row 1)" in " ".join(done.stderr.split())
    assert hfal("predict", project[0] / "run", rows, "-o", rows).returncode == 2
    assert rows.read_text().startswith('{"text": "a great film"}')


def test_stream_asks_or_passes_rows_as_they_come(project, tmp_path):
    run = project[0] / "run"
    rows = make_rows(150, seed=9)["text"][:]
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"text": text, "n": n}) + "\n" for n, text in enumerate(rows))
    )
    done = hfal("stream", run, tmp_path / "rows.jsonl", "--state", tmp_path / "state", "--rate", "0.2")
    assert done.returncode == 0, done.stderr
    asked = [json.loads(line) for line in done.stdout.splitlines()]
    assert 10 <= len(asked) <= 50 and [row["text"] for row in asked] == [rows[row["n"]] for row in asked]
    assert f"{len(asked)} of 150 rows asked" in done.stderr
    kept = [json.loads(line) for line in (tmp_path / "state" / "asked.jsonl").read_text().splitlines()]
    assert [row["n"] for row in kept] == [row["n"] for row in asked] and all(row["score"] > 0 for row in kept)
    again = hfal(
        "stream", run, tmp_path / "rows.jsonl", "--state", tmp_path / "state", "--rate", "0.2", "--budget", "60"
    )
    known = {row["text"] for row in asked}
    assert not known & {json.loads(line)["text"] for line in again.stdout.splitlines()}
    (tmp_path / "bad.jsonl").write_text('{"text": "fine"}\n{"txt": "no"}\n')
    wrong = hfal("stream", run, tmp_path / "bad.jsonl", "--state", tmp_path / "other")
    assert wrong.returncode == 2 and "row 2 of the stream has no text" in wrong.stderr
    assert hfal("stream", run, tmp_path / "none.jsonl").returncode == 2


def test_strategies_lists_all_with_paper_and_cost():
    done = hfal("strategies", "--wide")
    assert done.returncode == 0
    for name in ("random", "margin", "bald", "badge", "coreset", "typiclust", "exploration"):
        assert re.search(rf"^{name} ", done.stdout, re.MULTILINE)
    assert re.search(r"bald .*Houlsby et al\. 2011.*texts.*1 \+ 20 heads +\[N\]", done.stdout)
    assert re.search(r"weighted_kmeans .*both, words by=mnlp", done.stdout)
    assert re.search(r"^token_entropy .* words ", done.stdout, re.MULTILINE)


def test_init_writes_a_config_that_runs(project, tmp_path, tiny_model):
    folder = project[0]
    config = tmp_path / "mine.yaml"
    done = hfal("init", "--source", folder / "rows.csv", "--model", tiny_model, "-o", config, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "3 classes: bad, fine, good" in done.stdout
    assert hfal("init", "--source", folder / "rows.csv", "-o", config).returncode == 2  # not over what is there
    values = yaml.safe_load(config.read_text())
    assert (values["task"]["text"], values["task"]["label"]) == ("text", "label")
    ran = hfal("run", config, "--set", "baseline=null", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    nothing = hfal("init", "-o", tmp_path / "none.yaml")
    assert nothing.returncode == 2 and "give --source" in nothing.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["task.text=body"], "no column 'body'"),
        (["task.label=lable"], "no column 'lable'"),
        (["batch.rows=500"], "fewer than one batch of 500"),
        (["budget.rows=3"], "less than the seed set of 10"),
        (["pool.source=nowhere.csv"], "there is no file or folder nowhere.csv"),
        (["learner.model=./nowhere"], "there is no folder ./nowhere"),
        (["task.label_names=[bad, good]"], "'fine' in row"),
        (["strategy=margn"], "did you mean 'margin'"),
        (["pool.rowz=3"], "unknown key pool.rowz"),
    ],
)
def test_bad_input_is_one_line_exit_code_2_and_nothing_written(project, tmp_path, changes, message):
    sets = [part for change in [*changes, f"output_dir={tmp_path / 'run'}"] for part in ("--set", change)]
    done = hfal("run", project[0] / "config.yaml", *sets)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_texts_that_are_missing_blank_odd_or_long(project, tmp_path):
    data = make_rows(80)
    texts, labels = data["text"][:], [NAMES[label] for label in data["label"]]
    texts[5:9] = [
        "🙂",
        "the film was great " * 1500,
        "مرحبا بالعالم",
        "<script>alert(1)</script> {{ 7 * 7 }}",
    ]
    Dataset.from_dict({"text": texts, "label": labels}).to_csv(tmp_path / "odd.csv", index=False)
    sets = [
        f"pool.source={tmp_path}/odd.csv",
        "pool.rows=null",
        f"output_dir={tmp_path}/run",
        "repeats=1",
        "budget.rows=80",
    ]
    options = [part for change in sets for part in ("--set", change)]
    done = hfal("run", project[0] / "config.yaml", *options)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("1 text longer than 64 tokens") == 1
    page = (tmp_path / "run" / "report.html").read_text()
    assert "🙂" in page and "مرحبا" in page
    assert "<script>" not in page and "&lt;script&gt;" in page and "{{ 7 * 7 }}" in page
    texts[3] = ""
    Dataset.from_dict({"text": texts, "label": labels}).to_csv(tmp_path / "odd.csv", index=False)
    refused = hfal("run", project[0] / "config.yaml", *options, "--set", f"output_dir={tmp_path}/other")
    assert refused.returncode == 2
    assert re.search(r"row 3: column 'text' is missing \(None\); .*skip_empty: true", refused.stderr)
    left_out = hfal(
        "run",
        project[0] / "config.yaml",
        *options,
        "--set",
        f"output_dir={tmp_path}/other",
        "--set",
        "pool.skip_empty=true",
    )
    assert left_out.returncode == 0 and "1 row left out" in left_out.stderr


def test_the_model_of_a_fine_tuning_run_loads_with_plain_transformers(project, tmp_path):
    sets = [
        "learner.type=fine_tune",
        "learner.training={min_steps: 4, num_train_epochs: 1}",
        "repeats=1",
        "baseline=null",
    ]
    options = [part for change in [*sets, f"output_dir={tmp_path}/run"] for part in ("--set", change)]
    done = hfal("run", project[0] / "config.yaml", *options)
    assert done.returncode == 0, done.stderr
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path / "run" / "model").config.num_labels == 3
    assert hfal("predict", tmp_path / "run", project[0] / "rows.csv", "-o", tmp_path / "p.csv").returncode == 0


def test_finally_fine_tunes_once_on_all_that_was_bought(project, tmp_path):
    sets = [
        "learner.finally=fine_tune",
        "learner.training={min_steps: 4, num_train_epochs: 1}",
        "repeats=1",
        "baseline=null",
    ]
    options = [part for change in [*sets, f"output_dir={tmp_path}/run"] for part in ("--set", change)]
    done = hfal("run", project[0] / "config.yaml", *options)
    assert done.returncode == 0, done.stderr
    final = json.loads((tmp_path / "run" / "final.json").read_text())
    assert 0 <= final["metrics"]["accuracy"] <= 1
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path / "run" / "final").config.model_type == "bert"
    assert "Fine-tuned once on all labels" in (tmp_path / "run" / "report.html").read_text()
    assert hfal("predict", tmp_path / "run", project[0] / "rows.csv", "-o", tmp_path / "p.csv").returncode == 0


def written(folder):
    return sum(len(list(place.glob("rounds/*/*.parquet"))) for place in (folder, folder / "baseline"))


@pytest.mark.slow
def test_resume_after_kill_picks_the_same_rows(project, tmp_path):
    """SIGKILL at moments spread over the run, the same command each time, until it ends by itself."""
    sets = ["repeats=1", "budget.rows=60", "batch.rows=5", "strategy=bald>kmeans"]
    options = [part for change in sets for part in ("--set", change)]
    whole = hfal("run", project[0] / "config.yaml", *options, "--set", f"output_dir={tmp_path}/whole")
    assert whole.returncode == 0, whole.stderr
    command = ["run", project[0] / "config.yaml", *options, "--set", f"output_dir={tmp_path}/killed"]
    kills = 0
    for patience in (25, 1, 8, 3, 14, 6, 2, 10, 400):
        before = written(tmp_path / "killed")
        process = forked(*command)
        deadline = time.monotonic() + 90
        while process.is_alive() and time.monotonic() < deadline:
            if written(tmp_path / "killed") >= before + patience:
                process.kill()
                kills += 1
                break
            time.sleep(0.002)
        process.join()
    assert kills >= 4
    assert process.exitcode == 0
    for place in ("", "baseline"):
        assert selections(tmp_path / "killed" / place) == selections(tmp_path / "whole" / place)


def test_ctrl_c_that_is_lost_in_a_destructor_stops_at_the_end_of_the_round():
    given = signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the tests were started with
    before = signal.getsignal(signal.SIGINT)
    with CtrlC() as stop:
        stop.check()
        with contextlib.suppress(KeyboardInterrupt):  # as a destructor would
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            stop.check()
    assert signal.getsignal(signal.SIGINT) is before
    signal.signal(signal.SIGINT, given)


def test_ctrl_c_says_how_to_go_on(project, tmp_path):
    changes = ["batch.rows=1", "budget.rows=60", "start.rows=5", "repeats=1", f"output_dir={tmp_path}/run"]
    command = ["run", project[0] / "config.yaml", *options_of(changes)]
    process = started(*command, said=tmp_path / "said")
    while not (tmp_path / "run" / "rounds" / "0001").exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    code = process.wait(60)
    said = (tmp_path / "said").read_text()
    assert code == 130, said
    assert "run the same command to go on" in said and "Traceback" not in said
    assert hfal(*command).returncode == 0


def test_the_module_runs_as_a_command():
    done = subprocess.run([sys.executable, "-m", "hfal", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "predict" in done.stdout


SHARED = {
    "frozen badge": ("frozen_head", "bald>badge(prefilter=3)", 0),
    "tuned badge": ("fine_tune", "bald>badge(prefilter=3)", 0),
    "near labels": (
        "frozen_head",
        "exploration(first=waal(steps=20), then=seals(then=cluster_margin, neighbours=30), rounds=1)",
        0,
    ),
    "deepfool": ("fine_tune", "margin>deepfool(prefilter=2)", 0),
    "waal": ("fine_tune", "waal(steps=20)", 0.1),
}
"""Learner, strategy and weight of waal in training."""


def shared_changes(name, folder):
    learner, strategy, weight = SHARED[name]
    training = f"{{min_steps: 20, num_train_epochs: 1, learning_rate: 1.0e-3, waal: {weight}}}"
    return [
        *(f"learner.type={learner}", f"strategy={strategy}", f"learner.training={training}"),
        *("repeats=1", "baseline=null", f"output_dir={folder / name}"),
    ]


@pytest.fixture(scope="module")
def on_two(project, tmp_path_factory):
    """All of them on two processes: where the runs are, and what was printed."""
    folder = tmp_path_factory.mktemp("two")
    said = run_all_on(2, project[0] / "config.yaml", [shared_changes(name, folder) for name in SHARED])
    return folder, dict(zip(SHARED, said, strict=True))


@pytest.mark.parametrize("name", SHARED)
def test_two_processes_choose_the_same_rows_as_one(project, on_two, tmp_path, name):
    folder, said = on_two
    assert said[name].count("Report:") == 1
    run_here(project[0] / "config.yaml", *shared_changes(name, tmp_path))
    assert selections(folder / name) == selections(tmp_path / name)
