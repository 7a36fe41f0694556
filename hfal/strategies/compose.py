"""Strategies made of strategies."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hfal import functional as F
from hfal.errors import HfalError
from hfal.signals import Needs
from hfal.strategies.base import Context, Selection, Strategy, later, register, resolve
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
    def _apart(self) -> bool:
        """Whether the second costs so much a row that it looks at its own rows only."""
        return bool(self.second.needs.looks)

    @property
    def needs(self) -> Needs:
        """One pass for both, but what needs a pass of its own is had of the rows in reach only."""
        return self.first.needs if self._apart else self.first.needs | self.second.needs

    @property
    def later(self) -> Needs:
        """What is needed in closer looks."""
        return (self.second.needs if self._apart else Needs()) | later(self.first) | later(self.second)

    def select(self, context: Context, size: int) -> Selection:
        """`size` rows out of the best `prefilter * size`."""
        kept = self.first.select(context, int(np.ceil(self.prefilter * size)))
        reach = context.pool.indices_of(kept.rows).sort().values  # in the context's order, not by rank
        near = context.closer(reach, self.second.needs) if self._apart else context.restrict(reach)
        chosen = self.second.select(near, size)
        place = {int(row): i for i, row in enumerate(kept.rows)}
        back = [place[int(row)] for row in chosen.rows]
        details = {name: values[back] for name, values in kept.details.items()}
        return Selection(chosen.rows, kept.scores[back], {**details, **chosen.details})

    def __repr__(self) -> str:
        return f"{self.first!r}>{self.second!r}[{self.prefilter}]"


@register("exploration", paper="Yin et al. 2017; Geifman and El-Yaniv 2017")
@dataclass(frozen=True)
class Exploration:
    """One strategy for the first rounds, another after them: at once, or with a share that falls from round to round.

    `schedule=switch` changes after `rounds` rounds (FF-Active, with first=farthest_first); `schedule=decay` gives the
    first `1 - r / (rounds + 1)` of the batch of round r (Exploration-P).
    """

    then: Strategy
    first: Strategy = field(default_factory=Random)
    rounds: int = 3
    schedule: str = "switch"

    def __post_init__(self) -> None:
        for name in ("first", "then"):
            if not isinstance(getattr(self, name), Strategy):
                raise HfalError(f"exploration: {name} must be a strategy, got {getattr(self, name)!r}")
        if not isinstance(self.rounds, int) or self.rounds < 0:
            raise HfalError(f"exploration: rounds must be a whole number, 0 or more; got {self.rounds!r}")
        if self.schedule not in ("switch", "decay"):
            raise HfalError(f"exploration: schedule must be switch or decay, got {self.schedule!r}")

    def at(self, round: int) -> Strategy:
        """What chooses in this round (the seed set is round 0)."""
        if round > self.rounds:
            return self.then
        if self.schedule == "switch" or round == 0:
            return self.first
        return Mixed(self.first, self.then, 1 - round / (self.rounds + 1))

    @property
    def needs(self) -> Needs:
        """What either may need; the loop asks `at(round)` and pays only for that one."""
        return self.first.needs | self.then.needs

    def select(self, context: Context, size: int) -> Selection:
        """What the round's strategy selects."""
        return resolve(self, context.round).select(context, size)


@dataclass(frozen=True)
class Mixed:
    """A share of the batch by one strategy, the rest by another."""

    first: Strategy
    then: Strategy
    share: float

    @property
    def needs(self) -> Needs:
        """One pass for both."""
        return self.first.needs | self.then.needs

    @property
    def later(self) -> Needs:
        """What both need in closer looks."""
        return later(self.first) | later(self.then)

    def select(self, context: Context, size: int) -> Selection:
        """The first's rows, then those that the other chooses among the rest."""
        size = min(size, len(context.pool))
        one = resolve(self.first, context.round).select(context, round(self.share * size))
        rest = F.all_but(len(context.pool), context.pool.indices_of(one.rows))
        other = resolve(self.then, context.round).select(context.restrict(rest), size - len(one))
        return Selection(np.concatenate((one.rows, other.rows)), np.concatenate((one.scores, other.scores)))
