"""Learning curves over words for named entities, and the words that 95% and 99% of the full data's F1 take.

    python -m benchmarks.evidence_words [--seeds 3] [--sets wnut17 bc5cdr] [--learner frozen_head]

MiniLM on W-NUT 2017 and BC5CDR. All strategies of a seed start from the same random seed set, spend the same
words, and are measured on the same test rows; `default` is hfal's own choice (TypiClust for the seed set).
Runs that `--out` has already are not run again. Prints Markdown: the mean F1 over the curve with its paired
difference to random (95% t-interval over seeds), and the share of the pool's words at which the curve reaches
95% and 99% of the F1 that the same model has when it is trained on the whole pool.
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
from scipy import stats

from benchmarks.evidence import difference
from hfal import ActiveLearner, FineTune, FrozenHead, Pool, TokenClassification, TrainingConfig
from hfal.evaluation import Curve, area_under_curve
from hfal.files import write_json
from hfal.learners import Learner
from hfal.oracles import Simulated
from hfal.pool import labelled

STRATEGIES = [
    "random",
    "longest",
    "mnlp",
    "token_entropy",
    "token_margin",
    "token_least_confidence",
    "token_bald",
    "token_vote_entropy",
    "token_consensus_kl",
    "token_gradient_length",
    "sequence_entropy",
    "weighted_kmeans(by=mnlp)",
    "cluster_margin(by=mnlp)",
    "mnlp>kmeans(prefilter=10)",
]
DEFAULT = TokenClassification.default_strategy
ROUNDS = 10
SHARE = {"frozen_head": 0.4, "fine_tune": 0.2}
"""How much of the pool's words is spent."""


def load(name: str, folder: Path) -> tuple[Pool, Dataset]:
    """Pool and encoded test rows."""
    files = {split: str(folder / name / f"{split}.parquet") for split in ("train", "test")}
    loaded = load_dataset("parquet", data_files=files)
    pool = Pool.from_dataset(loaded["train"], TokenClassification())
    return pool, labelled(loaded["test"], pool.task)


def learner_of(kind: str) -> Learner:
    """MiniLM, frozen or trained."""
    if kind == "frozen_head":
        return FrozenHead("demo/minilm")
    return FineTune("demo/minilm", TrainingConfig(num_train_epochs=3, min_steps=150, learning_rate=2e-4))


def full_score(pool: Pool, test: Dataset, learner: Learner) -> float:
    """F1 when everything is labelled."""
    whole = pool.copy()
    positions = whole.unlabeled
    whole.label(dict(zip(positions.tolist(), Simulated("ner_tags").label(whole, positions), strict=True)))
    learner.bind(pool.task, 0)
    learner.fit(whole.training_set())
    return float(learner.evaluate(test)["f1"])


def run(pool: Pool, test: Dataset, learner: Learner, name: str, seed: int, share: float) -> dict[str, Any]:
    """The curve of one run over words."""
    total = int(pool.lengths(pool.unlabeled).sum())
    batch = int(total * share / ROUNDS)
    strategy, start = (DEFAULT, "typiclust") if name == "default" else (name, "random")
    active = ActiveLearner(
        pool.copy(),
        learner,
        strategy,
        test=test,
        budget={"words": batch * ROUNDS},
        batch_size={"words": batch},
        seed=seed,
        start=start,
    )
    curve = Curve.of(active.run(), "f1", "words")
    return {"words": curve.cost, "f1": curve.scores, "total": total}


def share_at(runs: list[dict[str, Any]], score: float) -> str:
    """The share of all words at which the curves reach a score: the mean and its 95% interval over seeds."""
    found = []
    for one in runs:
        curve = Curve(tuple(one["words"]), tuple(one["f1"]))
        grid = np.linspace(curve.cost[0], curve.cost[-1], 2001)
        below = np.flatnonzero(curve.at(grid) < score)
        if not len(below) or below[-1] < len(grid) - 1:
            found.append(float(grid[below[-1] + 1 if len(below) else 0]) / one["total"])
    spent = max(one["words"][-1] / one["total"] for one in runs)
    if not found:
        return f"not by {spent:.0%}"
    mean = statistics.mean(found)
    if len(found) < len(runs):
        return f"{len(found)} of {len(runs)} seeds by {spent:.0%}, at {mean:.0%}"
    if len(found) < 2:
        return f"{mean:.1%}"
    half = stats.t.ppf(0.975, len(found) - 1) * statistics.stdev(found) / len(found) ** 0.5
    return f"{mean:.1%} [{max(0.0, mean - half):.1%}, {mean + half:.1%}]"


def table(name: str, results: dict[str, Any], seeds: int) -> None:
    """Markdown of one set."""
    full = results["full"]
    print(f"\n**{name}**, F1 with the whole pool {full:.3f}\n")
    print("| strategy | mean F1 over the curve | against random | words for 95% | words for 99% |")
    print("|---|---|---|---|---|")
    areas = {}
    for strategy in [*STRATEGIES, "default"]:
        runs = [results[f"{strategy}/{seed}"] for seed in range(seeds) if f"{strategy}/{seed}" in results]
        if len(runs) < seeds:
            continue
        areas[strategy] = [area_under_curve(Curve(tuple(one["words"]), tuple(one["f1"]))) for one in runs]
        gap = "-"
        if strategy != "random" and seeds > 1:
            gap = difference(areas[strategy], areas["random"])
        mean = statistics.mean(areas[strategy])
        print(f"| {strategy} | {mean:.3f} | {gap} | {share_at(runs, 0.95 * full)} | {share_at(runs, 0.99 * full)} |")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", nargs="+", default=["wnut17", "bc5cdr"])
    parser.add_argument("--learner", choices=sorted(SHARE), default="frozen_head")
    parser.add_argument("--strategies", nargs="+", default=[*STRATEGIES, "default"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/evidence-words.json"))
    arguments = parser.parse_args()
    logging.getLogger("hfal").setLevel(logging.ERROR)
    everything = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    for name in arguments.sets:
        results = everything.setdefault(f"{name}/{arguments.learner}", {})
        pool, test = load(name, arguments.data)
        learner = learner_of(arguments.learner)
        if "full" not in results:
            results["full"] = full_score(pool, test, learner)
            write_json(arguments.out, everything)
        for seed in range(arguments.seeds):
            for strategy in arguments.strategies:
                if f"{strategy}/{seed}" not in results:
                    share = SHARE[arguments.learner]
                    results[f"{strategy}/{seed}"] = run(pool, test, learner, strategy, seed, share)
                    write_json(arguments.out, everything)
                    print(f"{name} {strategy} {seed} {results[f'{strategy}/{seed}']['f1'][-1]:.3f}", flush=True)
    for name in arguments.sets:
        table(name, everything[f"{name}/{arguments.learner}"], arguments.seeds)


if __name__ == "__main__":
    main()
