"""Learning curves of every strategy on real data, with paired intervals.

    python -m benchmarks.evidence [--seeds 6] [--data ../shared/data] [--out runs/evidence.json]

FrozenHead on MiniLM, 20 to 220 labels in batches of 20. All strategies of a seed start from the same random
seed set and are measured on the same test rows; `default` is hfal's own choice (TypiClust for the seed set,
then margin>kmeans). Prints a Markdown table of the mean area under the learning curve, and the difference to
random over the same seeds with a 95% t-interval.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
from pathlib import Path

from datasets import Dataset, load_dataset
from scipy import stats

from hfal import ActiveLearner, FrozenHead, Pool, TextClassification
from hfal.data import shuffled
from hfal.demo import demo_dataset
from hfal.evaluation import Curve, area_under_curve
from hfal.pool import labelled

STRATEGIES = [
    "random",
    "margin",
    "entropy",
    "badge",
    "coreset",
    "bald",
    "typiclust",
    "kmeans",
    "margin>kmeans(prefilter=10)",
]
METRICS = {"sst2": "accuracy", "trec6": "macro_f1", "sms_spam": "macro_f1", "tweets": "macro_f1"}


def load(name: str, folder: Path) -> tuple[Dataset, Dataset]:
    """Pool and test rows."""
    if name == "tweets":
        rows = shuffled(demo_dataset("demo/tweets"), 0)
        return rows.select(range(2000, 8000)), rows.select(range(2000))
    files = {split: str(folder / name / f"{split}.parquet") for split in ("train", "test")}
    loaded = load_dataset("parquet", data_files=files)
    return loaded["train"], loaded["test"]


def area(rounds: list, metric: str) -> float:
    """Mean height of a run's learning curve."""
    curve = Curve.of(rounds, metric)
    return area_under_curve(curve)


def measure(name: str, folder: Path, seeds: int) -> dict[str, list[float]]:
    """Areas by strategy, one for each seed."""
    train, test = load(name, folder)
    pool = Pool.from_dataset(train, TextClassification(), skip_empty=True)
    test = labelled(test, pool.task)
    learner = FrozenHead("demo/minilm")
    areas: dict[str, list[float]] = {}
    for strategy in [*STRATEGIES, "default"]:
        choice, start = (strategy, "random") if strategy != "default" else (STRATEGIES[-1], "typiclust")
        areas[strategy] = [
            area(
                ActiveLearner(
                    pool.copy(), learner, choice, test=test, budget=220, batch_size=20, seed=seed, start=start
                ).run(),
                METRICS[name],
            )
            for seed in range(seeds)
        ]
        print(f"{name:9} {strategy:28} {statistics.mean(areas[strategy]):.3f}", flush=True)
    return areas


def difference(ours: list[float], random: list[float]) -> str:
    """`+0.021 [+0.010, +0.032]`: the mean paired difference and its 95% interval."""
    gaps = [a - b for a, b in zip(ours, random, strict=True)]
    mean = statistics.mean(gaps)
    half = stats.t.ppf(0.975, len(gaps) - 1) * statistics.stdev(gaps) / len(gaps) ** 0.5
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/evidence.json"))
    arguments = parser.parse_args()
    logging.getLogger("hfal").setLevel(logging.ERROR)
    present = [name for name in METRICS if name == "tweets" or (arguments.data / name).is_dir()]
    results = {name: measure(name, arguments.data, arguments.seeds) for name in present}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(results, indent=1))
    print("\n| strategy | " + " | ".join(f"{name} ({METRICS[name]})" for name in present) + " |")
    print("|---|" + "---|" * len(present))
    for strategy in [*STRATEGIES, "default"]:
        cells = []
        for name in present:
            areas = results[name]
            cell = f"{statistics.mean(areas[strategy]):.3f}"
            cells.append(cell if strategy == "random" else f"{cell}, {difference(areas[strategy], areas['random'])}")
        print(f"| {strategy} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
