"""Names of labels: given, found in a column, and looked up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import numpy as np
from datasets import ClassLabel, Dataset

from hfal.errors import HfalError, listing, nearest

MAX_CLASSES = 1000


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """Label names as given by the user: a list in which each is there once."""
    if isinstance(names, str):
        raise HfalError(f"label_names must be a list of names, got the text {names!r}")
    names = tuple(str(name) for name in names)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise HfalError(f"label_names: {twice[0]!r} is given more than once")
    return names


def index_of(label: Any, names: Sequence[str], where: str) -> int:
    """A label as its place among the names; it is given by name or by that place.

    Args:
        where: what the label is, for the error: "label of row 3".
    """
    if isinstance(label, str) and label in names:
        return names.index(label)
    whole = isinstance(label, (int, np.integer)) and not isinstance(label, bool)
    if whole and str(label) in names:
        return names.index(str(label))
    if whole and 0 <= label < len(names):
        return int(label)
    hint = nearest(label, names) if isinstance(label, str) else ""
    raise HfalError(f"{where} is not one of {listing(names)}{hint}")


def check_whole(text: str, where: str) -> str:
    """A text that files can hold.

    Raises:
        HfalError: it holds half a character (a surrogate by itself), which no UTF-8 can say.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise HfalError(f"the text in {where} holds half a character at place {error.start}") from None
    return text


def check_columns(dataset: Dataset, columns: Sequence[str]) -> None:
    """Every column exists."""
    for column in columns:
        if column not in dataset.column_names:
            hint = nearest(column, dataset.column_names)
            raise HfalError(f"no column {column!r}{hint}; the data has: {listing(dataset.column_names)}")


def with_column(rows: Dataset, name: str, values: list[Any]) -> Dataset:
    """The rows with another column (datasets' own progress bar would only flicker here)."""
    hidden = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        return rows.add_column(name, values)
    finally:
        if not hidden:
            datasets.enable_progress_bars()


def names_in(dataset: Dataset, column: str) -> tuple[str, ...]:
    """The names of a column of labels: its `ClassLabel`, or its values in order."""
    feature = dataset.features[column]
    feature = getattr(feature, "feature", feature)  # the element of a list
    if isinstance(feature, ClassLabel):
        return tuple(feature.names)
    found: set[Any] = set()
    for batch in dataset.select_columns([column]).iter(10_000):
        for value in batch[column]:
            found.update(value if isinstance(value, list) else () if value is None else (value,))
        if len(found) > MAX_CLASSES:
            raise HfalError(
                f"column {column!r} has more than {MAX_CLASSES:,} different values: is it the label column? "
                "If so, give label_names"
            )
    if any(isinstance(value, float) for value in found):
        raise HfalError(f"column {column!r} holds fractions, not labels")
    if len(found) < 2:
        raise HfalError(f"column {column!r} has {len(found)} different labels; at least two are needed")
    if all(isinstance(value, int) for value in found):
        return tuple(str(value) for value in sorted(found))
    return tuple(sorted(str(value) for value in found))
