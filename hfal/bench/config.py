"""What a benchmark compares, as YAML: data sets x learners x strategies x seeds."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from hfal.bringing import bring_in
from hfal.config import (
    Amount,
    PoolSource,
    RunConfig,
    Source,
    Spec,
    Start,
    apply_change,
    put,
    read_values,
    with_types,
)
from hfal.config_errors import checked
from hfal.config_learners import LearnerSection
from hfal.config_tasks import Section, TaskSection, TextTask
from hfal.errors import HfalError, nearest
from hfal.files import read_json

LOCK = "bench.lock.json"


class Hard(Section):
    """What makes a pool harder than it is; its test rows stay as they are.

    Attributes:
        imbalance: how many times as often the first class is there as the last, the others between them in a
            geometric row (classes in the order of their names).
        noise: share of the labels that are replaced by another class.
        duplicates: share of the pool that are copies of other rows with a word dropped or repeated.
        open: classes of the data that count as none: such a row of the pool gets no label when it is asked, which costs
            as much as any other; the test rows have none of them.
        shift: how much rarer the longest texts are in the pool than the shortest, from 0 (alike) to 1 (none).
    """

    imbalance: float | None = Field(None, ge=1)
    noise: float = Field(0.0, ge=0, lt=1)
    duplicates: float = Field(0.0, ge=0, lt=1)
    open: list[str] = Field(default_factory=list)
    shift: float = Field(0.0, ge=0, le=1)


class SetSection(Section):
    """A data set: its pool, its test rows and its task.

    Attributes:
        metric: the score that is compared; the task's own where it is not given.
        hard: what makes the pool harder.
        budget: in place of the benchmark's.
        batch: in place of the benchmark's.
    """

    pool: PoolSource
    test: Source
    task: TaskSection = Field(default_factory=lambda: TextTask())
    metric: str | None = None
    hard: Hard | None = None
    budget: Amount | None = None
    batch: Amount | None = None


Settings = dict[str, Any]
"""Values of a learner by their keys, as `training.learning_rate`."""


class Tune(Section):
    """Settings of learners that are tried before anything is compared; the best for the baseline are those of all.

    Attributes:
        settings: learner -> key, as `training.learning_rate` -> values; every combination is tried.
        rows: of each pool, held out from the trials and scored; the comparison may ask for them again.
        seeds: runs of each trial, by seeds that no compared run has.
    """

    settings: dict[str, dict[str, Annotated[list[Any], Field(min_length=1)]]] = Field(min_length=1)
    rows: int = Field(500, ge=2)
    seeds: int = Field(1, ge=1)


class StrategySection(Section):
    """A strategy under a name of its own.

    Attributes:
        start: what chooses its seed set, in place of the benchmark's; such a run does not start as the others do.
    """

    name: str
    strategy: Spec
    start: Spec | None = None


def combinations(values: dict[str, list[Any]]) -> list[Settings]:
    """Each value of each setting with each of the others."""
    return [dict(zip(values, each, strict=True)) for each in product(*values.values())]


class _Learner(Section):
    learner: LearnerSection


class BenchConfig(Section):
    """Everything that `hfal bench` needs to know.

    Attributes:
        output_dir: for runs, tables and report.
        imports: modules of one's own, which register strategies and hold learners.
        sets: the data sets by name.
        learners: by name; the first with `baseline` is what all are compared to.
        strategies: spec strings, or `{name: …, strategy: …, start: …}`.
        baseline: the strategy that the others are compared to.
        start: the seed set of all strategies of a seed.
        budget: of each run.
        batch: of each round.
        seeds: how many; run k has seed `seed + k`.
        seed: the first; it draws the rows of pool and test too, which are the same for all runs.
        jobs: runs that go on together; one for each core where it is not given, on GPUs as many as they hold.
        tune: settings of learners to be tried first.
    """

    output_dir: str
    imports: list[str] = Field(default_factory=list)
    sets: dict[str, SetSection] = Field(min_length=1)
    learners: dict[str, LearnerSection] = Field(min_length=1)
    strategies: list[StrategySection] = Field(min_length=1)
    baseline: str = "random"
    start: Start = Field(default_factory=lambda: Start(strategy="random"))
    budget: Amount
    batch: Amount
    seeds: int = Field(5, ge=1)
    seed: int = Field(0, ge=0)
    jobs: int | None = Field(None, ge=1)
    tune: Tune | None = None

    @field_validator("strategies", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return [{"name": one, "strategy": one} if isinstance(one, str) else one for one in value]

    @model_validator(mode="after")
    def _has_baseline(self) -> Self:
        names = [one.name for one in self.strategies]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"strategies: {twice!r} is there twice; give one of them another name")
        if self.baseline not in names:
            raise ValueError(f"baseline: {self.baseline!r} is not among the strategies{nearest(self.baseline, names)}")
        return self

    @model_validator(mode="after")
    def _can_be_tuned(self) -> Self:
        for name, values in (self.tune.settings if self.tune else {}).items():
            if name not in self.learners:
                raise ValueError(f"tune.settings: there is no learner {name!r}{nearest(name, self.learners)}")
            for settings in combinations(values):
                try:
                    self.learner_with(name, settings)
                except HfalError as error:
                    raise ValueError(f"tune.settings.{error}") from None
        return self

    def learner_with(self, name: str, settings: Settings) -> LearnerSection:
        """A learner with some of its values changed.

        Raises:
            HfalError: it has no such value.
        """
        if not settings:
            return self.learners[name]
        values = self.learners[name].model_dump(mode="json", by_alias=True, exclude_unset=True)
        for key, value in settings.items():
            try:
                put(values, key, value)
            except HfalError as error:
                raise HfalError(f"{name}: {error}") from None
        return checked(_Learner, {"learner": values}, name).learner

    def run_of(self, name: str, learner: LearnerSection, strategy: StrategySection) -> RunConfig:
        """One run of the matrix, without its seed and its place."""
        section = self.sets[name]
        start = self.start if strategy.start is None else self.start.model_copy(update={"strategy": strategy.start})
        return RunConfig(
            output_dir=".",
            seed=self.seed,
            pool=section.pool,
            test=section.test,
            task=section.task,
            learner=learner,
            strategy=strategy.strategy,
            start=start,
            baseline=None,
            budget=section.budget or self.budget,
            batch=section.batch or self.batch,
        )


def load_bench(path: Path, changes: tuple[str, ...] = ()) -> BenchConfig:
    """Read a benchmark's YAML, or the lock file of one that was run.

    Raises:
        HfalError: it cannot be read, a key or value is wrong, or a module of `imports` cannot be imported.
    """
    values = read_json(path).get("config", {}) if path.suffix == ".json" and path.is_file() else read_values(path)
    return check_bench(values, str(path), changes)


def check_bench(values: dict[str, Any], where: str = "bench", changes: tuple[str, ...] = ()) -> BenchConfig:
    """The values as a `BenchConfig`; all that is wrong in one line."""
    for change in changes:
        apply_change(values, change)
    names = values.get("imports") or []
    for module in names if isinstance(names, list) else []:
        bring_in(str(module), "imports")
    for key, kind in (("sets", "task"), ("learners", "learner")):
        if isinstance(values.get(key), dict):
            typed = {name: _typed(one, kind) for name, one in values[key].items()}
            values = {**values, key: typed}
    return checked(BenchConfig, values, where)


def _typed(section: Any, kind: str) -> Any:
    """A data set with its task's usual type, or a learner with its own, where it names none."""
    if not isinstance(section, dict):
        return section
    return with_types(section) if kind == "task" else with_types({kind: section})[kind]
