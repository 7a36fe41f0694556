"""Labels for new rows, from the last model of a run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa

from hfal.config import Source
from hfal.data import load_source
from hfal.errors import HfalError
from hfal.learners import Learner
from hfal.learners.base import outputs_of
from hfal.report.view import RunView, open_run, task_of
from hfal.tables import check_kind, without_pictures, write_table
from hfal.tasks import Task
from hfal.tasks.labels import check_columns

CHUNK = 20_000


def last_model(run: RunView) -> tuple[Learner, Task]:
    """The learner of a run with its last model, and the run's task.

    Raises:
        HfalError: the run has no model yet.
    """
    config, task = run.settings, task_of(run)
    learner = config.learner.build()
    folder = run.folder / "model"
    if run.final is not None:
        learner = config.learner.build().last()  # type: ignore[attr-defined]
        folder = run.folder / "final"
    if not (folder / "config.json").exists():
        raise HfalError(f"{run.folder} has no trained model yet: `hfal run` trains one")
    learner.bind(task, config.seed)
    learner.load(folder)
    return learner, task


def predict_file(folder: Path, source: str, output: Path | None, split: str = "train") -> int:
    """Write the rows of a source with `prediction` and `probability`; how many they were.

    Args:
        folder: a run folder.
        source: anything that can be a pool.
        output: .csv, .jsonl or .parquet; JSON lines to standard output where it is not given.
        split: of a Hub data set or folder.

    Raises:
        HfalError: no model, no such column, a kind of file that cannot be written.
    """
    if output is not None:
        check_kind(output)
        if output.resolve() == Path(source).resolve():
            raise HfalError(f"{output} is the file that is read: choose another --output")
    learner, task = last_model(open_run(folder))
    rows = load_source(Source(source=source, split=split))
    check_columns(rows, task.inputs)
    rows = task.prepare(rows)
    predictions: list[Any] = []
    probabilities: list[float] = []
    for start in range(0, len(rows), CHUNK):
        part = rows.select(range(start, min(start + CHUNK, len(rows))))
        seen = outputs_of(learner, task, part)
        encoded, values = task.predict(seen.outputs)
        inputs = part.select_columns(list(task.inputs))
        predictions.extend(task.present(row, label) for row, label in zip(inputs, encoded, strict=True))
        probabilities.extend(values.tolist())
    table: pa.Table = rows.data.table if rows._indices is None else rows.flatten_indices().data.table
    table = without_pictures(table)
    for name, column in (
        ("prediction", pa.array(predictions, task.arrow_prediction)),
        ("probability", pa.array(probabilities, pa.float32())),
    ):
        if name in table.column_names:
            table = table.drop_columns([name])
        table = table.append_column(name, column)
    if output is None:
        for row in table.to_pylist():
            sys.stdout.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
    else:
        write_table(table, output)
    return len(rows)
