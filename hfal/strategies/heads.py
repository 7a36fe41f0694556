"""Linear heads on what is labelled, for strategies that ask what the model is worth on rows it has not seen."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hfal.linear import fit_softmax
from hfal.strategies.base import Context

FOLDS = 5
STRENGTH = 10.0
"""C of the heads, as FrozenHead's."""


def fit_head(features: Tensor, targets: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Weights [C, D] and biases [C] of a softmax regression; of one for each label, where targets are [L, C].

    The penalty is on features with mean 0 and mean squared length 1, whatever theirs are.
    """
    if targets.ndim == 2:
        pairs = [fit_head(features, targets[:, label].long(), 2) for label in range(targets.shape[1])]
        return torch.stack([w[1] - w[0] for w, _ in pairs]), torch.stack([b[1] - b[0] for _, b in pairs])
    mean = features.mean(0)
    scale = float((features - mean).square().sum(1).mean().sqrt()) or 1.0
    rows = (features - mean) / scale
    weight, bias, _ = fit_softmax(lambda: iter([(rows, targets)]), rows.shape[1], np.ones(classes), STRENGTH)
    head = torch.from_numpy(weight).float() / scale
    return head, torch.from_numpy(bias).float() - head @ mean


def cross_fitted(features: Tensor, targets: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """[L, C] logits of each labelled row by a head that has not seen it.

    Args:
        features: [L, D].
        targets: [L] classes, or [L, C] of 0 and 1.
        classes: C.
        generator: draws the folds.
    """
    rows, logits = len(features), torch.zeros(len(features), classes)
    fold = torch.arange(rows)[torch.randperm(rows, generator=generator)] % min(FOLDS, max(2, rows))
    for part in range(int(fold.max()) + 1 if rows else 0):
        out = fold == part
        if bool(out.all()):
            continue
        weight, bias = fit_head(features[~out], targets[~out], classes)
        logits[out] = features[out] @ weight.T + bias
    return logits


def losses_of(logits: Tensor, targets: Tensor) -> Tensor:
    """[L] cross entropy, or the mean binary cross entropy over labels."""
    if targets.ndim == 2:
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(-1)
    return torch.nn.functional.cross_entropy(logits, targets, reduction="none")


def cross_fitted_accuracy(context: Context) -> float | None:
    """How often a head on the labelled rows' features is right about those it has not seen; None with too few rows."""
    targets = context.targets
    if len(targets) < 2 * FOLDS:
        return None
    logits = cross_fitted(context.labeled.get("features").float(), targets, context.num_classes, context.generator)
    right = (logits > 0).float() == targets if targets.ndim == 2 else logits.argmax(-1) == targets
    return min(0.999, max(0.5 / context.num_classes + 0.01, float(right.float().mean())))
