"""Rows from which the others can be put together."""

from __future__ import annotations

import torch
from torch import Tensor

from hfal.functional.checks import (
    CHUNK,
    check_scores,
    check_size,
    check_weights,
    generator_or_default,
    inner_products,
    squared_norms,
)
from hfal.functional.select import next_best


def dictionary(
    embeddings: Tensor,
    size: int,
    uncertainty: Tensor | None = None,
    labeled: Tensor | None = None,
    generator: torch.Generator | None = None,
    *,
    penalty: float = 0.1,
    weights: Tensor | None = None,
) -> Tensor:
    """Rows that, added to the labelled ones as atoms of a dictionary, code the unsure rows of the pool best.

    Greedy minimisation of `sum_n u_n min_z |x_n - D z|^2 + penalty |z|^2` over the atoms D, row by row: weighted
    incremental dictionary learning (WI-DL; Liu et al. 2017, section III) with ridge codes in place of sparse ones, so
    that what an atom would add is a closed form, `|| (S U S) a || / (penalty + a' S a)` with S the posterior covariance
    (as in transductive design; Yu et al. 2006). One more atom costs three reads of the matrix.

    Args:
        embeddings: [N, D].
        size: rows wanted; all N where there are fewer.
        uncertainty: [N] u, 0 or more; all the same where it is not given.
        labeled: [L, D] atoms that are there already.
        generator: breaks ties.
        penalty: on the codes, relative to the mean squared length of the rows, above 0.
        weights: [N] above 0, by which gains are multiplied.

    Returns:
        [min(size, N)] int64 positions in order of choice, without repeats.

    Raises:
        ValueError: wrong shapes, or a value that is not finite.
    """
    norms = squared_norms(embeddings)
    generator = generator_or_default(generator)
    weights = check_weights(weights, len(embeddings))
    total, dims = embeddings.shape
    size = min(check_size(size), total)
    if size == 0:
        return torch.empty(0, dtype=torch.int64)
    if penalty <= 0:
        raise ValueError(f"penalty must be above 0, got {penalty}")
    care = torch.ones(total) if uncertainty is None else check_scores(uncertainty).float().clamp_min(0)
    ridge = penalty * max(float(norms.mean()), 1e-12)
    covariance = torch.eye(dims)
    if labeled is not None and len(labeled):
        squared_norms(labeled, "labeled")
        covariance = torch.linalg.inv(covariance + labeled.float().T @ labeled.float() / ridge)
    wanted = torch.zeros(dims, dims)
    for start in range(0, total, CHUNK):
        chunk = embeddings[start : start + CHUNK].float()
        wanted += (chunk * care[start : start + CHUNK, None]).T @ chunk
    spread = covariance @ wanted @ covariance
    own, gain = torch.empty(total), torch.empty(total)  # a' S a and a' (S U S) a of each row
    for start in range(0, total, CHUNK):
        chunk = embeddings[start : start + CHUNK].float()
        own[start : start + CHUNK] = ((chunk @ covariance) * chunk).sum(1)
        gain[start : start + CHUNK] = ((chunk @ spread) * chunk).sum(1)
    picks: list[int] = []
    while len(picks) < size:
        scores = gain.clamp_min(0) / (ridge + own.clamp_min(0))
        if weights is not None:
            scores = scores * weights
        picks.append(next_best(scores, picks, generator))
        atom = embeddings[picks[-1]].float()
        towards, beyond = covariance @ atom, spread @ atom
        scale = ridge + float(atom @ towards)
        near, far = inner_products(embeddings, towards), inner_products(embeddings, beyond)
        end = float(atom @ beyond)
        own -= near.square() / scale
        gain += near.square() * (end / scale**2) - 2 * near * far / scale
        covariance -= torch.outer(towards, towards) / scale
        spread += torch.outer(towards, towards) * (end / scale**2)
        spread -= (torch.outer(towards, beyond) + torch.outer(beyond, towards)) / scale
    return torch.tensor(picks, dtype=torch.int64)
