"""Pairs worth comparing, out of two tables: the nearest rows by embedding. (Comparing all would be N x M.)"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset
from numpy.typing import NDArray

from hfal.config import Source
from hfal.data import load_source
from hfal.errors import HfalError, listing
from hfal.neighbours import Neighbours
from hfal.reading import text_store
from hfal.sides import SIDE
from hfal.tables import check_kind, write_table
from hfal.tasks.labels import check_columns

MATCH = ("left_id", "right_id")
"""The columns of known matches."""


@dataclass(frozen=True)
class Table:
    """Rows of one side as texts, and the ids by which they are known."""

    texts: list[str]
    ids: list[str]


@dataclass(frozen=True)
class Candidates:
    """Pairs that are near each other.

    Attributes:
        left: [P] row of the left table.
        right: [P] row of the right table.
        similarity: [P] cosine of their embeddings.
        rank: [P] 0 for the nearest of a left row.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    similarity: NDArray[np.float32]
    rank: NDArray[np.int64]

    def recall(self, matches: NDArray[np.int64]) -> list[float]:
        """For k = 1, 2, …, the share of known matches that are among the k nearest of their left row.

        Args:
            matches: [M, 2] rows of the left and of the right table.
        """
        rank_of = {
            (a, b): r for a, b, r in zip(self.left.tolist(), self.right.tolist(), self.rank.tolist(), strict=True)
        }
        ranks = np.array([rank_of.get((a, b), np.inf) for a, b in matches.tolist()])
        most = int(self.rank.max()) + 1 if len(self.rank) else 0
        return [float((ranks < k).mean()) for k in range(1, most + 1)]


def table_of(rows: Dataset, what: str, columns: Sequence[str] = (), id_column: str | None = None) -> Table:
    """The texts and ids of a table.

    Args:
        rows: of one side.
        what: the side, for errors.
        columns: that make the text, all of text where none are named; several are written "column: value".
        id_column: of its ids; the number of the row where it is not given and there is no column "id".

    Raises:
        HfalError: no such column, a repeated id, no text.
    """
    check_columns(rows, [*columns, *([id_column] if id_column else [])])
    id_column = id_column or ("id" if "id" in rows.column_names else None)
    named = list(columns) or [
        name
        for name, feature in rows.features.items()
        if "string" in getattr(feature, "dtype", "") and name != id_column
    ]
    if not named:
        raise HfalError(f"{what}: no column holds text; it has: {listing(rows.column_names)}")
    ids = [str(n) for n in range(len(rows))] if id_column is None else [str(value) for value in rows[id_column]]
    if len(set(ids)) < len(ids):
        twice = next(name for name, times in Counter(ids).items() if times > 1)
        raise HfalError(f"{what}: the id {twice!r} is there more than once")
    texts = [_text(row, named) for row in rows.select_columns(named)]
    empty = next((at for at, text in enumerate(texts) if not text), None)
    if empty is not None:
        raise HfalError(f"{what}: row {empty} has no text in {listing(named)}: leave it out, or name other columns")
    return Table(texts, ids)


def _text(row: dict[str, Any], columns: Sequence[str]) -> str:
    said = {name: str(row[name]).strip() for name in columns if row[name] is not None and str(row[name]).strip()}
    return next(iter(said.values()), "") if len(columns) == 1 else " ".join(f"{k}: {v}" for k, v in said.items())


def find_candidates(left: Table, right: Table, model: str, neighbours: int, *, cache: Path | None = None) -> Candidates:
    """The nearest rows of the right table for each row of the left; of one table with itself, each pair once.

    Args:
        left: whose rows are looked up.
        right: among which they are looked up; the same object to look for duplicates in one table.
        model: an encoder.
        neighbours: how many for each row.
        cache: folder for embeddings.
    """
    store = text_store(model, cache)
    ours, theirs = (
        store.gather(store.slots(Dataset.from_dict({SIDE.text: table.texts}))).numpy() for table in (left, right)
    )
    same = left is right
    index = Neighbours.build(theirs, np.arange(len(theirs)))
    found, cosines = index.nearest(ours, neighbours + same)
    rows = np.repeat(np.arange(len(ours)), found.shape[1])
    others, near = found.ravel(), cosines.ravel()
    keep = others >= 0
    if same:
        keep &= others != rows
    rank = _ranks(keep.reshape(found.shape))
    keep &= rank < neighbours
    rows, others, near, rank = rows[keep], others[keep], near[keep], rank[keep]
    if same:  # a pair is one, whichever of the two it was found from
        pairs = np.sort(np.stack((rows, others), 1), 1)
        _, first = np.unique(pairs, axis=0, return_index=True)
        rows, others, near, rank = pairs[first, 0], pairs[first, 1], near[first], rank[first]
    return Candidates(rows, others, near, rank)


def _ranks(keep: NDArray[np.bool_]) -> NDArray[np.int64]:
    ranks: NDArray[np.int64] = (np.cumsum(keep, 1) - 1).ravel()
    return ranks


def known_matches(path: str, left: Table, right: Table) -> NDArray[np.int64]:
    """[M, 2] rows of the matches that a file names by `left_id` and `right_id`.

    Raises:
        HfalError: a column is missing, or an id that a table does not have; the row is named.
    """
    rows = load_source(Source(source=path))
    check_columns(rows, MATCH)
    where = [{name: at for at, name in enumerate(table.ids)} for table in (left, right)]
    found = np.empty((len(rows), 2), dtype=np.int64)
    for column, name in enumerate(MATCH):
        for at, value in enumerate(rows[name]):
            if str(value) not in where[column]:
                raise HfalError(f"{path}, row {at}: {name} {value!r} is not in the {name[:-3]} table")
            found[at, column] = where[column][str(value)]
    return np.sort(found, 1) if left is right else found


def write_candidates(found: Candidates, left: Table, right: Table, path: Path) -> None:
    """The pairs as a table: left, right, their ids, how near they are. It can be the pool of `task: {type: pairs}`."""
    check_kind(path)
    columns = {
        "id": [f"{left.ids[a]}|{right.ids[b]}" for a, b in zip(found.left, found.right, strict=True)],
        "left": [left.texts[at] for at in found.left],
        "right": [right.texts[at] for at in found.right],
        "left_id": [left.ids[at] for at in found.left],
        "right_id": [right.ids[at] for at in found.right],
        "similarity": found.similarity,
    }
    write_table(pa.table(columns), path)
