"""Scores of quality that tasks share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Scores = dict[str, dict[str, Any]]


def class_scores(true: NDArray[Any], guess: NDArray[Any], names: Sequence[str]) -> tuple[float, Scores]:
    """Macro-F1 over the classes that the labels have, and a row for each class.

    Args:
        true: [N] class indices, or [N, C] of 0 and 1.
        guess: the same of the predictions.
        names: of the C classes.
    """
    from sklearn.metrics import precision_recall_fscore_support

    classes = list(range(len(names)))
    columns = precision_recall_fscore_support(true, guess, labels=classes, average=None, zero_division=0)
    table = {name: as_row(*(column[c] for column in columns)) for c, name in enumerate(names)}
    present = [row["f1"] for row in table.values() if row["support"]]
    return float(np.mean(present)) if present else 0.0, table


def as_row(precision: float, recall: float, f1: float, support: int) -> dict[str, Any]:
    """A row of `per_class`."""
    return {"precision": float(precision), "recall": float(recall), "f1": float(f1), "support": int(support)}


def from_counts(right: int, guessed: int, there: int) -> dict[str, Any]:
    """Precision, recall and F1 of a type from how many were right, guessed and there; 0 where undefined."""
    precision, recall = right / guessed if guessed else 0.0, right / there if there else 0.0
    f1 = 2 * right / (guessed + there) if guessed + there else 0.0
    return as_row(precision, recall, f1, there)
