"""A baseline that is as strong as the rest: settings of a learner are tried with its rows before anything is compared.

Munjal et al. (2020) found that gains over choosing by chance come and go with how well the learner is trained. So the
settings that are best for the baseline, on rows that nobody else is scored on, are those of all strategies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from hfal.bench.cells import Cell, cell_of, run_cells
from hfal.bench.config import BenchConfig, Settings
from hfal.evaluation import Curve, area_under_curve


@dataclass(frozen=True)
class Tuned:
    """What was tried of one learner on one data set.

    Attributes:
        tried: settings with the mean height of their curves on the rows held out.
    """

    data: str
    learner: str
    tried: tuple[tuple[Settings, float], ...]

    @property
    def best(self) -> Settings:
        """The settings that all strategies get; of equal ones the first."""
        return max(self.tried, key=lambda one: one[1])[0]


def tune(config: BenchConfig, data: dict[str, dict[str, Any]]) -> tuple[Tuned, ...]:
    """Run what is not done yet of the trials: each data set x each learner with settings to try."""
    if config.tune is None:
        return ()
    trials = {
        (name, learner, at): (settings, _cells(config, data, name, learner, settings))
        for name in config.sets
        for learner, values in config.tune.settings.items()
        for at, settings in enumerate(combinations(values))
    }
    run_cells(config, [cell for _, cells in trials.values() for cell in cells], "trials")
    found: dict[tuple[str, str], list[tuple[Settings, float]]] = {}
    for (name, learner, _), (settings, cells) in trials.items():
        found.setdefault((name, learner), []).append((settings, _height(cells, data[name]["metric"])))
    return tuple(Tuned(name, learner, tuple(tried)) for (name, learner), tried in found.items())


def combinations(values: dict[str, list[Any]]) -> list[Settings]:
    """Each value of each setting with each of the others."""
    return [dict(zip(values, each, strict=True)) for each in product(*values.values())]


def _cells(
    config: BenchConfig, data: dict[str, dict[str, Any]], name: str, learner: str, settings: Settings
) -> list[Cell]:
    """The baseline with these settings, by seeds that no compared run has, scored on rows of the pool."""
    assert config.tune is not None
    strategy = next(one for one in config.strategies if one.name == config.baseline)
    run = config.run_of(name, config.learner_with(learner, settings), strategy)
    held = run.pool.model_copy(update={"rows": config.tune.rows})
    run = run.model_copy(update={"validation": held})
    first = config.seed + config.seeds
    told = ", ".join(f"{key}={value}" for key, value in settings.items())
    return [
        cell_of(config, data[name], name, f"{learner} ({told})", strategy, seed, run)
        for seed in range(first, first + config.tune.seeds)
    ]


def _height(cells: Sequence[Cell], metric: str) -> float:
    areas = []
    for cell in cells:
        assert cell.result is not None
        rounds = cell.result["rounds"]
        areas.append(
            area_under_curve(
                Curve(tuple(float(r["spent"]) for r in rounds), tuple(r["scores"][metric] for r in rounds))
            )
        )
    return float(np.mean(areas))
