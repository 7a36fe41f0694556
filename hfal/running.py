"""A config, run from end to end: the loop, chance beside it, the last training, the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset

from hfal.budget import Budget
from hfal.compute import barrier, derive_seed, is_main
from hfal.config import RunConfig
from hfal.data import build_data
from hfal.files import write_folder, write_json
from hfal.learners import FrozenHead
from hfal.loop import ActiveLearner
from hfal.oracles import Simulated
from hfal.pool import Pool
from hfal.report import write_report
from hfal.report.view import BASELINE
from hfal.rounds import Round


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    folder: Path
    rounds: list[Round]
    baseline: list[Round]
    report: Path | None


def run_config(config: RunConfig, tell: Callable[[str, Round], None]) -> Outcome:
    """Run a config, or go on with it where its folder has rounds already.

    Args:
        config: what to do.
        tell: called with the strategy and each round, as it is there.

    Raises:
        HfalError: anything the user can put right.
    """
    folder = Path(config.output_dir)
    pool, test, validation = build_data(config, config.task.build())
    twin = pool.copy()
    active = _active(config, pool, test, validation, folder)
    for finished in active:
        tell(config.strategy, finished)
    _finish(active, folder)
    rounds: list[Round] = []
    if config.baseline and config.strategy != "random" and test is not None:
        chance = _active(config, twin, test, validation, folder / BASELINE, by_chance=True)
        for finished in chance:
            tell("random", finished)
        rounds = chance.rounds
    report = None
    if is_main() and test is not None:
        report = write_report([folder])
    barrier()
    return Outcome(folder, active.rounds, rounds, report)


def _active(
    config: RunConfig,
    pool: Pool,
    test: Dataset | None,
    validation: Dataset | None,
    folder: Path,
    *,
    by_chance: bool = False,
) -> ActiveLearner:
    record = config.record()
    if by_chance:
        record.update(strategy="random", start={"strategy": "random", "rows": config.start.rows}, baseline=None)
    return ActiveLearner(
        pool,
        config.learner.build(),
        strategy=record["strategy"],
        oracle=Simulated(config.task.label),
        test=test,
        budget=Budget(config.budget.rows),
        batch_size=config.batch.rows,
        seed=config.seed,
        output_dir=folder,
        validation=validation,
        start=record["start"]["strategy"],
        start_size=config.start.rows,
        record=record,
        cache=Path(config.output_dir) / "cache",
    )


def _finish(active: ActiveLearner, folder: Path) -> None:
    """Where the learner asks for it, train the whole model once on all that was bought."""
    if not isinstance(active.learner, FrozenHead):
        return
    last, path = active.learner.last(), folder / "final.json"
    if last is None or path.exists():
        return
    last.bind(active.pool.task, derive_seed("final", active.seed), folder / "cache")
    report = last.fit(active.pool.training_set(), active.validation)
    metrics: dict[str, Any] = {} if active.test is None else last.evaluate(active.test)
    if is_main():
        write_folder(folder / "final", last.save)
        write_json(path, {"metrics": metrics, "training": {"steps": report.steps, "loss": report.loss}})
    barrier()

