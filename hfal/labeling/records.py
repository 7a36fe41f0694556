"""What a line of a file says, before it is checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class RowError(Exception):
    """Why a row of a file is refused."""

    def __init__(self, column: str, reason: str) -> None:
        super().__init__(reason)
        self.column = column
        self.reason = reason


@dataclass(frozen=True)
class Record:
    """One row of a file.

    Attributes:
        line: where it begins (of Label Studio's JSON: which task).
        fields: `id`, `label`, and what else it says.
        content: the row as it stands in the file.
        problem: why it could not be read.
        words: that the file repeats, to be compared.
        choices: what was chosen, in files that say it so.
        spans: of characters, `(start, end, label)`, in files that say it so.
    """

    line: int
    fields: dict[str, Any]
    content: str
    problem: RowError | None = None
    words: list[str] | None = None
    choices: list[Any] | None = None
    spans: list[tuple[Any, Any, Any]] | None = None

    @property
    def shown(self) -> str:
        """The row, shortened."""
        return self.content.strip()[:500]


@dataclass(frozen=True)
class Refused:
    """A row that was not taken, and why."""

    file: str
    line: int
    column: str
    reason: str
    content: str

    def __str__(self) -> str:
        column = "" if self.column == "-" else f", column {self.column}"
        return f"{self.file}, line {self.line}{column}: {self.reason}"
