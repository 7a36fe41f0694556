"""Rows whose label is known, mixed into everybody's work, to see how well each person labels."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset

from hfal.agreement import alike
from hfal.answers import Answers
from hfal.config import Source
from hfal.data import load_source
from hfal.errors import HfalError
from hfal.files import write_parquet
from hfal.pictures import stored
from hfal.pool import content_keys, encoded
from hfal.report.view import RunView, task_of
from hfal.tasks import Task

FOLDER = "gold"
LOOK = {"audit": True, "predicted": None, "probability": None, "score": None, "strategy": "gold"}
"""On the page they look as audited rows do."""
EVERY = 20
"""Rows of the round that a person answers between two gold rows."""


class Gold:
    """The gold set of a run: `gold/gold.parquet`, and what people said of its rows.

    Args:
        run: the run.
    """

    def __init__(self, run: RunView) -> None:
        self.folder = run.folder / FOLDER
        self.task: Task = task_of(run)
        path = self.folder / "gold.parquet"
        self.rows: dict[str, dict[str, Any]] = {}
        if path.exists():
            self.rows = {row["id"]: row | LOOK for row in pq.read_table(path).to_pylist()}
        self.answers = Answers(self.folder)

    def keep(self, path: str | Path) -> int:
        """Take the gold set from a file with the task's inputs and labels; how many rows it has.

        Raises:
            HfalError: the file cannot be read, a label is missing or wrong.
        """
        task = self.task
        rows = task.prepare(load_source(Source(source=str(path))))
        if task.label not in rows.column_names:
            raise HfalError(f"{path}: no column {task.label!r} with the labels that are right")
        labels = [task.decode(label) for label in encoded(rows, task, task.label, str(path))]
        # Other ids than in the pool: a row may be in both.
        names = [f"gold{key.tobytes().hex()[:28]}" for key in content_keys(rows, task)]
        table = _table(rows, task, names, labels)
        write_parquet(self.folder / "gold.parquet", table)
        self.rows = {row["id"]: row | LOOK for row in table.to_pylist()}
        return len(self.rows)

    def next(self, seen: set[str], answered: int) -> str | None:
        """The gold row that a person is to see now, if any.

        Args:
            seen: gold rows that they have answered.
            answered: how many rows of rounds they have.
        """
        if len(seen) >= answered // EVERY:
            return None
        return next((name for name in self.rows if name not in seen), None)

    def scores(self) -> dict[str, tuple[float, int]]:
        """Of each person, the share of right labels (of words: of tags), and of how many rows."""
        right: dict[str, list[float]] = defaultdict(list)
        for name, people in self.answers.current().items():
            for who, answer in people.items():
                if name in self.rows and not answer.skipped:
                    right[who].append(alike(self.task, answer.label, self.rows[name]["label"]))
        return {who: (float(np.mean(shares)), len(shares)) for who, shares in sorted(right.items())}


def _table(rows: Dataset, task: Task, names: list[str], labels: list[Any]) -> pa.Table:
    columns = {"id": pa.array(names, pa.string()), "label": pa.array(labels, task.arrow_label)}
    for name in task.inputs:
        columns[name] = pa.array([stored(value) for value in rows[name]])
    _, first = np.unique(names, return_index=True)
    return pa.table(columns).take(np.sort(first))
