"""What is asked in a round, as `selection.parquet` holds it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hfal.budget import Costs
from hfal.pictures import stored
from hfal.pool import Pool
from hfal.signals import Signals
from hfal.strategies import Adaptive, Facts, Selection, Strategy, parse

CHOSE = ": "
"""Between the name of a strategy that chooses itself and what it chose."""
AUDIT = "audit"
"""Stands for the strategy of rows that were drawn by chance."""


def settled(strategy: Strategy, name: str, pool: Pool, per_cost: bool) -> tuple[Strategy, str]:
    """The strategy that chooses now, and what it is called: of one that chooses itself, what it chose.

    Args:
        strategy: of this round.
        name: its spec.
        pool: with its labels.
        per_cost: whether scores count by cost.
    """
    if not isinstance(strategy, Adaptive):
        return strategy, name
    spec = strategy.settle(facts_of(pool, per_cost))
    return parse(spec), f"{name}{CHOSE}{spec}"


def facts_of(pool: Pool, per_cost: bool = False) -> Facts:
    """What a strategy that chooses itself may know of a pool."""
    task = pool.task
    return Facts(
        task=task.name,
        first=task.default_start,
        usual=task.default_strategy,
        classes=len(task.classes),
        rows=len(pool.unlabeled),
        labeled=len(pool.labeled),
        several=task.multi_label,
        per_cost=per_cost,
    )


def reasons(strategy: Strategy, chosen: str) -> list[str]:
    """Why a strategy that chooses itself chose what it did in a round."""
    name, chose, spec = chosen.partition(CHOSE)
    return [f"{name} chose {spec}: {strategy.reason(spec)}"] if chose and isinstance(strategy, Adaptive) else []


def selection_table(
    pool: Pool,
    selection: Selection,
    strategy: str,
    audited: NDArray[np.bool_],
    costs: Costs,
    predicted: Signals | None,
) -> pa.Table:
    """The rows of a round in the order in which they are asked.

    Args:
        pool: that they are from.
        selection: what was chosen, audited rows among it.
        strategy: what chose it.
        audited: [k] rows that were drawn by chance.
        costs: [k] in the budget's unit.
        predicted: what the model says of them, where there is one.
    """
    size, task = len(selection), pool.task
    labels: list[Any] = [None] * size
    probabilities: list[Any] = [None] * size
    if predicted is not None:
        encoded, values = task.predict(predicted.outputs)
        labels, probabilities = [task.decode(label) for label in encoded], values.tolist()
    inputs = pool.inputs(selection.rows)
    columns = {
        "id": pa.array(pool.ids(selection.rows), pa.string()),
        "position": pa.array(selection.rows, pa.int64()),
        "rank": pa.array(np.arange(size), pa.int64()),
        "score": pa.array(selection.scores, pa.float32(), mask=audited),
        "strategy": pa.array([AUDIT if drawn else strategy for drawn in audited], pa.string()),
        "audit": pa.array(audited, pa.bool_()),
        "predicted": pa.array(labels, task.arrow_label),
        "probability": pa.array(probabilities, pa.float32()),
        "words": pa.array(pool.lengths(selection.rows), pa.int64()),
        "cost": pa.array(costs, pa.float64()),
    }
    for name in task.inputs:  # so that the run folder can be read without the data set
        columns.setdefault(name, pa.array([stored(value) for value in inputs[name]]))
    for name, details in selection.details.items():
        columns.setdefault(name, pa.array(details, mask=audited))
    return pa.table(columns)


def chosen_by(table: pa.Table) -> str:
    """The strategy that chose a round; "given" where nothing was asked."""
    names = [name for name in table["strategy"].to_pylist() if name != AUDIT]
    return names[0] if names else AUDIT if len(table) else "given"
