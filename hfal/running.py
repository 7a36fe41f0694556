"""A config, run from end to end: the loop, chance beside it, the last training, the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset

from hfal.annotators import Annotator, Endpoint, LocalModel, TextModel
from hfal.assisted import Assisted
from hfal.budget import Budget
from hfal.compute import barrier, derive_seed, from_main, is_main
from hfal.config import AnnotatorSection, PeopleSection, RunConfig
from hfal.data import build_data, load_labelled
from hfal.errors import HfalError
from hfal.files import write_folder, write_json
from hfal.learners import FrozenHead, Learner
from hfal.learners.base import fit, prepare
from hfal.loop import ActiveLearner
from hfal.oracles import Oracle, Simulated
from hfal.people import People
from hfal.pool import Pool
from hfal.report import write_report
from hfal.report.view import BASELINE, REPEATS
from hfal.rounds import Round
from hfal.tasks import Task

Tell = Callable[["Part", Round], None]
Wait = Callable[[int], None]


@dataclass(frozen=True)
class Part:
    """One run among those that a config asks for: a strategy, a seed, a folder."""

    strategy: str
    seed: int
    folder: Path
    first: bool
    by_chance: bool


@dataclass(frozen=True)
class Outcome:
    """What a config came to: the rounds of each of its runs."""

    folder: Path
    budget: Budget
    main_metric: str
    rounds: list[tuple[Part, list[Round]]]
    report: Path | None
    waiting: int | None = None


def parts_of(config: RunConfig, measured: bool) -> Iterator[Part]:
    """The runs of a config: each seed with the strategy and, where scores can be compared, by chance."""
    folder = Path(config.output_dir)
    for turn in range(config.repeats):
        seed = config.seed + turn
        place = folder if turn == 0 else folder / REPEATS / f"seed-{seed}"
        yield Part(config.chooser, seed, place, turn == 0, by_chance=False)
        if config.baseline and measured and config.chooser != config.baseline and config.oracle == "simulated":
            yield Part(config.baseline, seed, place / BASELINE, turn == 0, by_chance=True)


def run_config(config: RunConfig, tell: Tell, *, accept_partial: bool = False, wait: Wait | None = None) -> Outcome:
    """Run a config, or go on with it where its folder has rounds already.

    Args:
        config: what to do.
        tell: called with each round of the first run, as it is there, and with the last round of the others.
        wait: called with the number of a round that waits for people; returns when its labels are there. Without
            it the run ends there, and goes on when it is run again.
        accept_partial: where people label, go on with what they have done of the round that waits.

    Raises:
        HfalError: anything the user can put right.
    """
    pool, test, validation = build_data(config, config.task.build())
    transfer = None if config.transfer is None else load_labelled(config.transfer, pool.task, config.seed, "transfer")
    learner = config.learner.build()
    oracle = _oracle(config, pool, accept_partial)
    results: list[tuple[Part, list[Round]]] = []
    waiting = None
    for part in parts_of(config, measured=test is not None):
        cache = Path(config.output_dir) / "cache"
        active = active_of(config, part, pool.copy(), learner, oracle, test, validation, transfer, cache)
        active.wait = wait
        main = part.first and not part.by_chance
        for finished in active:
            if main:
                tell(part, finished)
        waiting = active.waiting if main else waiting
        if main and active.waiting is None:
            _finish(active, part.folder)
        elif not main and active.rounds:
            tell(part, active.rounds[-1])
        results.append((part, active.rounds))
    folder = Path(config.output_dir)
    scored = any(rounds and rounds[-1].scores for _, rounds in results)
    report = write_report([folder]) if is_main() and scored else None
    barrier()
    return Outcome(folder, Budget.of(config.budget), pool.task.main_metric, results, report, waiting)


def _oracle(config: RunConfig, pool: Pool, accept_partial: bool) -> Oracle:
    if config.oracle == "simulated":
        if accept_partial:
            raise HfalError("--accept-partial is for rounds that people label: this config has oracle: simulated")
        return Simulated(pool.task.label)
    people = config.people or PeopleSection()
    if config.annotator is None:
        return People(overlap=people.overlap, resolve=people.resolve, accept_partial=accept_partial, ahead=people.ahead)
    if people.overlap > 1 or people.ahead:
        raise HfalError("people.overlap and people.ahead do not go with oracle: model, which labels each row once")
    annotator = _annotator(config.annotator, pool.task)
    return Assisted(annotator, config.annotator.check, resolve=people.resolve, accept_partial=accept_partial)


def _annotator(asked: AnnotatorSection, task: Task) -> Annotator:
    """The model that a config names."""
    options: dict[str, Any] = {"system": asked.system, "max_new_tokens": asked.max_new_tokens}
    if asked.endpoint is None:
        model: TextModel = LocalModel(asked.model, trust_remote_code=asked.trust_remote_code, **options)
    else:
        prices = {name: price for name, price in asked.price.model_dump().items() if price}
        model = Endpoint(asked.endpoint, asked.model, asked.api_key_env, prices=prices, **options)
    return Annotator(model, task, asked.prompt)


def active_of(
    config: RunConfig,
    part: Part,
    pool: Pool,
    learner: Learner,
    oracle: Oracle,
    test: Dataset | None,
    validation: Dataset | None,
    transfer: Dataset | None,
    cache: Path,
) -> ActiveLearner:
    """The loop of one part of a config."""
    record: dict[str, Any] = config.record() | {"seed": part.seed, "strategy": part.strategy}
    if not part.first or part.by_chance:
        record.update(baseline=None, repeats=1, pool_seed=config.seed)
    if part.by_chance:
        record["start"] = {**record["start"], "strategy": part.strategy}
    return ActiveLearner(
        pool,
        learner,
        strategy=part.strategy,
        oracle=oracle,
        test=test,
        budget=config.budget,
        batch_size=config.batch,
        seed=part.seed,
        output_dir=part.folder,
        validation=validation,
        transfer=transfer,
        start=record["start"]["strategy"],
        start_size=config.start.size,
        cost=None if config.cost is None else config.cost.build(),
        per_cost=config.per_cost,
        audit=config.audit,
        record=record,
        cache=cache,
        keep_model=part.first and not part.by_chance,
    )


def _finish(active: ActiveLearner, folder: Path) -> None:
    """Where the learner asks for it, train the whole model once on all that was bought."""
    if not isinstance(active.learner, FrozenHead):
        return
    last, path = active.learner.last(), folder / "final.json"
    if last is None or from_main(path.exists()):
        return
    last.bind(active.pool.task, derive_seed("final", active.seed), folder / "cache")
    prepare(last, active.pool)
    report = fit(last, active.pool, active.validation)
    metrics: dict[str, Any] = {} if active.test is None else last.evaluate(active.test)
    if is_main():
        write_folder(folder / "final", last.save)
        write_json(path, {"metrics": metrics, "training": {"steps": report.steps, "loss": report.loss}})
    barrier()
