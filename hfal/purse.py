"""What a run may spend, in all and in each round, and what rows cost."""

from __future__ import annotations

import math

import numpy as np

from hfal.budget import Budget, Cost, Costs, costs_of, in_words
from hfal.errors import HfalError, count
from hfal.pool import Pool, Positions
from hfal.strategies.within import Limit, allowance


class Purse:
    """The budget of a run, and the sizes of its rounds.

    Args:
        pool: whose rows are asked.
        budget: what may be spent in all.
        batch: what a round may cost.
        start_size: what the seed set may cost; None where labels are there from the start.
        cost: what labelling a row costs, for units other than rows and words.
    """

    def __init__(self, pool: Pool, budget: Budget, batch: Budget, start_size: Budget | None, cost: Cost | None) -> None:
        self.pool = pool
        self.budget, self.batch, self.start_size, self.cost = budget, batch, start_size, cost
        self._priced: dict[str, Costs] = {}

    def costs(self, positions: Positions, unit: str) -> Costs:
        """[k] what these rows cost; read once for all that may be asked."""
        if unit not in self._priced:
            askable = np.concatenate((self.pool.unlabeled, self.pool.to_audit))
            self._priced[unit] = np.full(len(self.pool), np.nan)
            self._priced[unit][askable] = costs_of(self.pool, askable, unit, self.cost)
        return self._priced[unit][positions]

    def size(self, number: int) -> Budget:
        """What a round may cost."""
        return self.batch if number or self.start_size is None else self.start_size

    def limits(self, number: int, positions: Positions, spent: float) -> list[Limit]:
        """What a round may cost: a batch (or the seed set), and what is left of the budget."""
        size = self.size(number)
        amounts = {self.budget.unit: self.budget.amount - spent}
        amounts[size.unit] = min(size.amount, amounts.get(size.unit, math.inf))
        return [(self.costs(positions, unit), amount) for unit, amount in amounts.items()]

    def buys_any(self, free: Positions, spent: float) -> bool:
        """Whether any of these rows can still be paid for."""
        left = allowance(self.budget.amount - spent)
        return bool(len(free)) and bool((self.costs(free, self.budget.unit) <= left).any())

    def check(self) -> None:
        """Budget, batch and seed set buy something of this pool.

        Raises:
            HfalError: one does not.
        """
        free = self.pool.unlabeled
        first = [] if self.start_size is None else [self.start_size]
        for what, size in [("batch", self.batch)] + [("seed set", size) for size in first]:
            if size.unit == "rows" and len(free) < size.amount:
                raise HfalError(
                    f"the pool has {count(len(free), 'distinct row')} to ask, fewer than one {what} of {size.amount}"
                )
            cheapest = self.costs(free, size.unit).min()
            if cheapest > allowance(size.amount):
                raise HfalError(f"a {what} of {size} buys no row: the cheapest is {in_words(cheapest, size.unit)}")
        self.costs(free, self.budget.unit)
        for size in first:
            unit = size.unit
            if unit == self.budget.unit and self.budget.amount < size.amount:
                raise HfalError(
                    f"budget.{unit} is {self.budget.amount:,}, less than the seed set of "
                    f"{size.amount:,} {unit}: raise the budget, or lower start.{unit}"
                )
