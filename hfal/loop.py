"""The loop: choose, ask, train, measure; each round on disk before the next begins."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset

from hfal.budget import Budget
from hfal.compute import from_main, generator_for
from hfal.errors import HfalError, count, listing
from hfal.learners.base import Learner
from hfal.oracles import Oracle, Simulated
from hfal.pool import Pool, Positions, labelled
from hfal.rounds import Ledger, Round
from hfal.signals import Needs, Signals
from hfal.strategies import DEFAULT_STRATEGY, Context, Selection, Strategy, make, resolve

logger = logging.getLogger("hfal")


class ActiveLearner:
    """Spends a label budget on a pool, round by round. Iterate over it to run it.

    Rounds that the run folder has already are yielded first, so that the same script, run again, ends with
    the same rounds.

    Args:
        pool: the rows to choose from.
        learner: what is trained.
        strategy: a spec string or a strategy.
        oracle: who labels; `Simulated(task.label)` where it is not given.
        test: rows with labels that never enter the pool (its duplicates of them are left out).
        validation: rows with labels for early stopping.
        budget: labels that may be bought, the seed set included.
        batch_size: labels a round.
        seed: of every chance in the run.
        output_dir: the run folder; without one everything stays in memory.
        start: chooses the seed set where nothing is labelled yet.
        start_size: its size; `batch_size` where it is not given.
        record: what `config.yaml` says; the arguments themselves where it is not given.
        cache: folder for embeddings; the run folder's own where it is not given.
        keep_model: whether the last model is kept in the run folder; without it a resumed run trains it again.

    Raises:
        HfalError: pool, budget and batch do not fit together, the run folder is taken, or it holds another
            run.
    """

    def __init__(
        self,
        pool: Pool,
        learner: Learner,
        strategy: str | Strategy = DEFAULT_STRATEGY,
        oracle: Oracle | None = None,
        test: Dataset | None = None,
        budget: int | Budget = 500,
        batch_size: int = 50,
        seed: int = 0,
        output_dir: str | Path | None = None,
        *,
        validation: Dataset | None = None,
        start: str | Strategy = "typiclust",
        start_size: int | None = None,
        record: dict[str, Any] | None = None,
        cache: Path | None = None,
        keep_model: bool = True,
    ) -> None:
        self.pool = pool
        self.learner = learner
        self.strategy, self.start = make(strategy), make(start)
        self._names = {id(self.strategy): str(strategy), id(self.start): str(start)}
        self.oracle = Simulated(pool.task.label) if oracle is None else oracle
        self.budget = Budget.of(budget)
        self.batch_size = batch_size
        self.start_size = batch_size if start_size is None else start_size
        self.seed = seed
        self.keep_model = keep_model
        self.test = None if test is None else self._held_out(test, "test")
        self.validation = None if validation is None else self._held_out(validation, "validation")
        self._given = len(pool.labeled)
        self._check()
        self.oracle.check(pool)
        self.ledger = Ledger(output_dir)
        learner.bind(pool.task, seed, cache or self.ledger.cache)
        self.ledger.open(record or self._record(), self._describe_pool())
        self._trained_in: int | None = None
        for number in range(len(self.ledger.rounds)):
            self._take_labels(number)

    @property
    def rounds(self) -> list[Round]:
        """The rounds that count so far."""
        return self.ledger.rounds

    def _held_out(self, rows: Dataset, what: str) -> Dataset:
        rows = rows if "labels" in rows.column_names else labelled(rows, self.pool.task, what)
        shared = self.pool.leave_out(rows)
        if shared:
            logger.warning("pool: %s left out: the same input is in %s", count(shared, "row"), what)
        return rows

    def _check(self) -> None:
        if isinstance(self.batch_size, bool) or not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise HfalError(f"batch: rows must be a whole number of at least 1, got {self.batch_size!r}")
        free = len(self.pool.unlabeled)
        if not free:
            raise HfalError(f"nothing to ask: all {count(len(self.pool), 'row')} of the pool are labelled")
        wanted = self.batch_size if self._given else max(self.batch_size, self.start_size)
        if free < wanted:
            raise HfalError(f"the pool has {count(free, 'distinct row')} to ask, fewer than one batch of {wanted}")
        if not self._given and self.budget.rows < self.start_size:
            raise HfalError(
                f"budget.rows is {self.budget.rows}, less than the seed set of {self.start_size} rows: raise "
                "the budget, or lower start.rows"
            )

    def _record(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "task": {"type": self.pool.task.name, "inputs": list(self.pool.task.inputs)},
            "learner": self.learner.describe(),
            "strategy": self._names[id(self.strategy)],
            "start": {"strategy": self._names[id(self.start)], "rows": self.start_size},
            "oracle": self.oracle.source,
            "budget": {"rows": self.budget.rows},
            "batch": {"rows": self.batch_size},
        }

    def _describe_pool(self) -> dict[str, Any]:
        return {
            "rows": len(self.pool),
            "distinct_rows": len(self.pool) - self.pool.duplicates,
            "labelled_from_the_start": self._given,
            "columns": self.pool.dataset.column_names,
            "inputs": list(self.pool.task.inputs),
            "label_names": list(self.pool.task.names),
            "fingerprint": self.pool.fingerprint(),
            "test_rows": 0 if self.test is None else len(self.test),
        }

    def __iter__(self) -> Iterator[Round]:
        try:
            yield from list(self.ledger.rounds)
            while self._wanted():
                yield self._next_round()
            self._ready(len(self.ledger.rounds) - 1)
        finally:
            self.ledger.close()

    def run(self) -> list[Round]:
        """All rounds, to the end of the budget."""
        return list(self)

    def _wanted(self) -> int:
        """How many rows the next round asks; 0 ends the run. With labels from the start, round 0 asks none."""
        if not self.ledger.rounds:
            return self.start_size
        spent = self.ledger.rounds[-1].spent
        return min(self.budget.affords(spent, self.batch_size), len(self.pool.unlabeled))

    def _next_round(self) -> Round:
        number = len(self.ledger.rounds)
        clock = _Clock()
        notes: list[str] = []
        chosen = self.ledger.selection(number)
        if chosen is None:
            chosen = self._choose(number, clock)
            self.ledger.write_selection(number, chosen)
        if len(chosen) and self.ledger.labels(number) is None:
            with clock("label"):
                positions = self.pool.positions(chosen["id"].to_pylist())
                names = [self.pool.task.decode(label) for label in self.oracle.label(self.pool, positions)]
                self.ledger.write_labels(number, chosen["id"].to_pylist(), names, self.oracle.source)
        asked = self._take_labels(number)
        if number == 0:
            notes += self._missing_classes()
        training = self._fit(number, clock)
        metrics: dict[str, Any] = {}
        if self.test is not None:
            with clock("evaluate"):
                metrics = self.learner.evaluate(self.test)
        if self.keep_model:
            with clock("save"):
                self.ledger.write_model(number, self.learner.save)
        spent = asked + (self.ledger.rounds[-1].spent if number else 0)
        done = Round(
            number=number,
            strategy=str(chosen["strategy"][0]) if len(chosen) else "given",
            asked=asked,
            labeled=len(self.pool.labeled),
            spent=spent,
            metrics=metrics,
            seconds=clock.seconds,
            notes=notes,
            training=training,
        )
        self.ledger.write_round(done)
        return done

    def _choose(self, number: int, clock: _Clock) -> pa.Table:
        """The rows of a round, as they go into `selection.parquet`."""
        if number == 0 and self._given:
            return self._table(Selection(np.empty(0, np.int64), np.empty(0, np.float32)), "given", None)
        chooser = self.start if number == 0 else self.strategy
        strategy = resolve(chooser, number)
        self._ready(number - 1)
        positions = self.pool.canonical(self.pool.unlabeled)
        with clock("score"):
            context = self._context(number, positions, strategy.needs)
        size = self._wanted()
        with clock("select"):
            selection = from_main(strategy.select(context, size))
        _check_selection(selection, positions, size, self._names[id(chooser)])
        predicted = None
        if number > 0:
            with clock("score"):  # a look at the rows chosen, for the report: k rows, not the pool
                rows = self.pool.inputs(selection.rows)
                predicted = self.learner.signals(rows, Needs(pool=frozenset({"logits"})))
        return self._table(selection, self._names[id(chooser)], predicted)

    def _context(self, number: int, positions: Positions, needs: Needs) -> Context:
        task = self.pool.task
        pool = Signals(rows=positions, multi_label=task.multi_label)
        if needs.any_pool:
            pool = replace(self.learner.signals(self.pool.inputs(positions), needs), rows=positions)
        answered = self.pool.canonical(self.pool.labeled)
        labeled = Signals(rows=answered, multi_label=task.multi_label)
        if needs.labeled and len(answered):
            labeled = self.learner.signals(self.pool.inputs(answered), needs.for_labeled())
            labeled = replace(labeled, rows=answered)
        return Context(
            pool=pool,
            labeled=labeled,
            labels=self.pool.labels(answered),
            num_classes=len(task.names),
            round=number,
            generator=generator_for("select", self.seed, number),
            learner=self.learner,
        )

    def _table(self, selection: Selection, strategy: str, predicted: Signals | None) -> pa.Table:
        size = len(selection)
        task = self.pool.task
        labels: list[Any] = [None] * size
        probabilities: list[Any] = [None] * size
        if predicted is not None:
            encoded, values = task.predict(predicted.get("logits"))
            labels, probabilities = [task.decode(label) for label in encoded], values.tolist()
        kind = pa.list_(pa.string()) if task.multi_label else pa.string()
        inputs = self.pool.inputs(selection.rows)
        columns = {
            "id": pa.array(self.pool.ids(selection.rows), pa.string()),
            "position": pa.array(selection.rows, pa.int64()),
            "rank": pa.array(np.arange(size), pa.int64()),
            "score": pa.array(selection.scores, pa.float32()),
            "strategy": pa.array([strategy] * size, pa.string()),
            "predicted": pa.array(labels, kind),
            "probability": pa.array(probabilities, pa.float32()),
        }
        for name, values in selection.details.items():
            columns.setdefault(name, pa.array(values))
        for name in self.pool.task.inputs:  # so that the run folder can be read without the data set
            columns.setdefault(name, pa.array(inputs[name]))
        return pa.table(columns)

    def _take_labels(self, number: int) -> int:
        """Put a round's labels into the pool; how many they are."""
        table = self.ledger.labels(number)
        if table is None:
            return 0
        positions = self.pool.positions(table["id"].to_pylist())
        self.pool.label(dict(zip(positions.tolist(), table["label"].to_pylist(), strict=True)))
        return len(table)

    def _fit(self, number: int, clock: _Clock) -> dict[str, Any]:
        with clock("train"):
            try:
                report = self.learner.fit(self.pool.training_set(), self.validation)
            except HfalError as error:
                kept = "" if number == 0 else f"; the model of round {number - 1} is kept"
                raise HfalError(f"round {number}: {error}{kept}") from error
        self._trained_in = number
        return {"steps": report.steps, "loss": report.loss, **report.details}

    def _ready(self, number: int) -> None:
        """Have the model that was trained in this round: loaded, or trained again as it was."""
        if number < 0 or self._trained_in == number:
            return
        folder = self.ledger.model(number)
        if folder is not None:
            self.learner.load(folder)
            self._trained_in = number
        else:
            self._fit(number, _Clock())

    def _missing_classes(self) -> list[str]:
        task = self.pool.task
        seen = set()
        for label in self.pool.labels(self.pool.labeled):
            seen.update(label if isinstance(label, list) else [label])
        missing = [name for index, name in enumerate(task.names) if index not in seen]
        if not missing:
            return []
        note = f"the seed set has no row of {listing(missing)}: the model cannot know it yet"
        logger.warning(note)
        return [note]


class _Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


def _check_selection(selection: Selection, allowed: Positions, size: int, name: str) -> None:
    """What a strategy of the user's own may get wrong."""
    rows = selection.rows
    if len(rows) != size:
        raise HfalError(f"strategy {name} chose {count(len(rows), 'row')} where {size} were wanted")
    if len(np.unique(rows)) < len(rows):
        raise HfalError(f"strategy {name} chose a row twice")
    if not np.isin(rows, allowed).all():
        raise HfalError(f"strategy {name} chose a row that cannot be asked")
