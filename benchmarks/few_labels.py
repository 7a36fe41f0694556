"""What each learner of a benchmark adds to the first one, with the same rows asked: from its `results.csv`.

    python -m benchmarks.few_labels runs/bench-few-labels-frozen [--at 50 100 200] [--strategy random]

Prints Markdown: the mean over data sets and seeds of the paired difference at some label counts and over the whole
curve, with a 95% interval and Wilcoxon's p after Holm's correction, and how long a run took beside the first learner's.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import numpy as np

from hfal.evaluation.comparing import compare, holm
from hfal.files import read_json

Pair = tuple[str, str]
"""A data set and a seed."""


def scores(folder: Path, strategy: str) -> dict[str, dict[int, dict[Pair, float]]]:
    """Learner -> labels -> (data set, seed) -> its main score."""
    lock = read_json(folder / "bench.lock.json")
    metrics = {name: found["metric"] for name, found in lock["data"].items()}
    found: dict[str, dict[int, dict[Pair, float]]] = defaultdict(lambda: defaultdict(dict))
    with (folder / "results.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["strategy"] == strategy and row["metric"] == metrics[row["data"]]:
                found[row["learner"]][int(row["labels"])][row["data"], row["seed"]] = float(row["score"])
    return found


def times(folder: Path, strategy: str) -> dict[str, float]:
    """Learner -> median seconds of a run."""
    found: dict[str, list[float]] = defaultdict(list)
    with (folder / "seconds.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["strategy"] == strategy:
                found[row["learner"]].append(float(row["seconds"]))
    return {learner: float(np.median(each)) for learner, each in found.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--at", type=int, nargs="+", default=[50, 100, 200])
    parser.add_argument("--strategy", default="random")
    asked = parser.parse_args()
    found, seconds = scores(asked.folder, asked.strategy), times(asked.folder, asked.strategy)
    first, *others = list(read_json(asked.folder / "bench.lock.json")["config"]["learners"])
    plain = found[first]
    pairs = sorted(plain[asked.at[0]])

    def mean(learner: str, pair: Pair) -> float:
        return float(np.mean([by_pair[pair] for by_pair in found[learner].values()]))

    whole = {one: compare([mean(one, p) for p in pairs], [mean(first, p) for p in pairs]) for one in others}
    adjusted = dict(zip(others, holm([one.p for one in whole.values()]), strict=True))
    print("|", " | ".join(["learner", *(f"{n} labels" for n in asked.at), "whole curve", "p (Holm)", "time"]), "|")
    print("|---" * (len(asked.at) + 4) + "|")
    base = [f"{np.mean([plain[n][p] for p in pairs]):.3f}" for n in asked.at]
    print("|", " | ".join([first, *base, f"{np.mean([mean(first, p) for p in pairs]):.3f}", "", "1.0"]), "|")
    for learner in others:
        cells = [learner]
        for n in asked.at:
            one = compare([found[learner][n][p] for p in pairs], [plain[n][p] for p in pairs])
            cells.append(f"{one.difference:+.3f} [{one.low:+.3f}, {one.high:+.3f}]")
        one = whole[learner]
        cells += [f"{one.difference:+.3f} [{one.low:+.3f}, {one.high:+.3f}]", f"{adjusted[learner]:.3f}"]
        print("|", " | ".join([*cells, f"{seconds[learner] / seconds[first]:.1f}"]), "|")


if __name__ == "__main__":
    main()
