"""Learning curves of every strategy on real data, with paired intervals.

    python -m benchmarks.evidence [--seeds 5] [--sets sst2 trec6] [--data ../shared/data] [--out runs/evidence]

FrozenHead on MiniLM, 20 to 220 labels in batches of 20. All strategies of a seed start from the same random
seed set and are measured on the same test rows; `default` is hfal's own choice (TypiClust for the seed set,
then margin>kmeans). Runs that `--out` has already are not run again. Prints a Markdown table of the mean area under
the learning curve, and the difference to random over the same seeds with a 95% t-interval.
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
from hfal.files import write_json
from hfal.pool import labelled

STRATEGIES = [
    "random",
    "least_confidence",
    "margin",
    "entropy",
    "expected_gradient_length",
    "deepfool(space=features)",
    "margin>deepfool(prefilter=3)",
    "margin>egl_word(prefilter=3)",
    "variation_ratio",
    "mean_std",
    "vote_entropy",
    "consensus_kl",
    "bald",
    "power_bald",
    "softmax_bald",
    "batchbald",
    "acs_fw",
    "epig",
    "badge",
    "bait",
    "lcmd",
    "coreset",
    "coreset_robust",
    "farthest_first",
    "kmeans",
    "typiclust",
    "prob_cover",
    "maxherding",
    "uncertainty_herding",
    "information_density",
    "set_cover",
    "dictionary",
    "weighted_kmeans",
    "cluster_margin",
    "cal",
    "class_quota",
    "high_confidence_mix",
    "discriminative",
    "vaal",
    "tavaal",
    "waal",
    "learning_loss",
    "multi_view",
    "seals(then=margin)",
    "anchoral(then=margin)",
    "exploration(first=farthest_first, then=margin)",
    "exploration(then=margin, rounds=5, schedule=decay)",
    "margin>kmeans(prefilter=10)",
]
"""alps is not among them: MiniLM comes without the language-model head that it needs."""
DEFAULT = TextClassification.default_strategy
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


def measure(name: str, folder: Path, seeds: int, out: Path, strategies: list[str]) -> dict[str, dict[str, float]]:
    """Areas by strategy and seed: those of the file, and those that it lacks."""
    path = out / f"{name}.json"
    areas: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.exists() else {}
    missing = [(s, spec) for s in range(seeds) for spec in strategies if str(s) not in areas.get(spec, {})]
    if not missing:
        return areas
    train, test = load(name, folder)
    pool = Pool.from_dataset(train, TextClassification(), skip_empty=True)
    test = labelled(test, pool.task)
    learner = FrozenHead("demo/minilm", class_weights=None)
    for seed, strategy in missing:
        choice, start = (DEFAULT, "typiclust") if strategy == "default" else (strategy, "random")
        run = ActiveLearner(pool.copy(), learner, choice, test=test, budget=220, batch_size=20, seed=seed, start=start)
        areas.setdefault(strategy, {})[str(seed)] = area(run.run(), METRICS[name])
        write_json(path, areas)
        print(f"{name:9} {seed} {strategy:50} {areas[strategy][str(seed)]:.3f}", flush=True)
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
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sets", nargs="+", choices=sorted(METRICS), default=list(METRICS))
    parser.add_argument("--strategies", nargs="+", default=[*STRATEGIES, "default"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/evidence"))
    arguments = parser.parse_args()
    logging.getLogger("hfal").setLevel(logging.ERROR)
    present = [name for name in arguments.sets if name == "tweets" or (arguments.data / name).is_dir()]
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = {
        name: measure(name, arguments.data, arguments.seeds, arguments.out, arguments.strategies) for name in present
    }
    print("\n| strategy | " + " | ".join(f"{name} ({METRICS[name]})" for name in present) + " |")
    print("|---|" + "---|" * len(present))
    for strategy in arguments.strategies:
        cells = []
        for name in present:
            found, random = (
                [results[name][spec][str(s)] for s in range(arguments.seeds)] for spec in (strategy, "random")
            )
            cell = f"{statistics.mean(found):.3f}"
            cells.append(cell if strategy == "random" else f"{cell}, {difference(found, random)}")
        print(f"| {strategy} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
