"""Learning curves on questions about pictures: uncertainty of the answer, and of what it means.

    python -m benchmarks.evidence_vqa [--seeds 3] [--sets plain wordings daquar] [--out runs/evidence-vqa]

`plain` is easy-VQA; `wordings` the same, where "yes" and "no" are said in six ways each (made up by us:
`hfal.demo.WORDINGS`), one of them for a row that is learned and any of them right for a row that is measured on;
`daquar` real photos with several answers. Fusion: MiniLM, and a small ResNet that is trained from scratch in each
round. Runs that
`--out` has already are not run again. Prints Markdown: VQA accuracy at some label counts, the mean height of the curve
and its difference to random over the same seeds with a 95% t-interval, and how many times the labels random needs for
the accuracy that the strategy ends with.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, load_dataset

from benchmarks.evidence import difference
from hfal import ActiveLearner, Pool, VisualQuestionAnswering
from hfal.config import Source
from hfal.data import load_source, shuffled
from hfal.demo import reworded
from hfal.evaluation import Curve, cost_to_reach
from hfal.files import write_json
from hfal.learners import Fusion
from hfal.learners.fusion import TRAINING
from hfal.pool import labelled

STRATEGIES = [
    "random",
    "margin",
    "entropy",
    "bald",
    "latent_variance",
    "latent_entropy",
    "badge",
]
METRIC = "vqa_accuracy"
SETS = ("plain", "wordings", "daquar")
BUDGET, BATCH, FARTHER = 1200, 150, 3
"""Random goes on to so many times the budget, to see where it comes to the same accuracy."""


def load(name: str, folder: Path) -> tuple[Dataset, Dataset, VisualQuestionAnswering]:
    """Pool and test rows."""
    if name == "daquar":
        files = {split: str(folder / "daquar" / f"{split}.parquet") for split in ("train", "test")}
        rows = load_dataset("parquet", data_files=files)
        named = rows.map(lambda row: {"image": str(folder / "daquar" / "images" / f"{row['image_id']}.jpg")})
        return named["train"], named["test"], VisualQuestionAnswering(answers="answer", separator=",")
    train, test = (load_source(Source(source="demo/easy-vqa", split=split)) for split in ("train", "test"))
    train, test = shuffled(train, 0).select(range(12_000)), shuffled(test, 0).select(range(4000))
    if name == "wordings":
        train, test = reworded(train, "answers", 0), reworded(test, "answers", 0, every=True)
    return train, test, VisualQuestionAnswering()


def measure(name: str, folder: Path, seeds: int, out: Path, strategies: list[str]) -> dict[str, dict[str, Any]]:
    """Strategy -> seed -> [labels, accuracy] of its rounds: those of the file, and those that it lacks."""
    path = out / f"{name}.json"
    found: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    missing = [(s, spec) for s in range(seeds) for spec in strategies if str(s) not in found.get(spec, {})]
    if not missing:
        return found
    rows, test, task = load(name, folder)
    pool = Pool.from_dataset(rows, task)
    test = labelled(test, pool.task)
    learner = Fusion("demo/minilm", TRAINING, image_size=64)
    for seed, strategy in missing:
        run = ActiveLearner(
            pool.copy(),
            learner,
            strategy,
            test=test,
            budget=BUDGET * FARTHER if strategy == "random" else BUDGET,
            batch_size=2 * BATCH if strategy == "random" else BATCH,
            start_size=BATCH,
            seed=seed,
            start="random",
            cache=out / "cache",
        )
        rounds = [[done.labeled, done.metrics[METRIC]] for done in run.run()]
        found.setdefault(strategy, {})[str(seed)] = rounds
        write_json(path, found)
        print(f"{name:9} {seed} {strategy:40} {[round(score, 3) for _, score in rounds]}", flush=True)
    return found


def curve_of(rounds: list[list[float]]) -> Curve:
    """A run's learning curve."""
    cost, scores = zip(*rounds, strict=True)
    return Curve(cost, scores)


def height(curve: Curve) -> float:
    """The mean over what every strategy may spend."""
    return float(np.mean(curve.at(np.arange(BATCH, BUDGET + 1, BATCH))))


def savings(ours: list[Curve], random: list[Curve]) -> str:
    """How many times the labels random needs for the accuracy of `ours` at the end; the range over seeds."""
    needed = [cost_to_reach(chance, mine.scores[-1]) for mine, chance in zip(ours, random, strict=True)]
    ratios = [FARTHER if cost is None else cost / BUDGET for cost in needed]
    beyond = ">= " if None in needed else ""
    return f"{beyond}{statistics.mean(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", nargs="+", choices=sorted(SETS), default=list(SETS))
    parser.add_argument("--strategies", nargs="+", default=STRATEGIES)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/evidence-vqa"))
    arguments = parser.parse_args()
    logging.getLogger("hfal").setLevel(logging.ERROR)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.sets:
        found = measure(name, arguments.data, arguments.seeds, arguments.out, arguments.strategies)
        seeds = [str(seed) for seed in range(arguments.seeds)]
        random = [curve_of(found["random"][seed]) for seed in seeds]
        shown = [300, 600, 900, 1200]
        print(f"\n{name}\n\n| strategy | {' | '.join(map(str, shown))} | area | to random | labels of random |")
        print("|---|" + "---|" * (len(shown) + 3))
        for strategy in arguments.strategies:
            curves = [curve_of(found[strategy][seed]) for seed in seeds]
            scores = [f"{np.mean([curve.at([cost])[0] for curve in curves]):.3f}" for cost in shown]
            areas, chance = [height(curve) for curve in curves], [height(curve) for curve in random]
            tail = ["", ""] if strategy == "random" else [difference(areas, chance), savings(curves, random)]
            print(f"| {strategy} | {' | '.join([*scores, f'{statistics.mean(areas):.3f}', *tail])} |")


if __name__ == "__main__":
    main()
