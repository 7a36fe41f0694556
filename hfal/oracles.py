"""Where labels come from."""

from __future__ import annotations

from typing import Any, Protocol

from hfal.errors import HfalError
from hfal.pool import Pool, Positions, encoded
from hfal.tasks.labels import check_columns


class Oracle(Protocol):
    """Gives labels for rows of the pool."""

    source: str

    def check(self, pool: Pool) -> None:
        """Refuse, before any work, a pool that this oracle cannot label."""
        ...

    def label(self, pool: Pool, positions: Positions) -> list[Any]:
        """Encoded labels of these rows, in this order."""
        ...


class Simulated:
    """The labels that the data set has already: active learning in retrospect.

    Args:
        column: the column that holds them.
        open_set: a row without a label belongs to no class: it is set aside, as people would flag it.
    """

    source = "simulated"

    def __init__(self, column: str = "label", *, open_set: bool = False) -> None:
        self.column = column
        self.open_set = open_set

    def check(self, pool: Pool) -> None:
        """Every row that may be asked has a label that the task knows."""
        check_columns(pool.dataset, [self.column])
        for at, label in enumerate(encoded(pool.dataset, pool.task, self.column, self._what, missing=True)):
            if label is None and not self.open_set:
                raise HfalError(f"row {at} of column {self.column!r} has no label to simulate with")

    def label(self, pool: Pool, positions: Positions) -> list[Any]:
        """What the column says."""
        return list(encoded(pool.dataset.select(positions), pool.task, self.column, self._what, missing=self.open_set))

    @property
    def _what(self) -> str:
        return f"column {self.column!r}"

    def __repr__(self) -> str:
        return f"Simulated({self.column!r})"
