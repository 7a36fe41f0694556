"""Learning curves on pairs of texts and on relations: which strategy finds the rare class with few labels.

    python -m benchmarks.evidence_pairs [--seeds 3] [--sets abt_buy] [--data ../shared/data] [--out runs/evidence-pairs]

FrozenHead on MiniLM. All strategies of a seed start from the same seed set (the task's own: `start` is one of the
rows too, from a random seed set) and are measured on the same test rows. Runs that `--out` has already are not run
again. Prints Markdown: the main score at some label counts, the mean height of the curve, and its difference to random
over the same seeds with a 95% t-interval.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset

from benchmarks.evidence import difference
from hfal import ActiveLearner, FrozenHead, Pairs, Pool, Relations
from hfal.evaluation import Curve, area_under_curve
from hfal.files import write_json
from hfal.pool import labelled
from hfal.tasks import Task


@dataclass(frozen=True)
class Case:
    """One line of a table."""

    strategy: str
    start: str
    learner: dict[str, Any] = field(default_factory=dict)
    transfer: bool = False


@dataclass(frozen=True)
class Data:
    """A data set, what is measured on it, and how far."""

    task: Task
    metric: str
    budget: int
    batch: int
    at: tuple[int, ...]
    cases: dict[str, Case]


ALIKE = "similar_pairs"
BRAND = "sony"
"""Its pairs, a fifth of all, are the source in `brands`; the pool has the others."""


def of_brand(row: dict[str, Any]) -> bool:
    """Whether the left side of a pair is of the brand."""
    return str(row["left"]).startswith(f"name: {BRAND} ")


SETS = {
    "abt_buy": Data(
        Pairs(),
        "f1",
        1000,
        50,
        (100, 200, 400, 1000),
        {
            "random": Case("random", ALIKE),
            "margin": Case("margin", ALIKE),
            "high_confidence_mix": Case("high_confidence_mix", ALIKE),
            "badge": Case("badge", ALIKE),
            "margin>kmeans(prefilter=10)": Case("margin>kmeans(prefilter=10)", ALIKE),
            "uncertainty_herding": Case("uncertainty_herding", ALIKE),
            "random, random seed set": Case("random", "random"),
            "margin, random seed set": Case("margin", "random"),
            "margin, typiclust seed set": Case("margin", "typiclust"),
            "random, no threshold": Case("random", ALIKE, {"threshold": None}),
            "margin, no threshold": Case("margin", ALIKE, {"threshold": None}),
            "margin, no threshold, balanced": Case("margin", ALIKE, {"threshold": None, "class_weights": "balanced"}),
            "margin, balanced": Case("margin", ALIKE, {"class_weights": "balanced"}),
        },
    ),
    "brands": Data(
        Pairs(),
        "f1",
        500,
        25,
        (50, 100, 200, 500),
        {
            "random": Case("random", ALIKE),
            "margin": Case("margin", ALIKE),
            "random, transfer": Case("random", ALIKE, transfer=True),
            "margin, transfer": Case("margin", ALIKE, transfer=True),
            "margin, transfer, margin from the start": Case("margin", "margin", transfer=True),
            "high_confidence_mix, transfer": Case("high_confidence_mix", ALIKE, transfer=True),
            "source-like by margin, transfer": Case("source_like>margin(prefilter=10)", ALIKE, transfer=True),
            "source-unlike by margin, transfer": Case(
                "source_like(unlike=true)>margin(prefilter=10)", ALIKE, transfer=True
            ),
        },
    ),
    "semeval2010_task8": Data(
        Relations(none="Other"),
        "macro_f1",
        500,
        50,
        (100, 200, 300, 500),
        {
            "random": Case("random", "random"),
            "margin": Case("margin", "random"),
            "high_confidence_mix": Case("high_confidence_mix", "random"),
            "badge": Case("badge", "random"),
            "bait": Case("bait", "random"),
            "uncertainty_herding": Case("uncertainty_herding", "random"),
            "margin>kmeans(prefilter=10)": Case("margin>kmeans(prefilter=10)", "random"),
            "margin>kmeans(prefilter=10), typiclust seed set": Case("margin>kmeans(prefilter=10)", "typiclust"),
        },
    ),
}


def load(name: str, folder: Path) -> tuple[Dataset, Dataset, Dataset | None]:
    """Pool, test, and the source of a transfer."""
    place = folder / ("abt_buy" if name == "brands" else name)
    rows = load_dataset("parquet", data_files={split: str(place / f"{split}.parquet") for split in ("train", "test")})
    if name != "brands":
        return rows["train"], rows["test"], None
    others = rows.filter(lambda row: not of_brand(row))
    return others["train"], others["test"], rows["train"].filter(of_brand)


def measure(name: str, folder: Path, seeds: int, out: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Case -> seed -> the scores of its rounds: those of the file, and those that it lacks."""
    data, path = SETS[name], out / f"{name}.json"
    found: dict[str, dict[str, dict[str, Any]]] = json.loads(path.read_text()) if path.exists() else {}
    missing = [(s, case) for s in range(seeds) for case in data.cases if str(s) not in found.get(case, {})]
    if not missing:
        return found
    rows, test, source = load(name, folder)
    pool = Pool.from_dataset(rows, data.task)
    test = labelled(test, pool.task)
    for seed, case in missing:
        spec = data.cases[case]
        run = ActiveLearner(
            pool.copy(),
            FrozenHead("demo/minilm", **{"class_weights": None} | spec.learner),
            spec.strategy,
            test=test,
            budget=data.budget,
            batch_size=data.batch,
            seed=seed,
            start=spec.start,
            cache=out / "cache",
            transfer=source if spec.transfer else None,
        )
        rounds = run.run()
        curve = Curve.of(rounds, data.metric)
        scores = {str(round.labeled): round.metrics[data.metric] for round in rounds}
        found.setdefault(case, {})[str(seed)] = {"area": area_under_curve(curve), "scores": scores}
        write_json(path, found)
        print(f"{name:9} {seed} {case:40} {found[case][str(seed)]['area']:.3f}", flush=True)
    return found


def table(name: str, found: dict[str, dict[str, dict[str, Any]]], seeds: int) -> None:
    """Print what was found."""
    data = SETS[name]
    print(f"\n{name}, {data.metric}\n\n| strategy | {' | '.join(map(str, data.at))} | area | to random |")
    print("|---|" + "---|" * (len(data.at) + 2))
    for case in data.cases:
        runs = [found[case][str(seed)] for seed in range(seeds)]
        scores = [f"{statistics.mean(run['scores'][str(at)] for run in runs):.3f}" for at in data.at]
        areas, random = [run["area"] for run in runs], [found["random"][str(s)]["area"] for s in range(seeds)]
        gap = "" if case == "random" else difference(areas, random)
        print(f"| {case} | {' | '.join(scores)} | {statistics.mean(areas):.3f} | {gap} |")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", nargs="+", choices=sorted(SETS), default=list(SETS))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/evidence-pairs"))
    arguments = parser.parse_args()
    logging.getLogger("hfal").setLevel(logging.ERROR)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.sets:
        table(name, measure(name, arguments.data, arguments.seeds, arguments.out), arguments.seeds)


if __name__ == "__main__":
    main()
