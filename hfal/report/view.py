"""A run folder, read for people to look at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from hfal.budget import Budget
from hfal.config import RunConfig, check_config
from hfal.errors import HfalError
from hfal.evaluation import Curve
from hfal.files import read_json
from hfal.rounds import ON_POOL, Ledger, Round
from hfal.tasks import Task

BASELINE, REPEATS = "baseline", "repeats"
"""Where a run folder keeps the same budget by chance, and the same run with other seeds."""


@dataclass(frozen=True)
class RunView:
    """What a run folder says."""

    folder: Path
    config: dict[str, Any]
    pool: dict[str, Any]
    rounds: list[Round]
    ledger: Ledger
    final: dict[str, Any] | None
    baseline: RunView | None
    repeats: list[RunView]

    @property
    def waits(self) -> bool:
        """Whether its rounds wait for labels, of people or of a model."""
        return self.config.get("oracle") in ("people", "model")

    @cached_property
    def settings(self) -> RunConfig:
        """The config, checked."""
        return check_config(self.config, str(self.folder / "config.yaml"))

    @property
    def strategy(self) -> str:
        """The strategy's spec."""
        return str(self.config.get("strategy", "?"))

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.config.get("seed", 0))

    @property
    def budget(self) -> Budget:
        """What may be spent."""
        return Budget.of(self.config["budget"])

    @property
    def metrics(self) -> list[str]:
        """Names of the scores that are single numbers, the main one first."""
        if not self.rounds:
            return []
        main = self.pool.get("main_metric", "macro_f1")
        names = list(self.rounds[-1].scores)
        return sorted(names, key=lambda name: (name != main, names.index(name)))

    @property
    def cheapest(self) -> float:
        """What the cheapest row of the pool cost when the run began."""
        return float(self.pool.get("cheapest", 1))

    def curve(self, metric: str) -> Curve:
        """A score over what was spent, in the budget's unit."""
        return Curve.of(self.rounds, metric, self.budget.unit)

    def interval(self, metric: str) -> tuple[list[float], list[float]] | None:
        """The ends of the 95% interval of an estimated score, round by round; None for scores on test rows."""
        if not metric.startswith(ON_POOL):
            return None
        told = [r.audit for r in self.rounds if metric in r.scores]
        return [audit["low"] for audit in told], [audit["high"] for audit in told]

    def everything(self) -> list[RunView]:
        """This run, its repeats with other seeds, and chance beside each: those that have scores."""
        views = [self, self.baseline] if self.baseline else [self]
        found = [view for view in views if view.metrics]
        return found + [view for repeat in self.repeats for view in repeat.everything()]

    def asked(self, number: int) -> list[dict[str, Any]]:
        """The rows of a round with their labels, in order of choice."""
        selection, labels = self.ledger.selection(number), self.ledger.labels(number)
        if selection is None or not len(selection):
            return []
        known = {} if labels is None else dict(zip(*_columns(labels, "id", "label"), strict=True))
        return [{**row, "label": known.get(row["id"])} for row in selection.to_pylist()]


def _columns(table: pa.Table, *names: str) -> list[list[Any]]:
    return [table[name].to_pylist() for name in names]


def task_of(run: RunView) -> Task:
    """The task of a run with what its data said of it: label names and scheme."""
    known = {"label_names": run.pool["label_names"]}
    if run.pool.get("scheme"):
        known["scheme"] = run.pool["scheme"]
    return run.settings.task.model_copy(update=known).build()


def open_run(folder: str | Path) -> RunView:
    """Read a run folder.

    Raises:
        HfalError: it is not one.
    """
    folder = Path(folder)
    if not (folder / "config.yaml").exists():
        raise HfalError(f"{folder} is not a run folder: it has no config.yaml")
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    pool = read_json(folder / "pool.json") if (folder / "pool.json").exists() else {}
    ledger = Ledger(folder)
    baseline = folder / BASELINE
    final = folder / "final.json"
    return RunView(
        folder=folder,
        config=config,
        pool=pool,
        rounds=ledger.read(),
        ledger=ledger,
        final=read_json(final) if final.exists() else None,
        baseline=open_run(baseline) if (baseline / "config.yaml").exists() else None,
        repeats=[open_run(path.parent) for path in sorted(folder.glob(f"{REPEATS}/seed-*/config.yaml"))],
    )
