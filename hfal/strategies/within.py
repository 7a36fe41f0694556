"""Choosing as much as may be spent, where rows do not all cost the same."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from hfal.errors import HfalError, count
from hfal.strategies.base import Context, Selection, Strategy

Limit = tuple[NDArray[np.float64], float]
"""[N] what each row of the pool costs, and how much may be spent."""

SLACK = 1e-9
"""Sums of fractions are compared up to this share."""


def allowance(amount: float) -> float:
    """What costs are compared with where an amount may be spent."""
    return amount * (1 + SLACK) + SLACK


def select_within(strategy: Strategy, context: Context, limits: Sequence[Limit], name: str) -> Selection:
    """Rows in the strategy's order, none of which goes over a limit.

    The strategy is asked for about as many rows as can be paid for. They are taken in its order of choice; one
    that does not fit is passed over for the next that does. While something still fits, it is asked again.

    Args:
        strategy: chooses.
        context: what it sees; restricted to what can still be paid for.
        limits: that hold together.
        name: of the strategy, for errors.

    Returns:
        A selection, empty where nothing fits.

    Raises:
        HfalError: the strategy chose a row twice, too few, or one that it was not offered.
    """
    left = [allowance(amount) for _, amount in limits]
    open_ = np.ones(len(context.pool), dtype=bool)
    parts: list[Selection] = []
    while True:
        for (costs, _), rest in zip(limits, left, strict=True):
            open_ &= costs <= rest
        offered = np.flatnonzero(open_)
        if not len(offered):
            return _joined(parts)
        size = min(len(offered), *(_about(costs[offered], rest) for (costs, _), rest in zip(limits, left, strict=True)))
        whole = len(offered) == len(context.pool)
        part = context if whole else context.restrict(torch.from_numpy(offered))
        found = strategy.select(part, size)
        check_selection(found, part.pool.rows, size, name)
        indices = context.pool.indices_of(found.rows).numpy()
        taken = []
        for place, index in enumerate(indices):
            if all(costs[index] <= rest for (costs, _), rest in zip(limits, left, strict=True)):
                taken.append(place)
                left = [rest - costs[index] for (costs, _), rest in zip(limits, left, strict=True)]
        open_[indices] = False
        parts.append(_part(found, taken))


def _about(costs: NDArray[np.float64], left: float) -> int:
    """How many rows can be paid for, at least 1; some more where costs differ, since not all will fit."""
    each = float(costs.mean())
    if costs.min() == costs.max():
        return max(1, math.floor(left / each))
    return math.ceil(1.1 * left / each) + 5


def _part(selection: Selection, places: list[int]) -> Selection:
    details = {name: values[places] for name, values in selection.details.items()}
    return Selection(selection.rows[places], selection.scores[places], details)


def _joined(parts: list[Selection]) -> Selection:
    if not parts:
        return Selection(np.empty(0, np.int64), np.empty(0, np.float32))
    names = set.intersection(*(set(part.details) for part in parts))
    details = {name: np.concatenate([part.details[name] for part in parts]) for name in sorted(names)}
    rows = np.concatenate([part.rows for part in parts])
    return Selection(rows, np.concatenate([part.scores for part in parts]), details)


def check_selection(selection: Selection, allowed: NDArray[np.int64], size: int, name: str) -> None:
    """What a strategy of the user's own may get wrong."""
    rows = selection.rows
    if len(rows) != size:
        raise HfalError(f"strategy {name} chose {count(len(rows), 'row')} where {size} were wanted")
    if len(np.unique(rows)) < len(rows):
        raise HfalError(f"strategy {name} chose a row twice")
    if not np.isin(rows, allowed).all():
        raise HfalError(f"strategy {name} chose a row that cannot be asked")
