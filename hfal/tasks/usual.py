"""What most tasks have in common: rows with one output, whose labels need no look at the row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from hfal.errors import HfalError
from hfal.functional import Legal
from hfal.tasks.base import Batch
from hfal.tasks.labels import check_columns


class RowTask:
    """Base of tasks whose models give one output a row."""

    per_word: ClassVar[bool] = False
    output_fields: ClassVar[frozenset[str]] = frozenset({"logits"})
    checks_row: ClassVar[bool] = False
    skips_empty: ClassVar[bool] = False
    legal: ClassVar[Legal | None] = None
    multi_label: bool = False

    def prepare(self, dataset: Dataset) -> Dataset:
        """The same rows."""
        return dataset

    def absent(self, encoded: Sequence[Any]) -> str | None:
        """Nothing: each row counts for the score."""
        return None

    def joined(self, other: Any, what: str) -> Self:
        """The same: what the pool does not have is seen to where it is met."""
        return self


def check_text(dataset: Dataset, columns: Sequence[str]) -> None:
    """Every column exists and holds text.

    Raises:
        HfalError: one does not.
    """
    check_columns(dataset, columns)
    for column in columns:
        kind = getattr(dataset.features[column], "dtype", None)
        if kind not in ("string", "large_string"):
            raise HfalError(f"column {column!r} must hold text, but it holds {kind or 'structures'}")


def blank(batch: Batch, columns: Sequence[str]) -> list[str | None]:
    """For each row, which of these columns of text is missing or has no words; None where none is."""
    found: list[str | None] = [None] * len(batch[columns[0]])
    for column in reversed(columns):
        for at, text in enumerate(batch[column]):
            if text is None or not text.strip():
                found[at] = f"column {column!r} is {'missing (None)' if text is None else 'empty'}"
    return found


def written(outputs: Any) -> tuple[list[list[str]], NDArray[np.float32]]:
    """What a model wrote for each row, and the geometric mean of its tokens' probabilities."""
    log_probs = outputs.token_log_probs
    means = [float(log_probs[row].mean()) if len(log_probs[row]) else 0.0 for row in range(len(outputs.texts))]
    return [[text] for text in outputs.texts], np.exp(np.array(means, dtype=np.float32))
