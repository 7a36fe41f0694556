"""Strategies made of strategies."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hfal.errors import HfalError
from hfal.signals import Needs
from hfal.strategies.base import Context, Selection, Strategy, register, resolve
from hfal.strategies.uncertainty import Random

DEFAULT_PREFILTER = 10


@dataclass(frozen=True)
class Chain:
    """`first>second(prefilter=n)`: the best n x size rows of the first, among which the second chooses.

    The scores and details of the selection are those of the first strategy, which say why a row was in
    reach; its order is the second's.
    """

    first: Strategy
    second: Strategy
    prefilter: float = DEFAULT_PREFILTER

    def __post_init__(self) -> None:
        if not isinstance(self.prefilter, (int, float)) or self.prefilter < 1:
            raise HfalError(f"prefilter must be a number of at least 1, got {self.prefilter!r}")

    @property
    def needs(self) -> Needs:
        """One pass for both."""
        return self.first.needs | self.second.needs

    def select(self, context: Context, size: int) -> Selection:
        """`size` rows out of the best `prefilter * size`."""
        kept = self.first.select(context, int(np.ceil(self.prefilter * size)))
        reach = context.pool.indices_of(kept.rows).sort().values  # in the context's order, not by rank
        chosen = self.second.select(context.restrict(reach), size)
        place = {int(row): i for i, row in enumerate(kept.rows)}
        back = [place[int(row)] for row in chosen.rows]
        details = {name: values[back] for name, values in kept.details.items()}
        return Selection(chosen.rows, kept.scores[back], {**details, **chosen.details})

    def __repr__(self) -> str:
        return f"{self.first!r}>{self.second!r}[{self.prefilter}]"


@register("exploration", paper="Yin et al. 2017; Geifman and El-Yaniv 2017")
@dataclass(frozen=True)
class Exploration:
    """One strategy for the first rounds, another after them."""

    then: Strategy
    first: Strategy = field(default_factory=Random)
    rounds: int = 3

    def __post_init__(self) -> None:
        for name in ("first", "then"):
            if not isinstance(getattr(self, name), Strategy):
                raise HfalError(f"exploration: {name} must be a strategy, got {getattr(self, name)!r}")
        if not isinstance(self.rounds, int) or self.rounds < 0:
            raise HfalError(f"exploration: rounds must be a whole number, 0 or more; got {self.rounds!r}")

    def at(self, round: int) -> Strategy:
        """`first` up to round `rounds` (the seed set is round 0), then `then`."""
        return self.first if round <= self.rounds else self.then

    @property
    def needs(self) -> Needs:
        """What either may need; the loop asks `at(round)` and pays only for that one."""
        return self.first.needs | self.then.needs

    def select(self, context: Context, size: int) -> Selection:
        """What the round's strategy selects."""
        return resolve(self, context.round).select(context, size)
