"""Rows that never enter the pool: those that are measured on, and those of another set that is learned before."""

from __future__ import annotations

import logging

import numpy as np
from datasets import Dataset

from hfal.errors import HfalError, count
from hfal.learners.base import Learner
from hfal.pool import Pool, content_keys, labelled
from hfal.tasks.base import Task

logger = logging.getLogger("hfal")


def held_out(rows: Dataset, pool: Pool, what: str) -> Dataset:
    """Rows with encoded `labels`, whose duplicates leave the pool.

    Raises:
        HfalError: of what is looked for none of them has any.
    """
    rows = rows if "labels" in rows.column_names else labelled(rows, pool.task, what)
    absent = pool.task.absent(rows["labels"])
    if absent is not None:
        raise HfalError(f"{what}: there is no {absent} in its {count(len(rows), 'row')}: every score would be 0")
    shared = pool.leave_out(rows)
    if shared:
        logger.warning("pool: %s left out: the same input is in %s", count(shared, "row"), what)
    return rows


def learned_before(rows: Dataset, task: Task, learner: Learner, test: Dataset | None) -> Dataset:
    """The set that a learner has learned before, without what is measured on.

    Raises:
        HfalError: this learner cannot.
    """
    rows = rows if "labels" in rows.column_names else labelled(rows, task, "transfer")
    if test is not None:
        keys, measured = (content_keys(part, task) for part in (rows, test))
        rows, before = rows.select(np.flatnonzero(~np.isin(keys, measured))), len(rows)
        if len(rows) < before:
            logger.warning("transfer: %s left out: also in test", count(before - len(rows), "row"))
    learn = getattr(learner, "learn_source", None)
    if learn is None:
        raise HfalError(f"transfer: {type(learner).__name__} cannot learn another set first")
    learn(rows)
    return rows
