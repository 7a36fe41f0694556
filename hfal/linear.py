"""Multinomial logistic regression: what a frozen head is. Rows may be more than fit into memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ABSENT_WEIGHT = 0.1
"""Weight of the pseudo-row that stands for a class without labels: enough for a finite, low score."""

Batches = Callable[[], Iterator[tuple[Tensor, Tensor]]]
"""Each call goes over all rows again: features [B, D], classes [B] int64."""


Head = tuple[NDArray[np.float64], NDArray[np.float64], int]
"""Weights [C, D], biases [C], steps."""


def frequency_weights(counts: NDArray[Any], power: float) -> NDArray[np.float64]:
    """[C] weights of mean 1 over the rows: the inverse frequency of each class to a power (1 balances them)."""
    present = counts > 0
    inverse = counts.sum() / (present.sum() * np.maximum(counts, 1))
    weights: NDArray[np.float64] = np.where(present, inverse, 1.0) ** power
    weights *= counts.sum() / (weights * counts).sum()
    return weights


def fit_logistic(
    rows: NDArray[np.float64],
    targets: NDArray[np.int64],
    classes: int,
    C: float,  # noqa: N803 - scikit-learn's name
    power: float,
    row_weights: NDArray[np.float32] | None = None,
) -> Head:
    """scikit-learn's logistic regression over all C classes, whichever are present; for rows that are in memory.

    Args:
        rows: [N, D].
        targets: [N] classes.
        classes: C; one without rows gets a row of zeros of small weight.
        C: inverse strength of the penalty.
        power: of the inverse frequency by which classes are weighed.
        row_weights: [N] what each row counts beside that; 1 where it is not given.
    """
    from sklearn.linear_model import LogisticRegression

    weights = frequency_weights(np.bincount(targets, row_weights, minlength=classes), power)[targets]
    weights = weights if row_weights is None else weights * row_weights
    absent = np.setdiff1d(np.arange(classes), targets)
    rows = np.concatenate((rows, np.zeros((len(absent), rows.shape[1]))))
    targets = np.concatenate((targets, absent))
    weights = np.concatenate((weights, np.full(len(absent), ABSENT_WEIGHT)))
    fitted = LogisticRegression(C=C, max_iter=1000).fit(rows, targets, sample_weight=weights)
    steps = math.ceil(np.max(fitted.n_iter_))
    if classes == 2:  # scikit-learn keeps one row for two classes
        half = fitted.coef_[0] / 2, fitted.intercept_[0] / 2
        return np.stack((-half[0], half[0])), np.array((-half[1], half[1])), steps
    return fitted.coef_, fitted.intercept_, steps


def fit_softmax(
    batches: Batches,
    features: int,
    class_weights: NDArray[np.float64],
    C: float,  # noqa: N803 - scikit-learn's name
    most_steps: int = 300,
    prior: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
) -> Head:
    """Minimise `C sum_i w_i log-loss_i + |W - W0|^2 / 2` by L-BFGS, reading the rows batch by batch.

    The same objective as scikit-learn's `LogisticRegression(C)`; the bias is not penalised. A class whose
    weight is given but that no row has still needs a finite score: it gets one row of zeros of small weight.

    Args:
        batches: the rows, read once for each evaluation.
        features: D.
        class_weights: [C] weight of a row by its class.
        C: inverse strength of the penalty.
        most_steps: bound on the iterations.
        prior: W0 [C, D] and the biases [C] to start from; zeros where it is None.

    Returns:
        Weights [C, D], biases [C], iterations.
    """
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits

    classes = len(class_weights)
    weight_of = torch.from_numpy(class_weights).float()
    counts = np.zeros(classes, dtype=np.int64)
    for _, targets in batches():
        counts += np.bincount(targets.numpy(), minlength=classes)
    total = float((class_weights * counts).sum()) or 1.0
    absent = torch.from_numpy(np.flatnonzero(counts == 0))

    start = np.zeros((classes, features + 1))
    if prior is not None:
        start[:, :-1], start[:, -1] = prior
    known = torch.from_numpy(start)

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        parameters = torch.from_numpy(flat.reshape(classes, features + 1))
        weight, bias = parameters[:, :-1].float(), parameters[:, -1].float()
        loss, slope = 0.0, torch.zeros(classes, features + 1, dtype=torch.float64)
        for rows, targets in batches():
            weights = weight_of[targets]
            part, error = _cross_entropy(torch.addmm(bias, rows, weight.T), targets, weights)
            loss += part
            slope[:, :-1] += error.T @ rows
            slope[:, -1] += error.sum(0)
        if len(absent):
            weights = torch.full((len(absent),), ABSENT_WEIGHT)
            part, error = _cross_entropy(bias.expand(len(absent), -1), absent, weights)
            loss += part
            slope[:, -1] += error.sum(0)
        away = parameters[:, :-1] - known[:, :-1]
        slope[:, :-1] += away / C
        loss += float(away.square().sum()) / C / 2
        return loss / total, (slope / total).numpy().ravel()

    options = {"maxiter": most_steps, "gtol": 1e-4, "ftol": 1e-12}
    with threadpool_limits(1, user_api="blas"):  # scipy's threads and torch's would wait for each other
        found = minimize(objective, start.ravel(), jac=True, method="L-BFGS-B", options=options)
    solution = found.x.reshape(classes, features + 1)
    return solution[:, :-1], solution[:, -1], int(found.nit)


def f1_threshold(scores: NDArray[np.float64], found: NDArray[np.bool_]) -> float:
    """The cut above which rows should be taken for the class that is looked for, so that its F1 is largest.

    It lies half-way between the last score that is taken and the first that is not.

    Args:
        scores: [N] of rows that the scorer was not fitted on.
        found: [N] whether each is of the class; some are, some are not.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, right = scores[order], np.cumsum(found[order])
    f1 = 2 * right / (np.arange(1, len(order) + 1) + found.sum())
    f1[:-1][ranked[:-1] == ranked[1:]] = 0  # a cut cannot part equals
    last = int(f1.argmax())
    return float(ranked[last] - 1e-6 if last + 1 == len(order) else (ranked[last] + ranked[last + 1]) / 2)


def _cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor) -> tuple[float, Tensor]:
    """The weighted loss, summed, and its slope in the logits."""
    log_p = torch.log_softmax(logits, -1)
    loss = -(log_p.gather(1, targets[:, None])[:, 0] * weights).sum(dtype=torch.float64)
    error = log_p.exp()
    error[torch.arange(len(targets)), targets] -= 1
    return float(loss), error * weights[:, None]
