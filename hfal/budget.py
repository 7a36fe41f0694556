"""What may be spent on labels, and what a row costs: in rows, words, seconds, money, or whatever a column says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfal.errors import HfalError, count, listing, nearest
from hfal.pool import Pool, Positions

WHOLE = ("rows", "words")
"""Units that need no cost: they are counted."""

Costs = NDArray[np.float64]


@dataclass(frozen=True, init=False)
class Budget:
    """An amount of one unit: `Budget(rows=500)`, `Budget(words=20_000)`, `Budget(seconds=3600)`, `Budget(euros=80)`.

    Labels that the data had from the start cost nothing.

    Raises:
        HfalError: no unit or several, an amount that is not above 0, or half a row or word.
    """

    unit: str
    amount: float

    def __init__(self, **amount: float) -> None:
        if len(amount) != 1:
            raise HfalError(f"budget: give one amount, as rows: 500 or words: 20000; got {listing(amount) or 'none'}")
        ((unit, value),) = amount.items()
        whole = unit in WHOLE
        kinds = int if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not value > 0 or not math.isfinite(value):
            wanted = "a whole number of at least 1" if whole else "a number above 0"
            raise HfalError(f"budget: {unit} must be {wanted}, got {value!r}")
        object.__setattr__(self, "unit", unit)
        object.__setattr__(self, "amount", value)

    @classmethod
    def of(cls, budget: int | Mapping[str, float] | Budget) -> Budget:
        """A number of rows, `{unit: amount}`, or a budget as it is."""
        if isinstance(budget, Budget):
            return budget
        return cls(**budget) if isinstance(budget, Mapping) else cls(rows=budget)

    def record(self) -> dict[str, float]:
        """`{unit: amount}`, as configs say it."""
        return {self.unit: self.amount}

    def __str__(self) -> str:
        return in_words(self.amount, self.unit)


def in_words(amount: float, unit: str) -> str:
    """`220 labels`, `20,000 words`, `12.5 euros`."""
    if unit == "rows":
        return count(int(amount), "label")
    return f"{round(amount, 2):,.12g} {unit}"


@dataclass(frozen=True)
class Cost:
    """What labelling a row costs, in some unit of the user's own.

    `per_row + per_word * words`, and what `column` says of the row, where they are given.

    Args:
        unit: its name: seconds, euros, …
        per_row: of each row, however short.
        per_word: of each of its words.
        column: of the pool, with a number for each row.
    """

    unit: str
    per_row: float = 0.0
    per_word: float = 0.0
    column: str | None = None

    def __post_init__(self) -> None:
        if self.unit in WHOLE:
            raise HfalError(f"cost.unit: {self.unit} are counted as they are; choose another name")
        if min(self.per_row, self.per_word) < 0:
            raise HfalError("cost: per_row and per_word must be 0 or more")
        if not (self.per_row or self.per_word or self.column):
            raise HfalError("cost: give per_row, per_word or column")

    def of(self, pool: Pool, positions: Positions) -> Costs:
        """[k] what these rows cost."""
        costs = np.full(len(positions), float(self.per_row))
        if self.per_word:
            costs += self.per_word * pool.lengths(positions)
        if self.column is not None:
            costs += _column(pool, self.column, positions)
        return costs


def costs_of(pool: Pool, positions: Positions, unit: str, cost: Cost | None = None) -> Costs:
    """[k] what these rows cost in a unit: counted, by a `Cost` of that unit, or by the column of that name.

    Raises:
        HfalError: nothing says what a row costs in this unit, or a row costs nothing.
    """
    if unit == "rows":
        return np.ones(len(positions))
    if unit == "words":
        return np.maximum(1.0, pool.lengths(positions))
    if cost is not None and cost.unit == unit:
        costs = cost.of(pool, positions)
    elif unit in pool.dataset.column_names:
        costs = _column(pool, unit, positions)
    else:
        known = [*WHOLE, *([] if cost is None else [cost.unit]), *pool.dataset.column_names]
        raise HfalError(
            f"nothing says what a row costs in {unit!r}{nearest(unit, known)}: give cost: {{unit: {unit}, "
            "per_row: …, per_word: …}, or a column of that name"
        )
    free = np.flatnonzero(~(np.isfinite(costs) & (costs > 0)))
    if len(free):
        first = free[0]
        raise HfalError(f"row {positions[first]} costs {costs[first]:g} {unit}: costs must be above 0")
    return costs


def _column(pool: Pool, column: str, positions: Positions) -> Costs:
    if column not in pool.dataset.column_names:
        raise HfalError(f"cost.column: no column {column!r}{nearest(column, pool.dataset.column_names)}")
    values = pool.dataset.select_columns([column]).select(positions)[column][:]
    for position, value in zip(positions, values, strict=True):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise HfalError(f"row {position} of column {column!r} holds {value!r}, not a cost")
    return np.asarray(values, dtype=np.float64)
