"""The pool: rows with stable ids, of which some are labelled."""

from __future__ import annotations

import copy
import hashlib
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from hfal.errors import HfalError, count, listing, nearest
from hfal.tasks.base import Batch, Task
from hfal.tasks.labels import check_columns, with_column

logger = logging.getLogger("hfal")

BATCH = 10_000
Positions = NDArray[np.int64]


def _batches(dataset: Dataset, task: Task) -> Iterator[tuple[int, Batch, list[str | None]]]:
    """The inputs batch by batch: where it starts, the columns, why nothing can be learned from a row."""
    at = 0
    for batch in dataset.select_columns(list(task.inputs)).iter(BATCH):
        problems = task.empty(batch)
        yield at, batch, problems
        at += len(problems)


def content_keys(dataset: Dataset, task: Task) -> NDArray[np.void]:
    """[N] 16-byte hashes of the rows' inputs: equal inputs have equal keys, on any machine.

    Raises:
        HfalError: a row from which nothing can be learned (missing or blank text); the row is named.
    """
    keys = np.empty(len(dataset), dtype="V16")
    for at, batch, problems in _batches(dataset, task):
        for offset, problem in enumerate(problems):
            if problem:
                raise HfalError(
                    f"row {at + offset}: {problem}; remove such rows, or leave them out with skip_empty: true"
                )
        digests = [hashlib.blake2b(key, digest_size=16).digest() for key in task.keys(batch)]
        keys[at : at + len(digests)] = np.frombuffer(b"".join(digests), dtype="V16")
    return keys


def drop_empty(dataset: Dataset, task: Task, what: str = "pool") -> Dataset:
    """The data set without rows from which nothing can be learned; how many, and the first, is logged."""
    check_columns(dataset, task.inputs)
    bad = {
        at + offset: problem
        for at, _, problems in _batches(dataset, task)
        for offset, problem in enumerate(problems)
        if problem
    }
    if not bad:
        return dataset
    first = min(bad)
    logger.warning(
        "%s: %s left out, nothing can be learned from them (the first, row %d: %s)",
        what,
        count(len(bad), "row"),
        first,
        bad[first],
    )
    keep = np.ones(len(dataset), dtype=bool)
    keep[list(bad)] = False
    return dataset.select(np.flatnonzero(keep))


def with_labels(rows: Dataset, labels: list[Any]) -> Dataset:
    """The rows with an encoded `labels` column."""
    return with_column(rows, "labels", labels)


def labelled(rows: Dataset, task: Task, what: str = "test") -> Dataset:
    """The task's inputs and an encoded `labels` column.

    Raises:
        HfalError: no label column, a label that is missing or not among the names, an empty text.
    """
    if task.label not in rows.column_names:
        hint = nearest(task.label, rows.column_names)
        raise HfalError(f"{what}: no label column {task.label!r}{hint}; it has: {listing(rows.column_names)}")
    rows = task.prepare(rows)
    if task.skips_empty:
        rows = drop_empty(rows, task, what)
    else:
        content_keys(rows, task)
    return with_labels(rows.select_columns(list(task.inputs)), list(encoded(rows, task, task.label, what)))


def check_labels(rows: Dataset, task: Task, what: str) -> None:
    """Every label that is there is one of the task's.

    Raises:
        HfalError: one is not; its row is named.
    """
    for _ in encoded(rows, task, task.label, what, missing=True):
        pass


def encoded(rows: Dataset, task: Task, column: str, what: str, *, missing: bool = False) -> Iterator[Any]:
    """The encoded label of each row, checked against its inputs; None where `missing` labels are allowed.

    Raises:
        HfalError: a label that is missing or wrong; the row is named.
    """
    columns = [*dict.fromkeys((*task.inputs, column))] if task.checks_row else [column]
    name_of = _namer(rows, column, task)
    at = 0
    for batch in rows.select_columns(columns).iter(BATCH):
        for number, label in enumerate(batch[column]):
            if label is None and missing:
                yield None
            else:
                row = {name: batch[name][number] for name in task.inputs} if task.checks_row else None
                yield task.encode(name_of(label), f"row {at + number} of {what}", row)
        at += len(batch[column])


def _namer(rows: Dataset, column: str, task: Task) -> Callable[[Any], Any]:
    """What turns the indices of a column into names, where it numbers its classes otherwise than the task."""
    feature = rows.features[column]
    names = getattr(getattr(feature, "feature", feature), "names", None)
    if names is None or tuple(names) == task.names:
        return lambda label: label

    def name_of(label: Any) -> Any:
        if isinstance(label, list):
            return [name_of(one) for one in label]
        return names[label] if isinstance(label, int) and 0 <= label < len(names) else label

    return name_of


class Pool:
    """A `datasets.Dataset` in which every row has a stable id and at most one current label.

    Rows with equal inputs are one question: the first of them stands for all, is asked once, and its label
    holds for the others too. Memory is about 60 bytes a row beside the data set's own memory map.

    Attributes:
        dataset: the rows, as given.
        task: with its label names known.
        unlabeled: [U] positions that can be chosen, ascending.
        labeled: [L] positions that have a label to train on, ascending.
        reserve: positions kept out of choice and training, in the order in which they are asked; their labels say
            how good a model is (docs/saving.md).
    """

    def __init__(self, dataset: Dataset, task: Task, ids: NDArray[Any] | None, keys: NDArray[np.void]) -> None:
        self.dataset = dataset
        self.task = task
        self._ids = ids
        self._keys = keys
        distinct, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        self._stands_for = first[inverse.reshape(-1)].astype(np.int64)
        self._distinct = np.sort(first).astype(np.int64)
        self._rank = np.empty(len(keys), dtype=np.int64)
        self._rank[first] = np.arange(len(distinct))
        self._labels: dict[int, Any] = {}
        self._is_labeled = np.zeros(len(keys), dtype=bool)
        self._is_open = np.ones(len(keys), dtype=bool)  # may be chosen, as far as reserve and skips go
        self._aside = np.zeros(len(keys), dtype=bool)
        self.reserve: Positions = np.empty(0, dtype=np.int64)
        self._position_of: dict[str, int] | None = None
        self._lengths: NDArray[np.int64] | None = None

    @classmethod
    def from_dataset(
        cls,
        dataset: Dataset,
        task: Task,
        id_column: str | None = None,
        *,
        seed_labels: str | None = None,
        skip_empty: bool = False,
    ) -> Pool:
        """Make a pool of a data set.

        Args:
            dataset: any map-style `datasets.Dataset`.
            task: says which columns are read and what the labels are.
            id_column: the user's own ids, as text or integers, without repeats. Otherwise the id of a row is
                a hash of its inputs, so that it is the same wherever the row turns up again.
            seed_labels: a column whose labels are known from the start, where they are not None.
            skip_empty: leave out rows without text instead of refusing them.

        Raises:
            HfalError: a missing column, no rows, a repeated id, an empty text, a label outside the names.
        """
        if not isinstance(dataset, Dataset):
            raise HfalError(f"a pool is made of a datasets.Dataset, not of {type(dataset).__name__}")
        if len(dataset) == 0:
            raise HfalError("the pool has no rows")
        dataset = task.prepare(dataset)
        task = task.resolve(dataset)
        if skip_empty or task.skips_empty:
            dataset = drop_empty(dataset, task)
        if len(dataset) == 0:
            raise HfalError("the pool has no rows with words")
        ids = None if id_column is None else _read_ids(dataset, id_column)
        pool = cls(dataset, task, ids, content_keys(dataset, task))
        if seed_labels is not None:
            pool._seed(seed_labels)
        return pool

    def _seed(self, column: str) -> None:
        check_columns(self.dataset, [column])
        what = f"column {column!r}"
        for at, label in enumerate(encoded(self.dataset, self.task, column, what, missing=True)):
            known = self._stands_for[at]
            if label is not None and not self._is_labeled[known]:
                self._set(int(known), label)

    def copy(self) -> Pool:
        """The same rows, with labels of its own from here on."""
        twin = copy.copy(self)
        twin._labels, twin._is_labeled = dict(self._labels), self._is_labeled.copy()
        twin._is_open, twin._aside = self._is_open.copy(), self._aside.copy()
        return twin

    def leave_out(self, rows: Dataset) -> int:
        """Take rows whose inputs are among these out of what can be asked or trained on; how many they were."""
        out = np.isin(self._keys[self._distinct], content_keys(rows, self.task))
        if out.any():
            self._distinct, self._position_of = self._distinct[~out], None
        return int(out.sum())

    def __len__(self) -> int:
        return len(self.dataset)

    def __repr__(self) -> str:
        return f"Pool({len(self):,} rows, {len(self.labeled):,} labelled, {len(self.unlabeled):,} to ask)"

    @property
    def unlabeled(self) -> Positions:
        """[U] positions that can be chosen, ascending; of equal inputs only the first."""
        return self._distinct[~self._is_labeled[self._distinct] & self._is_open[self._distinct]]

    @property
    def labeled(self) -> Positions:
        """[L] positions that have a label to train on, ascending; of equal inputs only the first."""
        known = self._distinct[self._is_labeled[self._distinct]]
        return np.setdiff1d(known, self.reserve, assume_unique=True) if len(self.reserve) else known

    @property
    def audited(self) -> Positions:
        """Positions of the reserve that have a label, in the reserve's order."""
        return self.reserve[self._is_labeled[self.reserve]]

    @property
    def to_audit(self) -> Positions:
        """Positions of the reserve that can still be asked, in its order."""
        return self.reserve[~self._is_labeled[self.reserve] & ~self._aside[self.reserve]]

    def keep_reserve(self, positions: Positions) -> None:
        """Keep these rows out of choice and training."""
        self.reserve = positions
        self._is_open[positions] = False

    def set_aside(self, positions: Positions) -> None:
        """Never ask these rows (again): people could not tell."""
        self._aside[positions] = True
        self._is_open[positions] = False

    @property
    def duplicates(self) -> int:
        """How many rows are repeats of an earlier one."""
        return len(self) - len(np.unique(self._stands_for))

    def canonical(self, positions: Positions) -> Positions:
        """The same positions in an order that follows from the rows' contents, not from the data set's order."""
        return positions[np.argsort(self._rank[positions], kind="stable")]

    def ids(self, positions: Iterable[int] | Positions) -> list[str]:
        """The ids of these rows."""
        where = np.asarray(positions, dtype=np.int64)
        if self._ids is not None:
            return [str(value) for value in self._ids[where]]
        return [key.tobytes().hex() for key in self._keys[where]]

    def positions(self, ids: Sequence[str]) -> Positions:
        """Where the rows with these ids are.

        Raises:
            HfalError: an id that the pool does not have.
        """
        if self._position_of is None:
            self._position_of = dict(zip(self.ids(self._distinct), self._distinct.tolist(), strict=True))
        unknown = [name for name in ids if name not in self._position_of]
        if unknown:
            raise HfalError(f"the pool has no row with id {unknown[0]!r} ({count(len(unknown), 'unknown id')})")
        return np.array([self._position_of[name] for name in ids], dtype=np.int64)

    def inputs(self, positions: Positions) -> Dataset:
        """The input columns of these rows, in this order."""
        return self.dataset.select_columns(list(self.task.inputs)).select(positions)

    def lengths(self, positions: Positions) -> NDArray[np.int64]:
        """Words of each of these rows; for many, those of the whole pool are counted once and kept."""
        if self._lengths is None and len(positions) < len(self) // 10:
            return _count_words(self.inputs(positions), self.task)
        if self._lengths is None:
            self._lengths = _count_words(self.dataset, self.task)
        return self._lengths[positions]

    def label(self, labels: Mapping[int, Any]) -> None:
        """Record labels, as names or indices, by position. All are checked before any is recorded."""
        rows: Iterable[Any] = itertools.repeat(None)
        if self.task.checks_row:
            rows = self.inputs(np.fromiter(labels, dtype=np.int64))
        checked = {
            int(self._stands_for[position]): self.task.encode(label, f"row {position}", row)
            for (position, label), row in zip(labels.items(), rows, strict=False)
        }
        for position, value in checked.items():
            self._set(position, value)

    def _set(self, position: int, encoded: Any) -> None:
        self._labels[position] = encoded
        self._is_labeled[position] = True

    def label_of(self, position: int) -> Any | None:
        """The encoded label of a row, or of the row that stands for it; None where there is none."""
        return self._labels.get(int(self._stands_for[position]))

    def labels(self, positions: Iterable[int] | Positions) -> list[Any]:
        """The encoded labels of labelled rows."""
        return [self._labels[int(self._stands_for[position])] for position in positions]

    def training_set(self, positions: Positions | None = None) -> Dataset:
        """These rows (all that may be trained on, if not given): the input columns and `labels`, in canonical order.

        Each distinct input is there once.
        """
        positions = self.canonical(self.labeled if positions is None else positions)
        return with_labels(self.inputs(positions), self.labels(positions))

    def describe(self) -> dict[str, Any]:
        """What `pool.json` says of the rows and of the task's labels."""
        task = self.task
        return {
            "rows": len(self),
            "distinct_rows": len(self) - self.duplicates,
            "columns": self.dataset.column_names,
            "inputs": list(task.inputs),
            "label_names": list(task.names),
            "classes": list(task.classes),
            "task": task.name,
            "asks": task.asks,
            "scheme": getattr(task, "scheme", None),
            "main_metric": task.main_metric,
            "licence": self.dataset.info.license or None,
            "fingerprint": self.fingerprint(),
        }

    def fingerprint(self) -> str:
        """A hash of the rows' contents and ids that does not depend on their order."""
        digest = hashlib.blake2b(self._keys[self.canonical(self._distinct)].tobytes(), digest_size=16)
        if self._ids is not None:
            for name in self.ids(self.canonical(self._distinct)):
                digest.update(name.encode() + b"\0")
        return digest.hexdigest()


def _count_words(rows: Dataset, task: Task) -> NDArray[np.int64]:
    counts = [task.lengths(batch) for batch in rows.select_columns(list(task.inputs)).iter(BATCH)]
    return np.array(list(itertools.chain.from_iterable(counts)), dtype=np.int64)


def _read_ids(dataset: Dataset, column: str) -> NDArray[Any]:
    check_columns(dataset, [column])
    values = np.asarray(dataset.with_format("numpy")[column][:])
    if values.dtype.kind not in "iuUOT":
        raise HfalError(f"id column {column!r} must hold text or whole numbers, it holds {values.dtype}")
    missing = [row for row, value in enumerate(values) if value is None] if values.dtype.kind == "O" else []
    if missing:
        raise HfalError(f"id column {column!r}: row {missing[0]} has no id")
    if values.dtype.kind == "O":
        values = values.astype(str)
    unique, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    if len(unique) < len(values):
        twice = int(np.flatnonzero(counts > 1)[0])
        rows = np.flatnonzero(inverse.reshape(-1) == twice)[:2]
        raise HfalError(
            f"id column {column!r}: id {unique[twice]!s} is in row {rows[0]} and again in row {rows[1]}; "
            "ids must not repeat"
        )
    return values
