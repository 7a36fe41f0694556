"""What one device does: the pass and training of MiniLM on SST-2, and whether it gives the same numbers again.

    python -m benchmarks.device [--data ../shared/data] [--rows 6920]

Prints rows and tokens a second of the pass and milliseconds of a training step (16 rows, in two micro-batches), in
32 bits and in bf16, and how far two runs, other batches and, on a GPU, the CPU are from it.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch
from accelerate.state import AcceleratorState
from datasets import Dataset, load_dataset
from torch import Tensor

from hfal import FineTune, Pool, TextClassification, TrainingConfig
from hfal.compute import state
from hfal.signals import Needs

LABELS = 200
ON_CPU = 300
"""Rows of the pass that the CPU does too."""
LOGITS = Needs(pool=frozenset({"logits"}))


def logits(learner: FineTune, rows: Dataset) -> tuple[Tensor, float]:
    """[N, C], and how many seconds they took."""
    start = time.perf_counter()
    found = learner.signals(rows, LOGITS).get("logits")
    return found, time.perf_counter() - start


def trained(pool: Pool, precision: str) -> tuple[FineTune, float]:
    """A model, and milliseconds a step."""
    config = TrainingConfig(learning_rate=1e-4, min_steps=120, max_cycles=1, mixed_precision=precision)
    learner = FineTune("demo/minilm", config)
    learner.bind(pool.task, 0)
    train, start = pool.training_set(), time.perf_counter()
    report = learner.fit(train)
    return learner, 1000 * (time.perf_counter() - start) / report.steps


def on_cpu(learner: FineTune, rows: Dataset) -> Tensor:
    """[N, C] of the same model on the CPU."""
    os.environ["ACCELERATE_USE_CPU"] = "true"
    AcceleratorState._reset_state(True)
    found, _ = logits(learner, rows)
    del os.environ["ACCELERATE_USE_CPU"]
    AcceleratorState._reset_state(True)
    return found


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rows", type=int, default=6920)
    arguments = parser.parse_args()
    rows = load_dataset("parquet", data_files=str(arguments.data / "sst2" / "train.parquet"), split="train")
    pool = Pool.from_dataset(rows.select(range(min(arguments.rows, len(rows)))), TextClassification())
    pool.label({place: rows[place]["label"] for place in range(LABELS)})
    whole = pool.inputs(np.arange(len(pool)))
    third = np.random.default_rng(0).permutation(len(pool))[: len(pool) // 3]
    name = torch.cuda.get_device_name() if state().device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}, torch {torch.__version__}, {len(pool):,} rows", flush=True)
    for precision in ("no", "bf16"):
        trained(pool, precision)  # kernels are loaded
        (learner, step), (again, _) = trained(pool, precision), trained(pool, precision)
        logits(learner, whole)
        (found, seconds), (repeated, _) = logits(learner, whole), logits(again, whole)
        others, _ = logits(learner, pool.inputs(third))
        tokens = int(learner.tokens.get(whole).lengths.sum())
        away = {
            "a second run": float((repeated - found).abs().max()),
            "other batches": float((others - found[torch.from_numpy(third)]).abs().max()),
        }
        if state().device.type == "cuda":
            away["the CPU"] = float(
                (on_cpu(learner, whole.select(range(min(ON_CPU, len(pool))))) - found[:ON_CPU]).abs().max()
            )
        print(
            f"mixed_precision {precision}: pass {len(pool) / seconds:,.0f} rows/s, {tokens / seconds:,.0f} tokens/s; "
            f"training {step:.1f} ms a step; largest difference in logits to "
            + ", ".join(f"{what} {value:.1e}" for what, value in away.items()),
            flush=True,
        )


if __name__ == "__main__":
    main()
