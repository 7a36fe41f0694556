"""What holds on a GPU too, where there is one."""

import json

import pyarrow.parquet as pq
import pytest
import torch
import yaml

from tests.conftest import make_rows
from tests.processes import forked

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

TRAINING = {"num_train_epochs": 2, "min_steps": 10, "learning_rate": 1e-3}


@pytest.fixture
def config(tiny_model, tmp_path):
    """A config of a small run, by learner."""
    make_rows(200).to_parquet(tmp_path / "pool.parquet")
    make_rows(60, seed=1).to_parquet(tmp_path / "test.parquet")

    def written(learner, **changes):
        path = tmp_path / "config.yaml"
        sources = {name: {"source": str(tmp_path / f"{name}.parquet")} for name in ("pool", "test")}
        one = {"model": tiny_model, **learner.get("of", learner)}
        learner = {**learner, "of": one} if "of" in learner else one
        plan = {"strategy": "badge", "baseline": None, "budget": 40, "batch": 10, "output_dir": "-"}
        path.write_text(yaml.safe_dump({**sources, **plan, "learner": learner, **changes}))
        return path

    return written


def run(config, folder, on_cpu="false"):
    process = forked("run", config, "--set", f"output_dir={folder}", ACCELERATE_USE_CPU=on_cpu)
    process.join(200)
    assert process.exitcode == 0
    rounds = sorted((folder / "rounds").iterdir())
    picks = [pq.read_table(path / "selection.parquet")["id"].to_pylist() for path in rounds]
    return picks, [json.loads((path / "round.json").read_text())["metrics"] for path in rounds]


LEARNERS = {
    "fine_tune": {"type": "fine_tune", "training": TRAINING},
    "in 32 bits": {"type": "fine_tune", "training": {**TRAINING, "mixed_precision": "no"}},
    "shrink_and_perturb": {"type": "fine_tune", "incremental": "shrink_and_perturb", "training": TRAINING},
    "meta": {"type": "fine_tune", "incremental": "meta", "pseudo_labels": True, "training": TRAINING},
    "ensemble": {"type": "ensemble", "members": 2, "of": {"type": "fine_tune", "training": TRAINING}},
    "waal": {"type": "fine_tune", "training": {**TRAINING, "waal": 0.1}},
    "consistency": {"type": "fine_tune", "training": {**TRAINING, "consistency": 1.0}},
    "frozen_head": {"type": "frozen_head"},
    "contrastive": {"type": "contrastive", "most_pairs": 40, "training": {"num_train_epochs": 1}},
    "lora": {"type": "fine_tune", "lora": {"r": 2}, "training": TRAINING},
}


@pytest.mark.parametrize("learner", LEARNERS.values(), ids=LEARNERS)
def test_a_run_chooses_the_same_rows_again(config, learner, tmp_path):
    path = config(learner)
    one, other = (run(path, tmp_path / name) for name in ("one", "other"))
    assert len(one[0]) == 4 and one == other


def test_a_run_that_ends_goes_on_with_the_same_picks(config, tmp_path):
    """Its model is loaded then, where it was the one just trained."""
    path = config(LEARNERS["fine_tune"])
    whole = run(path, tmp_path / "whole")
    run(config(LEARNERS["fine_tune"], budget=20), tmp_path / "parts")
    parts = run(config(LEARNERS["fine_tune"]), tmp_path / "parts")
    assert len(parts[0]) == 4 and parts == whole


def test_a_frozen_head_scores_as_on_the_cpu(config, tmp_path):
    path = config(LEARNERS["frozen_head"], strategy="random")
    (picks, on_gpu), (same, on_cpu) = run(path, tmp_path / "gpu"), run(path, tmp_path / "cpu", "true")
    assert picks == same
    for one, other in zip(on_gpu, on_cpu, strict=True):
        assert one["accuracy"] == pytest.approx(other["accuracy"], abs=0.02)
