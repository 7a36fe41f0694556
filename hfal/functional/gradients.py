"""Picks in the space of the last layer's gradients, which is never formed."""

from __future__ import annotations

import torch
from torch import Tensor

from hfal.functional.checks import check_logits, check_size, check_weights, squared_norms
from hfal.functional.diversity import d2_sampling
from hfal.functional.select import top_k
from hfal.functional.spaces import GradientSpace


def badge(
    embeddings: Tensor,
    logits: Tensor,
    size: int,
    generator: torch.Generator | None = None,
    *,
    multi_label: bool = False,
    weights: Tensor | None = None,
) -> Tensor:
    """k-means++ picks among gradient embeddings (BADGE; Ash et al. 2020, algorithm 1).

    The gradient of the loss in the last layer, had the model's own prediction been the label, is the outer
    product of `a = p - onehot(argmax p)` and the layer's input h. Its distances need only inner products:
    `|a h' - b g'|^2 = |a|^2 |h|^2 + |b|^2 |g|^2 - 2 (a.b)(h.g)`, so memory is [N, D + C], not [N, D * C].
    The first pick is the longest gradient, as in the authors' code; the others are drawn with probability
    proportional to the squared distance to the nearest pick.

    Args:
        embeddings: [N, D] the last layer's input.
        logits: [N, C] its output, C >= 2 (C >= 1 with `multi_label`).
        size: rows wanted; all N where there are fewer.
        generator: draws the picks.
        multi_label: the C outputs are independent yes/no decisions: `a = sigmoid(z) - [z > 0]`.
        weights: [N] above 0, by which the probability of a row is multiplied.

    Returns:
        [min(size, N)] int64 positions in order of choice, without repeats.

    Raises:
        ValueError: shapes that do not fit, one class, or a value that is not finite.
    """
    space = GradientSpace(embeddings, logits, multi_label=multi_label)
    norms = space.norms
    size = min(check_size(size), len(embeddings))
    if size == 0:
        return torch.empty(0, dtype=torch.int64)
    weights = check_weights(weights, len(embeddings))
    first = int(top_k(norms if weights is None else norms * weights, 1, generator))
    return d2_sampling(first, space.distances_to, size, generator, weights)


def expected_gradient_length(features: Tensor, logits: Tensor, *, multi_label: bool = False) -> Tensor:
    """How long the last layer's gradient would be, in the mean over the labels the row may have.

    `sum_y p_y |(p - e_y) h'| = |h| sum_y p_y sqrt(|p|^2 - 2 p_y + 1)` (Settles et al. 2008, eq. 7, for a linear layer).

    Args:
        features: [N, D] the last layer's input h.
        logits: [N, C] its output.
        multi_label: the C outputs are independent yes/no decisions: the mean of their `2 p (1 - p) |h|`.

    Returns:
        [N] float32, 0 or more.

    Raises:
        ValueError: shapes that do not fit, one class, or a value that is not finite.
    """
    lengths = squared_norms(features, "features").sqrt()
    if len(logits) != len(features):
        raise ValueError(f"{len(features)} rows of features but {len(logits)} rows of logits")
    if multi_label:
        check_logits(torch.stack((torch.zeros_like(logits), logits), -1))
        yes = torch.sigmoid(logits.float())
        return lengths * (2 * yes * (1 - yes)).mean(-1)
    p = torch.softmax(check_logits(logits), -1)
    apart = (p.square().sum(-1, keepdim=True) - 2 * p + 1).clamp_min(0).sqrt()
    return lengths * (p * apart).sum(-1)


def boundary_step(logits: Tensor, weight: Tensor) -> Tensor:
    """The smallest change of a linear layer's input that brings its output to the nearest boundary.

    `(z_y - z_c) / |w_c - w_y|^2 (w_c - w_y)` for the class c for which that is shortest, y being the predicted class
    (Moosavi-Dezfooli et al. 2016, eq. 7).

    Args:
        logits: [N, C] the layer's output.
        weight: [C, D].

    Returns:
        [N, D] in the type of `weight`.
    """
    gaps, apart, label = _gaps(logits.to(weight.dtype), weight)
    other = (gaps / apart).argmin(1)
    rows = torch.arange(len(logits))
    step = gaps[rows, other] / apart[rows, other].square()
    return step[:, None] * (weight[other] - weight[label])


def _gaps(logits: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How far each class is behind the predicted one [N, C] (infinite for itself), its weights' distance, the class."""
    label = logits.argmax(-1)
    gaps = logits.gather(1, label[:, None]) - logits
    apart = torch.cdist(weight, weight)[label].clamp_min(1e-12)
    return gaps.scatter(1, label[:, None], torch.inf), apart, label


def boundary_distance(logits: Tensor, weight: Tensor, *, multi_label: bool = False) -> Tensor:
    """Distance to the nearest boundary of a linear layer, in the space of its input.

    `min_c |z_c - z_y| / |w_c - w_y|` with y the predicted class (Moosavi-Dezfooli et al. 2016, eq. 6).

    Args:
        logits: [N, C] its output.
        weight: [C, D].
        multi_label: the C outputs are independent: `min_c |z_c| / |w_c|`.

    Returns:
        [N] float32, 0 or more.
    """
    if multi_label:
        lengths: Tensor = torch.linalg.vector_norm(weight.float(), dim=1).clamp_min(1e-12)
        return (logits.float().abs() / lengths).amin(1)
    gaps, apart, _ = _gaps(check_logits(logits), weight.float())
    return (gaps / apart).amin(1)
