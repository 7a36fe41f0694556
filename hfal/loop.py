"""The loop: choose, ask, train, measure; each round on disk before the next begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor

from hfal.apart import held_out, learned_before
from hfal.asking import chosen_by, reasons, selection_table, settled
from hfal.auditing import Audit, mixed
from hfal.budget import WHOLE, Budget, Cost
from hfal.clock import Clock
from hfal.compute import from_main, generator_for
from hfal.errors import HfalError, count
from hfal.kept import Kept
from hfal.learners.base import Learner, outputs_of
from hfal.measuring import Spending, figures
from hfal.oracles import Oracle, Simulated
from hfal.people import People
from hfal.pool import Pool, Positions
from hfal.purse import Purse
from hfal.rounds import Ledger, Round, label_table
from hfal.seeing import Seeing
from hfal.signals import Needs
from hfal.strategies import Context, Scored, Selection, Strategy, check_units, make, resolve
from hfal.strategies.within import select_within
from hfal.taught import Taught, unconverged, unknown_classes


class ActiveLearner:
    """Spends a label budget on a pool, round by round. Iterate over it to run it.

    Rounds that the run folder has already are yielded first, so that the same script, run again, ends with
    the same rounds.

    Args:
        pool: the rows to choose from.
        learner: what is trained.
        strategy: a spec string or a strategy; `auto` where it is not given.
        oracle: who labels; `Simulated(task.label)` where it is not given.
        test: rows with labels that never enter the pool (its duplicates of them are left out).
        validation: rows with labels for early stopping.
        budget: what may be spent, the seed set included: a number of labels, `{"words": 20_000}`, or any unit that
            `cost` or a column of the pool prices.
        batch_size: what a round may cost; never more is asked. In the budget's unit or another.
        seed: of every chance in the run.
        output_dir: the run folder; without one everything stays in memory.
        start: chooses the seed set where nothing is labelled yet; the task's default where it is not given.
        start_size: its size; `batch_size` where it is not given.
        cost: what labelling a row costs, for units other than rows and words.
        per_cost: choose the best score per cost (in the batch's unit), not the best score.
        record: what `config.yaml` says; the arguments themselves where it is not given.
        audit: share of each batch that is drawn by chance, never trained on, and tells how good the model is
            (docs/saving.md). Where it is not given, 0.1 with people and 0 without.
        cache: folder for embeddings; the run folder's own where it is not given.
        transfer: rows of another set with the same labels, which the learner learns before those that are asked
            (docs/pairs.md); those that are also in the test set are left out.
        keep_model: whether the last model is kept in the run folder; without it a resumed run trains it again.

    Attributes:
        waiting: the round that waits for people, when the loop has ended because of it.
        wait: called with the number of such a round, to return when its labels are there; without it the loop ends.

    Raises:
        HfalError: pool, budget and batch do not fit together, the run folder is taken, or it holds another
            run.
    """

    def __init__(
        self,
        pool: Pool,
        learner: Learner,
        strategy: str | Strategy | None = None,
        oracle: Oracle | None = None,
        test: Dataset | None = None,
        budget: int | Mapping[str, float] | Budget = 500,
        batch_size: int | Mapping[str, float] | Budget = 50,
        seed: int = 0,
        output_dir: str | Path | None = None,
        *,
        validation: Dataset | None = None,
        start: str | Strategy | None = None,
        start_size: int | Mapping[str, float] | Budget | None = None,
        cost: Cost | None = None,
        per_cost: bool = False,
        record: dict[str, Any] | None = None,
        cache: Path | None = None,
        audit: float | None = None,
        keep_model: bool = True,
        transfer: Dataset | None = None,
    ) -> None:
        self.pool = pool
        self.learner = learner
        strategy = "auto" if strategy is None else strategy
        start = pool.task.default_start if start is None else start
        self.strategy, self.start = make(strategy), make(start)
        self._names = {id(self.strategy): str(strategy), id(self.start): str(start)}
        self.oracle = Simulated(pool.task.label) if oracle is None else oracle
        self.budget, self.batch = Budget.of(budget), Budget.of(batch_size)
        self.start_size = self.batch if start_size is None else Budget.of(start_size)
        self.cost, self.per_cost = cost, per_cost
        self.seed = seed
        self.test = None if test is None else held_out(test, pool, "test")
        self.validation = None if validation is None else held_out(validation, pool, "validation")
        self._given = pool.labeled  # what the data had from the start
        self._asked: set[str] = set()
        self._aside: list[int] = []  # asked, but without a label
        first = None if len(self._given) else self.start_size
        self.purse = Purse(pool, self.budget, self.batch, first, cost)
        people = isinstance(self.oracle, People)
        if people and output_dir is None:
            raise HfalError("labels of people need a run folder: give output_dir")
        self._check()
        self.audit = (0.1 if people else 0.0) if audit is None else audit
        self._audit = Audit(self.audit, self.batch.amount / self.purse.costs(pool.unlabeled, self.batch.unit).mean())
        self._audit.draw(pool, generator_for("reserve", seed))
        self.oracle.check(pool)
        self.ledger = Ledger(output_dir)
        learner.bind(pool.task, seed, cache or self.ledger.cache)
        self._taught = Taught(learner, self.validation, self.ledger)
        self._taught.prepare(pool)
        self.keep_model = keep_model or self._taught.continues
        self.transfer = None if transfer is None else learned_before(transfer, pool.task, learner, self.test)
        kept = Kept(None if output_dir is None else Path(output_dir), pool, seed)
        self._seeing = Seeing(learner, kept, self.transfer, per_cost)
        self.ledger.open(record or self._record(), self._describe_pool())
        self._ahead = isinstance(self.oracle, People) and self.oracle.ahead
        self._pending = 0.0  # what rows cost that are asked, but not labelled yet
        self.waiting: int | None = None
        self.wait: Callable[[int], None] | None = None
        for number in range(len(self.ledger.rounds)):
            self._take_labels(number)

    @property
    def rounds(self) -> list[Round]:
        """The rounds that count so far."""
        return self.ledger.rounds

    def _check(self) -> None:
        task, free = self.pool.task, self.pool.unlabeled
        if not len(free):
            raise HfalError(f"nothing to ask: all {count(len(self.pool), 'row')} of the pool are labelled")
        for strategy in (self.strategy, self.start):
            check_units(strategy, task.yields, task.name, self._names[id(strategy)])
        self.purse.check()

    def _record(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "task": {"type": self.pool.task.name, "inputs": list(self.pool.task.inputs)},
            "learner": self.learner.describe(),
            "strategy": self._names[id(self.strategy)],
            "start": {"strategy": self._names[id(self.start)], **self.start_size.record()},
            "oracle": self.oracle.source,
            "budget": self.budget.record(),
            "batch": self.batch.record(),
            "cost": None if self.cost is None else asdict(self.cost),
            "per_cost": self.per_cost,
            **({"audit": self.audit} if self.audit else {}),
            **({"transfer_rows": len(self.transfer)} if self.transfer is not None else {}),
        }

    def _describe_pool(self) -> dict[str, Any]:
        return self.pool.describe() | {
            "labelled_from_the_start": len(self._given),
            "cheapest": float(self.purse.costs(self.pool.unlabeled, self.budget.unit).min()),
            "test_rows": 0 if self.test is None else len(self.test),
        }

    def __iter__(self) -> Iterator[Round]:
        try:
            yield from list(self.ledger.rounds)
            while self._wanted():
                done = self._next_round()
                if done is None and self.wait is None:
                    self.waiting = len(self.ledger.rounds)
                    return
                if done is not None:
                    yield done
                elif self.wait is not None:
                    self.wait(len(self.ledger.rounds))
            self._taught.ready(self.pool, len(self.ledger.rounds) - 1)
        finally:
            self.ledger.close()

    def run(self) -> list[Round]:
        """All rounds, to the end of the budget."""
        return list(self)

    @property
    def spent(self) -> float:
        """What was spent so far, in the budget's unit."""
        return self.ledger.rounds[-1].spent if self.ledger.rounds else 0

    @property
    def purity(self) -> float:
        """Share of the rows asked so far that got a label."""
        return 1 - len(self._aside) / max(1, len(self._asked))

    def _wanted(self) -> bool:
        """Whether another round can be paid for. With labels from the start, round 0 asks none."""
        if not self.ledger.rounds:
            return True
        return self.purse.buys_any(self.pool.unlabeled, self.spent + self._pending)

    def _next_round(self) -> Round | None:
        """The next round; None where it waits for people."""
        number = len(self.ledger.rounds)
        clock = self._taught.clock(number)
        notes: list[str] = []
        chosen = self.ledger.selection(number)
        if chosen is None:
            chosen = self._choose(number, number - 1, clock)
            self.ledger.write_selection(number, chosen)
        if self._ahead and number > 0:
            self._choose_ahead(number, chosen, clock)
        if len(chosen) and self.ledger.labels(number) is None:
            with clock("label"):
                labels = self._labels(number, chosen)
                if labels is None:
                    return None
                self.ledger.write_labels(number, labels)
        bought = self.pool.positions(self._take_labels(number))
        if silent := int(np.isin(bought, self._aside).sum()):
            notes.append(f"{count(silent, 'row')} of {len(bought)} got no label and will not be asked again")
        notes += reasons(self.strategy if number else self.start, chosen_by(chosen))
        if number == 0:
            notes += unknown_classes(self.pool)
        training = self._taught.fit(self.pool, number, clock)
        notes += unconverged(training, self.ledger.rounds)
        metrics: dict[str, Any] = {}
        if self.test is not None:
            with clock("evaluate"):
                metrics = self.learner.evaluate(self.test)
        spent = self.spent + float(self.purse.costs(bought, self.budget.unit).sum())
        told: dict[str, dict[str, Any]] = {}
        if len(self.pool.audited):
            with clock("audit"):
                told = self._figures(number, spent)
        if self.keep_model:
            with clock("save"):
                self.ledger.write_model(number, self.learner.save, training)
        before = self.ledger.rounds[-1].words if number else 0
        done = Round(
            number=number,
            strategy=chosen_by(chosen),
            asked=len(bought),
            labeled=len(self.pool.labeled) + len(self.pool.audited),
            spent=int(spent) if self.budget.unit in WHOLE else spent,
            words=before + int(self.pool.lengths(bought).sum()),
            metrics=metrics,
            seconds=clock.seconds,
            notes=notes,
            training=training,
            **told,
        )
        self.ledger.write_round(done)
        return done

    def _figures(self, number: int, spent: float) -> dict[str, dict[str, Any]]:
        """What the rows drawn by chance tell."""
        by_chance = self._names[id(self.strategy)] == "random"
        each = float(np.nanmean(self.purse.costs(np.arange(len(self.pool)), self.budget.unit)))
        generator = generator_for("meter", self.seed, number)
        spending = None if by_chance else Spending(spent, each, self._given)
        return figures(self.learner, self.pool, self.ledger, number, spending, generator)

    def _labels(self, number: int, chosen: pa.Table) -> pa.Table | None:
        """The labels of a round; None while people have not given them."""
        if isinstance(self.oracle, People):
            found: pa.Table | None = from_main(self.oracle.collect(self.pool, self.ledger, number, chosen))
            return found
        ids = chosen["id"].to_pylist()
        found = self.oracle.label(self.pool, self.pool.positions(ids))
        labels = [None if label is None else self.pool.task.decode(label) for label in found]
        source = self.oracle.source
        rows = [
            {"id": i, "label": label, "source": source, "skipped": label is None}
            for i, label in zip(ids, labels, strict=True)
        ]
        return label_table(rows, self.pool.task)

    def _choose_ahead(self, number: int, waiting: pa.Table, clock: Clock) -> None:
        """Choose the next round before this one is labelled, with the model there is: people need not wait."""
        if self.ledger.selection(number + 1) is not None:
            return
        pool, rows = self.pool, self.pool.positions(waiting["id"].to_pylist())
        self.pool, self._pending = pool.copy(), float(self.purse.costs(rows, self.budget.unit).sum())
        try:
            self.pool.set_aside(rows)
            if self._wanted():
                self.ledger.write_selection(number + 1, self._choose(number + 1, number - 1, clock))
        finally:
            self.pool, self._pending = pool, 0.0

    def _choose(self, number: int, trained: int, clock: Clock) -> pa.Table:
        """The rows of a round, as they go into `selection.parquet`, by the model of round `trained`."""
        if number == 0 and len(self._given):
            nothing = Selection(np.empty(0, np.int64), np.empty(0, np.float32))
            return selection_table(self.pool, nothing, "given", np.empty(0, bool), np.empty(0), None)
        chooser = self.start if number == 0 else self.strategy
        strategy, name = settled(resolve(chooser, number), self._names[id(chooser)], self.pool, self.per_cost)
        self._taught.ready(self.pool, trained)
        with clock("score"):
            context = self._context(number, strategy.needs)
        positions = context.pool.rows
        everything = self.purse.limits(number, np.arange(len(self.pool)), self.spent + self._pending)
        drawn = self._audit.next(self.pool, everything)
        limits = [(costs[positions], amount - float(costs[drawn].sum())) for costs, amount in everything]
        with clock("select"):
            selection = from_main(select_within(strategy, context, limits, name))
            selection, is_audited = mixed(selection, drawn, generator_for("audit", self.seed, number))
        return self._table(number, selection, name, is_audited, clock)

    def _table(
        self, number: int, selection: Selection, name: str, is_audited: NDArray[np.bool_], clock: Clock
    ) -> pa.Table:
        predicted = None
        if number > 0:
            with clock("score"):  # a look at the rows chosen, for the report: k rows, not the pool
                predicted = outputs_of(self.learner, self.pool.task, self.pool.inputs(selection.rows))
        costs = self.purse.costs(selection.rows, self.budget.unit)
        return selection_table(self.pool, selection, name, is_audited, costs, predicted)

    def scores(self, number: int) -> tuple[Positions, Tensor]:
        """The rows that can be asked in a round, in canonical order, and how much the strategy wants each.

        Raises:
            HfalError: the strategy gives rows no scores of their own.
        """
        strategy, _ = settled(resolve(self.strategy, number), "", self.pool, self.per_cost)
        if not isinstance(strategy, Scored):
            name = self._names[id(self.strategy)]
            raise HfalError(f"{name} gives rows no scores of their own, as margin, entropy or mnlp do")
        self._taught.ready(self.pool, number - 1)
        context = self._context(number, strategy.needs)
        return context.pool.rows, context.pool.reduced[repr(strategy)]

    def ask(self, number: int, rows: Positions, scores: NDArray[np.float32], name: str) -> None:
        """Have a round ask these rows, in this order, instead of choosing."""
        chosen = Selection(rows, scores.astype(np.float32))
        self._taught.ready(self.pool, number - 1)
        table = self._table(number, chosen, name, np.zeros(len(rows), dtype=bool), Clock())
        self.ledger.write_selection(number, table)

    def choose_first(self) -> Positions:
        """The seed set, chosen and written down where it is not yet."""
        if self.ledger.selection(0) is None:
            self.ledger.write_selection(0, self._choose(0, -1, Clock()))
        first = self.ledger.selection(0)
        assert first is not None
        return self.pool.positions(first["id"].to_pylist())

    def next(self) -> Round | None:
        """The next round; None where it waits for people."""
        return self._next_round()

    def _context(self, number: int, needs: Needs) -> Context:
        """What the strategy of a round may see of the rows that can be asked."""
        unit, pool = self.purse.size(number).unit, self.pool

        def price(positions: Positions) -> Tensor | None:
            return None if unit == "rows" else torch.from_numpy(self.purse.costs(positions, unit))

        generator = generator_for("select", self.seed, number)
        rows = pool.canonical(pool.unlabeled)
        return self._seeing.context(pool, rows, needs, number, price, generator, np.array(self._aside, dtype=np.int64))

    def _take_labels(self, number: int) -> list[str]:
        """Put a round's labels into the pool; the ids that were asked for the first time."""
        table = self.ledger.labels(number)
        if table is None:
            return []
        ids, labels = table["id"].to_pylist(), table["label"].to_pylist()
        positions = self.pool.positions(ids)
        said = np.array([label is not None for label in labels], dtype=bool)
        known = [label for label in labels if label is not None]
        self.pool.label(dict(zip(positions[said].tolist(), known, strict=True)))
        self.pool.set_aside(positions[~said])
        told = set(positions[said].tolist())
        self._aside = [row for row in self._aside if row not in told] + positions[~said].tolist()
        fresh = [name for name in ids if name not in self._asked]
        self._asked.update(ids)
        return fresh
