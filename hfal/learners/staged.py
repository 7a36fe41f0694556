"""Training in stages: labels that are likely wrong left out, and then rows that the model is sure of taken in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from datasets import Dataset, concatenate_datasets
from numpy.typing import NDArray
from torch import Tensor

from hfal.compute import generator_for
from hfal.errors import HfalError
from hfal.few import CleanLabels, FewLabels, PseudoLabels
from hfal.folds import folds_of
from hfal.functional import falling_threshold, surest
from hfal.pool import with_labels
from hfal.tasks.base import Task
from hfal.training_config import FitReport

Once = Callable[[Dataset, NDArray[np.float32] | None], FitReport]
"""Trains anew on rows with labels, and a weight for each where some count for less."""
Judge = Callable[[Dataset], Tensor]
"""[N, C] logits of the model that was trained last."""


def fit_in_stages(
    few: FewLabels, task: Task, seed: int, train: Dataset, unlabeled: Dataset | None, once: Once, judge: Judge
) -> FitReport:
    """Train as the options say.

    Args:
        few: the options.
        task: of the labels.
        seed: of folds and draws.
        train: rows with encoded `labels`.
        unlabeled: the rest of the pool, where an option reads it.
        once: trains.
        judge: gives the logits of what it trained.
    """
    details: dict[str, Any] = {}
    if few.clean_labels is not None:
        wrong = doubtful(few.clean_labels, task, seed, train, once, judge)
        details["labels_left_out"] = len(wrong)
        train = train.select(np.setdiff1d(np.arange(len(train)), wrong))
    report = once(train, None)
    if few.pseudo_labels is not None and unlabeled is not None and len(unlabeled):
        more = pseudo_labelled(few.pseudo_labels, task, seed, train, unlabeled, judge)
        details["pseudo_labels"] = 0 if more is None else len(more)
        if more is not None:
            weights = np.ones(len(train) + len(more), dtype=np.float32)
            weights[len(train) :] = few.pseudo_labels.weight
            inputs = [*task.inputs, "labels"]
            report = once(concatenate_datasets([part.select_columns(inputs) for part in (train, more)]), weights)
    return replace(report, details=report.details | details) if details else report


def pseudo_labelled(
    settings: PseudoLabels, task: Task, seed: int, train: Dataset, unlabeled: Dataset, judge: Judge
) -> Dataset | None:
    """The rows that the model is sure of, with its classes as `labels`; None where there are none."""
    if len(unlabeled) > settings.most_rows:
        generator = generator_for("pseudo", seed, len(train))
        drawn = torch.randperm(len(unlabeled), generator=generator)[: settings.most_rows]
        unlabeled = unlabeled.select(np.sort(drawn.numpy()))
    threshold = falling_threshold(settings.threshold, settings.fall, settings.floor, len(train))
    known = torch.bincount(torch.as_tensor(train["labels"]), minlength=len(task.names))
    rows, classes = surest(judge(unlabeled).softmax(1), threshold, (known * settings.ratio).ceil().long())
    return with_labels(unlabeled.select(rows.numpy()), classes.tolist()) if len(rows) else None


def doubtful(
    settings: CleanLabels, task: Task, seed: int, train: Dataset, once: Once, judge: Judge
) -> NDArray[np.int64]:
    """The rows whose label is likely wrong, as models judge that have not seen them (cleanlab, pruned by noise rate).

    Where a class has fewer labels than there are folds, there is too little to judge by, and none is left out.
    """
    labels = np.asarray(train["labels"])
    present = np.unique(labels)
    if np.bincount(labels)[present].min() < settings.folds or len(present) < 2:
        return np.empty(0, dtype=np.int64)

    def trained(rows: Dataset) -> Judge:
        once(rows, None)
        return judge

    logits = unseen(train, folds_of(labels, settings.folds, seed), trained)
    probabilities = logits[:, torch.from_numpy(present)].double().softmax(1).numpy()
    ranked = _issues(np.searchsorted(present, labels), probabilities)
    return np.sort(ranked[: int(settings.most * len(labels))])


def unseen(train: Dataset, fold: NDArray[np.int64], trained: Callable[[Dataset], Judge]) -> Tensor:
    """[N, C] logits of each row by a model that was trained on the other folds."""
    found: dict[int, Tensor] = {}
    for number in np.unique(fold):
        judge = trained(train.select(np.flatnonzero(fold != number)))
        held = np.flatnonzero(fold == number)
        found.update(zip(held.tolist(), judge(train.select(held)), strict=True))
    return torch.stack([found[row] for row in range(len(train))])


def grown(sizes: Sequence[Any], train: Dataset, folds: int, seed: int, once: Callable[[Any, Dataset], Judge]) -> Any:
    """The size whose models judge rows best that they have not seen: the first that is not beaten by the next larger.

    Args:
        sizes: from the smallest to the largest.
        train: rows with encoded `labels`.
        folds: parts of the labels that take turns.
        seed: of the folds.
        once: trains a model of a size on rows, and gives what judges others.
    """
    labels = np.asarray(train["labels"])
    fold = folds_of(labels, folds, seed)

    def loss(size: Any) -> float:
        logits = unseen(train, fold, lambda rows: once(size, rows))
        return float(torch.nn.functional.cross_entropy(logits.double(), torch.from_numpy(labels)))

    if len(np.unique(fold)) < 2:
        return sizes[0]
    best, least = sizes[0], loss(sizes[0])
    for size in sizes[1:]:
        found = loss(size)
        if found >= least:
            break
        best, least = size, found
    return best


def _issues(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rows whose label is likely wrong, the likeliest first."""
    try:
        from cleanlab.filter import find_label_issues
    except ImportError as error:
        raise HfalError("learner.clean_labels needs cleanlab: pip install 'hfal[noise]'") from error
    found = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    return np.asarray(found, dtype=np.int64)
