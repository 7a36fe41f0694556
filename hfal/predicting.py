"""Labels for new rows, from the last model of a run."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset

from hfal.config import Source
from hfal.data import load_source
from hfal.errors import HfalError, count
from hfal.learners import Learner
from hfal.learners.base import outputs_of
from hfal.report.view import RunView, open_run, task_of
from hfal.tables import check_kind, without_pictures, write_table
from hfal.tasks import Task
from hfal.tasks.labels import check_columns

logger = logging.getLogger("hfal")

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


def _predicted(learner: Learner, task: Task, rows: Dataset) -> tuple[list[Any], list[float | None]]:
    """The prediction and its probability for each row; None for those with nothing to read in them."""
    inputs = rows.select_columns(list(task.inputs))
    full = [at for at, problem in enumerate(task.empty(inputs[:])) if problem is None]
    predictions: list[Any] = [None] * len(rows)
    probabilities: list[float | None] = [None] * len(rows)
    if full:
        kept = rows.select(full)
        encoded, values = task.predict(outputs_of(learner, task, kept).outputs)
        for at, row, label, value in zip(full, kept.select_columns(list(task.inputs)), encoded, values, strict=True):
            predictions[at], probabilities[at] = task.present(row, label), float(value)
    return predictions, probabilities


def predict_file(folder: Path, source: str, output: Path | None, split: str = "train") -> int:
    """Write the rows of a source with `prediction` and `probability`; how many they were.

    Rows with nothing to read in them stay without a prediction, and are counted in a warning.

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
    rows = task.prepare(rows).select_columns(rows.column_names)
    predictions: list[Any] = []
    probabilities: list[float | None] = []
    for start in range(0, len(rows), CHUNK):
        part = rows.select(range(start, min(start + CHUNK, len(rows))))
        found, sure = _predicted(learner, task, part)
        predictions += found
        probabilities += sure
    silent = [at for at, probability in enumerate(probabilities) if probability is None]
    if silent:
        logger.warning(
            "%s without a prediction: nothing to read in them (the first, row %d)", count(len(silent), "row"), silent[0]
        )
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
