"""Pools that are harder than they came: skewed, noisy, repetitive, or unlike the test rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from datasets import Dataset, concatenate_datasets
from numpy.typing import NDArray

from hfal.bench.config import Hard
from hfal.compute import generator_for
from hfal.errors import HfalError, listing
from hfal.pool import encoded
from hfal.tasks import Task
from hfal.tasks.labels import with_column

LEAST = 2
"""Rows that a class keeps, however rare it is made."""


def harder(rows: Dataset, task: Task, hard: Hard, seed: int) -> Dataset:
    """The rows of a pool, made harder.

    Args:
        rows: with a label that is known for each.
        task: with one label of C for each row.
        hard: how.
        seed: of what is drawn.

    Raises:
        HfalError: the task has no such labels or texts.
    """
    if task.asks != "one":
        raise HfalError(f"hard: pools are made harder for one label of several, which {task.name} does not have")
    rng = np.random.default_rng(generator_for("hard", seed).initial_seed())
    labels = np.array(list(encoded(rows, task, task.label, "pool")), dtype=np.int64)
    keep = np.arange(len(rows))
    if hard.imbalance is not None:
        keep = _skewed(labels, len(task.classes), hard.imbalance, rng)
    if hard.shift:
        keep = keep[_shorter(np.array(task.lengths(rows[keep.tolist()])), hard.shift, rng)]
    rows, labels = rows.select(keep), labels[keep]
    if hard.noise:
        labels = _mistaken(labels, len(task.classes), hard.noise, rng)
    names = [None if task.classes[label] in hard.open else task.decode(int(label)) for label in labels]
    rows = with_column(rows.remove_columns([task.label]), task.label, names)
    return _repeated(rows, task, hard.duplicates, rng) if hard.duplicates else rows


def closed(task: Task, test: Dataset, none: Sequence[str]) -> tuple[Task, Dataset]:
    """The task without classes that count as none, and its test rows, with `labels`, without their rows.

    Raises:
        HfalError: no such class, or fewer than two are left.
    """
    unknown = [name for name in none if name not in task.classes]
    if unknown:
        raise HfalError(f"hard.open: there is no class {unknown[0]!r}; there are: {listing(task.classes)}")
    left = [name for name in task.classes if name not in none]
    fewer: Task = replace(task, label_names=tuple(left))  # type: ignore[type-var]
    labels = [task.classes[label] for label in test["labels"]]
    known = [row for row, name in enumerate(labels) if name in left]
    rows = test.select(known).remove_columns(["labels"])
    return fewer, with_column(rows, "labels", [left.index(labels[row]) for row in known])


def _skewed(labels: NDArray[np.int64], classes: int, ratio: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows to keep, so that the sizes of the classes fall in a geometric row from the first to the last."""
    shares = ratio ** -(np.arange(classes) / max(1, classes - 1))
    sizes = np.bincount(labels, minlength=classes)
    most = min(size / share for size, share in zip(sizes, shares, strict=True) if size)
    kept = [rng.permutation(np.flatnonzero(labels == c))[: max(LEAST, int(most * shares[c]))] for c in range(classes)]
    return np.sort(np.concatenate(kept))


def _shorter(lengths: NDArray[np.int64], shift: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows to keep: the longer a row, the rarer."""
    rank = np.argsort(np.argsort(lengths, kind="stable"), kind="stable") / max(1, len(lengths) - 1)
    return np.flatnonzero(rng.random(len(lengths)) >= shift * rank)


def _mistaken(labels: NDArray[np.int64], classes: int, share: float, rng: np.random.Generator) -> NDArray[np.int64]:
    wrong = rng.permutation(len(labels))[: round(share * len(labels))]
    found = labels.copy()
    found[wrong] = (labels[wrong] + rng.integers(1, classes, len(wrong))) % classes
    return found


def _repeated(rows: Dataset, task: Task, share: float, rng: np.random.Generator) -> Dataset:
    """The rows, and so many copies with a word dropped or repeated that they make this share of all."""
    column = task.inputs[0]
    count = round(len(rows) * share / (1 - share))
    chosen = rng.integers(0, len(rows), count)
    texts = rows[column]
    copies = rows.select(chosen).remove_columns([column])
    copies = with_column(copies, column, [_edited(texts[at], rng) for at in chosen])
    return concatenate_datasets([rows, copies.select_columns(rows.column_names).cast(rows.features)])


def _edited(text: str, rng: np.random.Generator) -> str:
    words = text.split()
    at = int(rng.integers(0, len(words)))
    if len(words) > 1 and rng.random() < 0.5:
        return " ".join(words[:at] + words[at + 1 :])
    return " ".join([*words[: at + 1], *words[at:]])
