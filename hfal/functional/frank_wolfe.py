"""A few weighted rows that stand for all: Frank-Wolfe over log-likelihoods."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hfal.functional.bayesian import log_mean_of
from hfal.functional.checks import (
    check_logits,
    check_matrix,
    check_size,
    check_weights,
    generator_or_default,
    squared_norms,
)
from hfal.functional.select import next_best, top_k


def expected_log_likelihoods(mc_logits: Tensor) -> Tensor:
    """What a row's label is expected to say of each sample of the model.

    `(E_y log p(y | x, w_k) + H[y]) / sqrt(K)` with y drawn from the mean prediction: the projection of the row's
    log-likelihood on K samples (Pinsler et al. 2019, section 4 and eq. 12).

    Args:
        mc_logits: [K, N, C] logits of K samples of the model, C >= 2, or [K, N, L, C] for L decisions a row, summed.

    Returns:
        [N, K] float32.

    Raises:
        ValueError: wrong shape, or a value that is not finite.
    """
    if isinstance(mc_logits, Tensor) and mc_logits.ndim == 4:
        samples, rows, decisions, _ = mc_logits.shape
        flat = expected_log_likelihoods(mc_logits.flatten(1, 2))
        return flat.view(rows, decisions, samples).sum(1)
    log_p = torch.log_softmax(check_logits(mc_logits, samples=True), -1)
    log_mean = log_mean_of(log_p)
    mean = log_mean.exp()
    entropy = -(mean * log_mean).sum(-1)
    projected: Tensor = ((mean * log_p).sum(-1) + entropy).T / math.sqrt(len(log_p))
    return projected


def frank_wolfe(
    vectors: Tensor,
    size: int,
    generator: torch.Generator | None = None,
    most_steps: int | None = None,
    *,
    costs: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The weighted rows whose sum comes nearest to the sum of all (ACS-FW; Pinsler et al. 2019, algorithm 1).

    Each step goes towards the row that points most in the direction of what is missing, by the length that brings
    the sum nearest. A row may be met twice, so there are more steps than rows; where the sum is met before enough
    rows are found, the others that point most towards it fill the batch, with weight 0.

    Args:
        vectors: [N, J] row n's log-likelihood, projected.
        size: rows wanted; all N where there are fewer.
        generator: breaks ties.
        most_steps: bound on the steps; ten for each row wanted where it is not given.
        costs: [N] above 0, by which the pull of a row is multiplied (1 / cost).

    Returns:
        [min(size, N)] int64 positions in order of choice, without repeats, and their weights, 0 or more.

    Raises:
        ValueError: wrong shape, or a value that is not finite.
    """
    lengths = squared_norms(check_matrix(vectors, "vectors"), "vectors").double().sqrt_()
    generator = generator_or_default(generator)
    size = min(check_size(size), len(vectors))
    points = vectors.double()
    wanted = points.sum(0)
    total = lengths.sum()
    directions = points / lengths.clamp_min(1e-30)[:, None]
    costs = check_weights(costs, len(points))
    pay = torch.ones(len(points)) if costs is None else costs
    weights = torch.zeros(len(points), dtype=torch.float64)
    reached = torch.zeros_like(wanted)
    found: list[int] = []
    for _ in range(most_steps or 10 * size):
        if len(found) == size:
            break
        missing = wanted - reached
        if float(missing.norm()) <= 1e-9 * float(wanted.norm()):
            break
        row = int(top_k(pay * (directions @ missing), 1, generator))
        corner = directions[row] * total
        way = corner - reached
        step = float((way @ missing) / way.dot(way).clamp_min(1e-30))
        weights *= 1 - step
        weights[row] += step * float(total / lengths[row].clamp_min(1e-30))
        reached = (1 - step) * reached + step * corner
        if row not in found:
            found.append(row)
    while len(found) < size:
        found.append(next_best(pay * (directions @ wanted), found, generator))
    picks = torch.tensor(found, dtype=torch.int64)
    return picks, weights[picks].clamp_min(0).float()
