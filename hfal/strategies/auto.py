"""The strategy for those who do not want to choose one: chosen round by round, from what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from hfal.errors import HfalError
from hfal.signals import Needs
from hfal.strategies.base import Context, Selection, register

HERDING = "uncertainty_herding"
MANY = 5
"""Classes above which herding was better than margins (six of questions, 19 of relations; not three or two)."""
MOST_ROWS = 50_000
"""Rows up to which herding takes seconds."""


@dataclass(frozen=True)
class Facts:
    """What is known of a run before a round is chosen.

    Attributes:
        task: its name, as in a config.
        first: the task's own way to a seed set.
        usual: the task's own strategy.
        classes: how many there are to tell apart.
        rows: how many can be asked.
        labeled: how many have a label.
        several: whether a row has any number of labels.
        per_cost: whether scores count by cost, for which there must be scores.
    """

    task: str
    first: str
    usual: str
    classes: int
    rows: int
    labeled: int
    several: bool = False
    per_cost: bool = False


@runtime_checkable
class Adaptive(Protocol):
    """A strategy that is another one as things are."""

    def settle(self, facts: Facts) -> str:
        """The spec of the strategy that chooses now."""
        ...

    def reason(self, spec: str) -> str:
        """Why, in a few words."""
        ...


@register("auto", paper="docs/evidence.md")
@dataclass(frozen=True)
class Auto:
    """Chosen for you in each round, by task, pool and what is labelled: the round says which, and why."""

    MEASURED: ClassVar[dict[str, str]] = {"relations": HERDING, "pairs": "margin"}
    """Task -> what was best there, where that is not the task's own strategy (docs/pairs.md)."""
    REASONS: ClassVar[dict[str, str]] = {
        HERDING: "there are many classes, and it was best where that is so",
        "margin": "it was best on pairs, once some alike ones are known",
        "badge": "it was best on questions about pictures",
    }

    @property
    def needs(self) -> Needs:
        """Nothing: what is chosen says what it needs."""
        return Needs()

    def settle(self, facts: Facts) -> str:
        """The strategy of this round.

        With nothing labelled the task's own way to a seed set. Then what was measured to be best for the task: herding
        for texts of many classes and for relations, unless rows have several labels, scores must count by cost, or the
        pool is so large that it takes too long.
        """
        if not facts.labeled:
            return facts.first
        best = self.MEASURED.get(facts.task, facts.usual)
        if facts.task == "text_classification" and facts.classes > MANY:
            best = HERDING
        unfit = facts.several or facts.per_cost or facts.rows > MOST_ROWS
        return facts.usual if best == HERDING and unfit else best

    def reason(self, spec: str) -> str:
        """Why this one, in a few words."""
        return self.REASONS.get(spec, "it was best or near it on all data of this kind (docs/evidence.md)")

    def select(self, context: Context, size: int) -> Selection:
        """Never called: the loop asks the strategy that was settled."""
        raise HfalError("auto chooses in the loop only: name a strategy here")
