"""What may be spent on labels."""

from __future__ import annotations

from dataclasses import dataclass

from hfal.errors import HfalError


@dataclass(frozen=True)
class Budget:
    """So many rows may be labelled, the seed set included.

    Labels that the data had from the start cost nothing.
    """

    rows: int

    def __post_init__(self) -> None:
        if isinstance(self.rows, bool) or not isinstance(self.rows, int) or self.rows < 1:
            raise HfalError(f"budget: rows must be a whole number of at least 1, got {self.rows!r}")

    @classmethod
    def of(cls, budget: int | Budget) -> Budget:
        """A number of rows, or a budget as it is."""
        return budget if isinstance(budget, Budget) else cls(rows=budget)

    def affords(self, spent: int, wanted: int) -> int:
        """How many of the rows wanted can still be paid for."""
        return max(0, min(wanted, self.rows - spent))
