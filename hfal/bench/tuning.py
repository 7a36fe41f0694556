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
from hfal.bench.config import BenchConfig, Settings, combinations
from hfal.config import Source
from hfal.errors import HfalError
from hfal.evaluation import area_under_curve

BEYOND = 1_000_000
"""From where on the seeds of trials are: more seeds to compare must not change what was tried."""


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
    """Run what is not done yet of the trials: each data set x each learner that has settings to try.

    Raises:
        HfalError: more rows are to be held out than half a pool.
    """
    if config.tune is None:
        return ()
    for name, found in data.items():
        if 2 * config.tune.rows > found["rows"]:
            raise HfalError(f"tune.rows: {config.tune.rows} is more than half of the {found['rows']} rows of {name}")
    names = list(product(config.sets, config.tune.settings))
    trials = {at: _trials(config, data, *at) for at in names}
    run_cells(config, [cell for found in trials.values() for _, cells in found for cell in cells], "trials")
    return tuple(
        Tuned(name, learner, tuple((settings, _height(cells, data[name]["metric"])) for settings, cells in found))
        for (name, learner), found in trials.items()
    )


def _trials(
    config: BenchConfig, data: dict[str, dict[str, Any]], name: str, learner: str
) -> list[tuple[Settings, list[Cell]]]:
    """The baseline with each setting, by seeds that no compared run has, scored on rows of the pool."""
    assert config.tune is not None
    strategy = next(one for one in config.strategies if one.name == config.baseline)
    first = config.seed + BEYOND
    found = []
    for settings in combinations(config.tune.settings[learner]):
        run = config.run_of(name, config.learner_with(learner, settings), strategy)
        pool = {key: getattr(run.pool, key) for key in Source.model_fields}
        run = run.model_copy(update={"validation": Source(**pool | {"rows": config.tune.rows})})
        shown = f"{learner} ({told(settings)})"
        seeds = range(first, first + config.tune.seeds)
        found.append((settings, [cell_of(config, data, name, shown, strategy, seed, run) for seed in seeds]))
    return found


def told(settings: Settings) -> str:
    """As people read it."""
    return ", ".join(f"{key}: {value}" for key, value in settings.items())


def _height(cells: Sequence[Cell], metric: str) -> float:
    """Mean height of the curves."""
    return float(np.mean([area_under_curve(cell.curve(metric)) for cell in cells]))
