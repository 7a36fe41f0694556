"""Do the intervals of `hfal status` hold the truth? Simulated where the truth is known.

    python -m benchmarks.saving [--runs 20] [--data ../shared/data] [--out runs/saving.json]

Each run labels a pool by hfal's default strategy, as people would: batches with audited rows, a seed set drawn by
chance (`start: random`). After some rounds its two figures are held against the truth: the model's accuracy on the
rows of the data set outside the pool, and the number of random labels at which the mean curve of chance, over many
draws, has that accuracy. Prints the coverage table of docs/saving.md. Run again, it goes on with `--out`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from datasets import Dataset, concatenate_datasets, load_dataset
from numpy.typing import NDArray

from hfal import ActiveLearner, FrozenHead, Pool, TextClassification, measuring
from hfal.compute import generator_for
from hfal.data import shuffled
from hfal.demo import demo_dataset
from hfal.pool import labelled

SETS = ("sst2", "trec6", "sms_spam", "tweets")
POOL, BUDGET, BATCH, LOOKED_AT = 3000, 500, 20, (6, 12, 18, 24)
AUDITED = 5
"""Rows audited in each batch."""
FIRST = 2000
"""The first seed: others than those by which constants were set."""
DRAWS = 40
"""Random training sets for each size of the true curve."""


def everything(name: str, folder: Path) -> Dataset:
    """All rows of a set, in an order of their own: its splits do not follow one distribution."""
    if name == "tweets":
        return shuffled(demo_dataset("demo/tweets"), 0).select(range(9000))
    splits = [str(folder / name / f"{split}.parquet") for split in ("train", "validation", "test")]
    return shuffled(concatenate_datasets([load_dataset("parquet", data_files=s, split="train") for s in splits]), 0)


def true_curve(learner: FrozenHead, pool: Pool, test: Dataset) -> tuple[NDArray[Any], NDArray[Any]]:
    """Sizes, and the mean accuracy of models trained on that many random rows of the pool."""
    free = pool.canonical(pool.unlabeled)
    known = pool.copy()
    truth = dict(zip(free.tolist(), pool.dataset.select(free)["label"], strict=True))
    known.label(truth)
    sizes = np.unique(np.geomspace(10, len(free), 22).round().astype(int))
    generator, scores = generator_for("truth"), []
    for size in sizes:
        draws = DRAWS if size < 800 else 12 if size < len(free) else 1
        of_size = []
        for _ in range(draws):
            order = torch.randperm(len(free), generator=generator).numpy()[:size]
            learner.fit(known.training_set(free[order]))
            of_size.append(learner.evaluate(test)["accuracy"])
        scores.append(float(np.mean(of_size)))
    return sizes, np.maximum.accumulate(scores)


@contextmanager
def only_when_looked_at() -> Iterator[None]:
    """The meter trains fifty models a round: where nobody looks at it, it would only cost time."""
    saved = measuring.saved

    def sometimes(learner: FrozenHead, pool: Pool, *rest: Any) -> dict[str, Any]:
        number = len(pool.audited) // AUDITED - 1
        return saved(learner, pool, *rest) if number in LOOKED_AT else {}

    with mock.patch.object(measuring, "saved", sometimes):
        yield


def needed(curve: tuple[NDArray[Any], NDArray[Any]], score: float) -> float:
    """Labels at which the true curve is as high; infinite where it never is."""
    sizes, scores = curve
    if score > scores[-1]:
        return float("inf")
    return float(np.exp(np.interp(score, scores, np.log(sizes))))


def measure(name: str, folder: Path, runs: int, done: list[dict[str, Any]], keep: Any) -> list[dict[str, Any]]:
    """What each run's figures were, beside the truth."""
    rows = everything(name, folder)
    pool = Pool.from_dataset(rows.select(range(POOL)), TextClassification(), skip_empty=True)
    test = rows.select(range(POOL, len(rows)))
    test = labelled(test.filter(lambda row: bool(row["text"].strip())), pool.task)
    pool.leave_out(test)
    learner = FrozenHead("demo/minilm", class_weights=None)
    with tempfile.TemporaryDirectory() as cache:
        learner.bind(pool.task, 0, Path(cache))
        curve = true_curve(learner, pool, test)
        print(name, [(int(s), round(float(v), 3)) for s, v in zip(*curve, strict=True)], flush=True)
        for seed in range(FIRST + len({one["seed"] for one in done}), FIRST + runs):
            active = ActiveLearner(
                pool.copy(),
                learner,
                test=test,
                budget=BUDGET,
                batch_size=BATCH,
                seed=seed,
                start="random",
                audit=0.1,
                cache=Path(cache),
            )
            with only_when_looked_at():
                rounds = active.run()
            for r in (rounds[number] for number in LOOKED_AT):
                truth = r.metrics["accuracy"]
                done.append(
                    {"seed": seed, "round": r.number, "labels": r.labeled, "truth": truth}
                    | {"needed_truth": min(needed(curve, truth), 1e9), "audit": r.audit, "saving": r.saving}
                )
            keep()
    return done


def holds(low: float | None, value: float, high: float | None) -> bool:
    """Whether an interval, open where it has no end, holds a value."""
    return (low is None or low <= value) and (high is None or value <= high)


def table(results: dict[str, list[dict[str, Any]]]) -> str:
    """Coverage and width of both figures."""
    lines = [
        "| pool | labels | accuracy: held | median width | saving: shown | held | median interval | median truth |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, found in results.items():
        for labels in sorted({one["labels"] for one in found}):
            of = [one for one in found if one["labels"] == labels]
            audits = [one["audit"] | {"truth": one["truth"]} for one in of if "value" in one["audit"]]
            hits = np.mean([holds(a["low"], a["truth"], a["high"]) for a in audits])
            width = np.median([a["high"] - a["low"] for a in audits])
            shown = [one for one in of if "needed_low" in one["saving"]]
            cells = [name, str(labels), f"{hits:.0%} of {len(audits)}", f"{width:.3f}", f"{len(shown)} of {len(of)}"]
            if shown:
                s = [one["saving"] for one in shown]
                held = np.mean(
                    [
                        holds(x["needed_low"], one["needed_truth"], x["needed_high"])
                        for x, one in zip(s, shown, strict=True)
                    ]
                )
                ends = [
                    np.median([np.inf if x[key] is None else x[key] - x["spent"] for x in s])
                    for key in ("needed_low", "needed_high")
                ]
                truth = np.median([one["needed_truth"] - one["labels"] for one in shown])
                cells += [f"{held:.0%}", f"{ends[0]:.0f} to {ends[1]:.0f}", f"{truth:.0f}"]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/saving.json"))
    arguments = parser.parse_args()
    logging.getLogger("hfal").setLevel(logging.ERROR)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}

    def keep() -> None:
        beside = arguments.out.with_suffix(".tmp")
        beside.write_text(json.dumps(results))
        os.replace(beside, arguments.out)

    for name in arguments.sets:
        if name == "tweets" or (arguments.data / name).is_dir():
            measure(name, arguments.data, arguments.runs, results.setdefault(name, []), keep)
    print(table(results))


if __name__ == "__main__":
    main()
