"""The shape of a learner."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel

from hfal.pool import Pool
from hfal.signals import Needs, Signals
from hfal.tasks.base import Task
from hfal.training_config import FitReport


class Learner(Protocol):
    """Trains on what is labelled; yields signals for what is not.

    A learner is bound to one task, seed and cache folder before it is used. What it computes follows from
    the seed, the labels and the model alone.
    """

    @property
    def model(self) -> PreTrainedModel:
        """The last model trained, for transformers to use and save."""
        ...

    def bind(self, task: Task, seed: int, cache: Path | None = None) -> None:
        """Say what is to be learned, from which seed, and where intermediate results may be kept."""
        ...

    def fit(self, train: Dataset, validation: Dataset | None = None) -> FitReport:
        """Train from the pretrained weights on rows with the task's inputs and encoded `labels`.

        Raises:
            HfalError: the loss is not finite; the model of the last good fit is kept.
        """
        ...

    def signals(self, rows: Dataset, needs: Needs) -> Signals:
        """One pass: `needs.pool` and `needs.reduce` for these rows, numbered 0 … N-1.

        Before the first fit only embeddings can be asked for.
        """
        ...

    def evaluate(self, rows: Dataset) -> dict[str, Any]:
        """The task's metrics on rows with encoded `labels`."""
        ...

    def save(self, folder: Path) -> None:
        """Write the model by `save_pretrained`, with its tokenizer."""
        ...

    def load(self, folder: Path) -> None:
        """Take up a model that `save` wrote."""
        ...

    def describe(self) -> dict[str, Any]:
        """The learner as configuration."""
        ...


def prepare(learner: Learner, pool: Pool) -> dict[str, Any]:
    """Let a learner that wants to (`read_pool`) read all texts of the pool before anything is labelled.

    Returns:
        What that took, if anything was done.
    """
    read = getattr(learner, "read_pool", None)
    found: dict[str, Any] = {} if read is None else read(pool.inputs(pool.canonical(np.arange(len(pool)))))
    return found


def fit(learner: Learner, pool: Pool, validation: Dataset | None) -> FitReport:
    """Train on what is labelled, and give a learner that reads them (`reads_unlabeled`) the other rows too."""
    if not getattr(learner, "reads_unlabeled", False):
        return learner.fit(pool.training_set(), validation)
    others = pool.inputs(pool.canonical(pool.unlabeled))
    return learner.fit(pool.training_set(), validation, unlabeled=others)  # type: ignore[call-arg]


def evaluate(learner: Learner, task: Task, rows: Dataset) -> dict[str, Any]:
    """The task's metrics on rows with encoded `labels`, from one pass."""
    return task.metrics(outputs_of(learner, task, rows).outputs, rows["labels"])


def outputs_of(learner: Learner, task: Task, rows: Dataset) -> Signals:
    """The model's logits of these rows, by row or by word as the task has it, from one pass."""
    return learner.signals(rows, Needs(pool=getattr(learner, "output_fields", task.output_fields), units=unit_of(task)))


def unit_of(task: Task) -> frozenset[str]:
    """What has an output of the model."""
    return task.yields & {"word", "row", "text"}
