"""What a frozen head learns: weights of a linear layer over features that are computed once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hfal.errors import HfalError
from hfal.folds import folds_of
from hfal.functional import Ragged, boundary_step
from hfal.linear import Batches, Head, f1_threshold, fit_logistic, fit_softmax, frequency_weights
from hfal.tasks.base import Task, one_of_several

OVERSHOOT = 0.02
"""How far over the boundary a row's twin lies, as a share of the way."""
FOLDS = 5
"""Parts of the labels that take turns to say where the threshold should be."""

WORD_POWER = 0.25
"""Where most words are outside of any entity, classes are weighed by their inverse frequency to this power."""

Array = NDArray[np.float64]


def usual_power(task: Task) -> float:
    """Power of the inverse frequency by which classes are weighed where nothing is said.

    One label of several is balanced; a threshold does it where one class of two is looked for.
    """
    if task.per_word:
        return WORD_POWER
    return 1.0 if one_of_several(task) else 0.0


def put_head(layer: nn.Linear, weight: Array, bias: Array) -> None:
    """Give a layer the weights [C, D] and biases [C] that were fitted.

    Raises:
        HfalError: they are not finite; the layer stays as it was.
    """
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise HfalError("the head's weights are not finite after fitting")
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))


@dataclass(frozen=True)
class HeadFitter:
    """How a head is fitted.

    Attributes:
        task: what its outputs are.
        C: inverse strength of the penalty.
        power: of the inverse frequency by which classes are weighed.
        twins: train on each row's adversarial twin too.
        threshold: of a task that looks for one class of two, put the decision where its F1 is best.
        seed: of the folds.
        prior: weights and biases that the penalty pulls towards, from a source set; zeros where it is None.
    """

    task: Task
    C: float
    power: float
    twins: bool = False
    threshold: bool = False
    seed: int = 0
    prior: tuple[Array, Array] | None = None

    def rows(self, features: Array, targets: Tensor, row_weights: NDArray[np.float32] | None = None) -> Head:
        """A head over rows.

        Args:
            features: [N, D].
            targets: [N] classes, or [N, C] of 0 and 1.
            row_weights: [N] what each row counts, where they have one label; 1 where it is not given.
        """
        classes = len(self.task.names)
        if self.task.multi_label:
            each = (targets[:, c].numpy().astype(int) for c in range(classes))
            heads = [fit_logistic(features, yes, 2, self.C, self.power) for yes in each]
            weight = np.stack([w[1] - w[0] for w, _, _ in heads])
            bias = np.array([b[1] - b[0] for _, b, _ in heads])
            return weight, bias, max(n for _, _, n in heads)
        labels = targets.numpy()
        weight, bias, steps = self._classes(features, labels, row_weights)
        sought = getattr(self.task, "sought", None)
        if self.threshold and sought is not None and classes == 2:
            own = np.ones(len(labels), dtype=bool) if row_weights is None else row_weights == 1
            shift = self._shift(features[own], labels[own] == sought)
            bias = bias + np.where(np.arange(2) == sought, -shift / 2, shift / 2)
        return weight, bias, steps

    def _classes(
        self, features: Array, labels: NDArray[np.int64], row_weights: NDArray[np.float32] | None = None
    ) -> Head:
        classes = len(self.task.names)
        if self.prior is not None:
            if row_weights is not None:
                raise HfalError("learner.pseudo_labels does not go with transfer on a frozen head")
            return self._from_prior(features, labels, self.prior)
        fitted = fit_logistic(features, labels, classes, self.C, self.power, row_weights)
        if not self.twins:
            return fitted
        way = boundary_step(torch.from_numpy(features @ fitted[0].T + fitted[1]), torch.from_numpy(fitted[0]))
        both = np.concatenate((features, features + (1 + OVERSHOOT) * way.numpy()))
        twice = None if row_weights is None else np.tile(row_weights, 2)
        return fit_logistic(both, np.tile(labels, 2), classes, self.C, self.power, twice)

    def _from_prior(self, features: Array, labels: NDArray[np.int64], prior: tuple[Array, Array]) -> Head:
        weights = frequency_weights(np.bincount(labels, minlength=len(self.task.names)), self.power)
        held = [(torch.from_numpy(features).float(), torch.from_numpy(labels))]
        return fit_softmax(lambda: iter(held), features.shape[1], weights, self.C, prior=prior)

    def _shift(self, features: Array, found: NDArray[np.bool_]) -> float:
        """Where the difference of the logits should be cut, told by heads that have not seen the row."""
        rarer = int(min(found.sum(), (~found).sum()))
        if rarer < 2:
            return 0.0
        folds = min(FOLDS, rarer)
        part = folds_of(found.astype(np.int64), folds, self.seed)
        scores = np.empty(len(found))
        for fold in range(folds):
            out = part == fold
            weight, bias, _ = self._classes(features[~out], found[~out].astype(np.int64))
            scores[out] = features[out] @ (weight[1] - weight[0]) + (bias[1] - bias[0])
        return f1_threshold(scores, found)

    def words(self, read: Batches, targets: Ragged, dimensions: int) -> Head:
        """A head over words, which are read anew for each step."""
        counts = np.bincount(targets.values.numpy(), minlength=len(self.task.names))
        return fit_softmax(read, dimensions, frequency_weights(counts, self.power), self.C)
