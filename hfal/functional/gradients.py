"""Picks in the space of the last layer's gradients, which is never formed."""

from __future__ import annotations

import torch
from torch import Tensor

from hfal.functional.checks import check_logits, check_size, check_weights, inner_products, squared_norms
from hfal.functional.diversity import d2_sampling
from hfal.functional.select import top_k


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
    hidden_norms = squared_norms(embeddings)
    if len(logits) != len(embeddings):
        raise ValueError(f"{len(embeddings)} rows of embeddings but {len(logits)} rows of logits")
    factors = gradient_factors(logits, multi_label=multi_label)
    norms = squared_norms(factors, "logits") * hidden_norms
    size = min(check_size(size), len(embeddings))
    if size == 0:
        return torch.empty(0, dtype=torch.int64)

    def distance_to(row: int) -> Tensor:
        shared = inner_products(embeddings, embeddings[row]).mul_(factors @ factors[row])
        return shared.mul_(-2).add_(norms).add_(norms[row])

    weights = check_weights(weights, len(embeddings))
    first = int(top_k(norms if weights is None else norms * weights, 1, generator))
    return d2_sampling(first, distance_to, size, generator, weights)


def gradient_factors(logits: Tensor, *, multi_label: bool = False) -> Tensor:
    """`p - onehot(argmax p)`, [N, C]: the loss gradient in the logits under the model's own label."""
    if multi_label:
        check_logits(torch.stack((torch.zeros_like(logits), logits), -1))
        logits = logits.float()
        return torch.sigmoid(logits) - (logits > 0).float()
    probabilities = torch.softmax(check_logits(logits), -1)
    label = probabilities.argmax(-1, keepdim=True)
    return probabilities.scatter_add(-1, label, torch.full_like(label, -1, dtype=probabilities.dtype))
