"""FineTune of MiniLM on SST-2: an active run to 600 labels, and all 6,920 rows.

    python -m benchmarks.fine_tune [--labels 600] [--full] [--precision no|bf16] [--data ../shared/data]

Prints accuracy on the 1,821 test rows after each round, rows a second in training and in the pass, and the
device. About 20 minutes on 2 cores for each part; seconds on a GPU.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from datasets import load_dataset

from hfal import ActiveLearner, FineTune, Pool, TextClassification, TrainingConfig
from hfal.compute import state
from hfal.pool import labelled
from hfal.signals import Needs


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--labels", type=int, default=600)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--precision", default="no")
    parser.add_argument("--model", default="demo/minilm")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    files = {split: str(arguments.data / "sst2" / f"{split}.parquet") for split in ("train", "test")}
    rows = load_dataset("parquet", data_files=files)
    pool = Pool.from_dataset(rows["train"], TextClassification())
    test = labelled(rows["test"], pool.task)
    training = TrainingConfig(num_train_epochs=arguments.epochs, mixed_precision=arguments.precision)
    learner = FineTune(arguments.model, training)
    print(f"device {state().device}, torch {torch.__version__}, precision {arguments.precision}", flush=True)
    if arguments.full:
        pool.label({int(p): rows["train"][int(p)]["label"] for p in pool.unlabeled})
        learner.bind(pool.task, 0)
        start = time.perf_counter()
        report = learner.fit(pool.training_set())
        trained = time.perf_counter() - start
        start = time.perf_counter()
        learner.signals(pool.inputs(pool.labeled), Needs(pool=frozenset({"logits"})))
        passed = time.perf_counter() - start
        accuracy = learner.evaluate(test)["accuracy"]
        print(
            f"{len(pool.labeled):,} labels: accuracy {accuracy:.3f}; {report.steps} steps in {trained:.0f} s "
            f"({report.steps * 16 / trained:.0f} rows/s); the pass {len(pool.labeled) / passed:.0f} rows/s"
        )
        return
    active = ActiveLearner(pool, learner, test=test, budget=arguments.labels, batch_size=100, seed=0)
    for done in active:
        stages = ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in done.seconds.items())
        print(f"{done.labeled} labels: accuracy {done.metrics['accuracy']:.3f} ({stages})", flush=True)


if __name__ == "__main__":
    main()
