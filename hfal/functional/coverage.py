"""Rows that stand for the rest by a kernel: facility location, uncertainty coverage."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from hfal.functional.checks import (
    check_scores,
    check_size,
    check_weights,
    generator_or_default,
    parts,
    squared_norms,
)
from hfal.functional.greedy import lazy_greedy

TARGETS = 16_384
"""Rows whose coverage counts; of more, so many are drawn."""

Kernel = Callable[[Tensor, Tensor], Tensor]
"""[m, D], [n, D] -> [m, n] similarities, 0 or more."""


def rbf(radius: float) -> Kernel:
    """`exp(-|x - y|^2 / radius^2)`; 1 for the same row and 0 for others at radius 0."""

    def kernel(left: Tensor, right: Tensor) -> Tensor:
        squared = (left @ right.T).mul_(-2)
        squared.add_(left.square().sum(1)[:, None]).add_(right.square().sum(1)).clamp_min_(0)
        return squared.div_(-(max(radius, 1e-6) ** 2)).exp_()

    return kernel


def cosine(left: Tensor, right: Tensor) -> Tensor:
    """Cosine, what is below 0 taken as 0."""
    return (normalize(left, dim=1) @ normalize(right, dim=1).T).clamp_min_(0)


def coverage_greedy(
    embeddings: Tensor,
    size: int,
    kernel: Kernel,
    importance: Tensor | None = None,
    labeled: Tensor | None = None,
    generator: torch.Generator | None = None,
    *,
    candidates: Tensor | None = None,
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Picks that raise `sum_n u_n max_{c in picks and labelled} k(x_n, c)` most, one after the other.

    With u = 1 this is generalised coverage (MaxHerding; Bae et al. 2024, eq. 5), with an uncertainty as u uncertainty
    coverage (UHerding; Bae et al. 2025, eq. 3), with cosine the representativeness of Yang et al. 2017. The sum is
    submodular, so the picks are found lazily and no [N, N] is held: similarities are computed when they are looked at.

    Args:
        embeddings: [N, D].
        size: rows wanted; all candidates where there are fewer.
        kernel: similarity, 0 or more.
        importance: [N] u, 0 or more; all the same where not given.
        labeled: [L, D] rows that cover already.
        generator: draws the rows whose coverage counts, where they are too many, and breaks ties.
        candidates: positions [M] that may be picked; all where not given.
        weights: [N] above 0, by which gains are multiplied.

    Returns:
        [min(size, M)] int64 positions in order of choice, without repeats, and what each added to the mean coverage.

    Raises:
        ValueError: wrong shapes, or a value that is not finite.
    """
    squared_norms(embeddings)
    weights = check_weights(weights, len(embeddings))
    generator = generator_or_default(generator)
    targets = torch.arange(len(embeddings))
    if len(embeddings) > TARGETS:
        targets = torch.randperm(len(embeddings), generator=generator)[:TARGETS].sort().values
    points = embeddings[targets].float()
    care = torch.ones(len(points)) if importance is None else check_scores(importance).float()[targets].clamp_min(0)
    covered = torch.zeros(len(points))
    if labeled is not None and len(labeled):
        squared_norms(labeled, "labeled")
        for part in parts(len(labeled), len(points)):
            covered = torch.maximum(covered, kernel(labeled[part].float(), points).amax(0))
    of = torch.arange(len(embeddings)) if candidates is None else candidates

    def gains_of(places: Tensor) -> Tensor:
        found = []
        for part in parts(of[places], len(points)):
            more = kernel(embeddings[part].float(), points).sub_(covered).clamp_min_(0)
            found.append(more @ care / max(1, len(points)))
        gains = torch.cat(found) if found else torch.zeros(0)
        return gains if weights is None else gains * weights[of[places]]

    def take(place: int) -> None:
        torch.maximum(covered, kernel(embeddings[of[place], None].float(), points)[0], out=covered)

    picks, gains = lazy_greedy(gains_of(torch.arange(len(of))), gains_of, take, check_size(size), generator)
    return of[picks], gains


def labelled_radius(labeled: Tensor) -> float | None:
    """The typical distance from a labelled row to the next: it shrinks as labels grow (Bae et al. 2025, section 3.3).

    They take the smallest distance between any two; the median is used here, which duplicates do not bring to 0.

    Args:
        labeled: [L, D].

    Returns:
        The radius; None where there are fewer than two rows, or most coincide.
    """
    if len(labeled) < 2:
        return None
    nearest = torch.cdist(labeled.float(), labeled.float()).fill_diagonal_(torch.inf).amin(1)
    radius = float(nearest.median())
    return radius if radius > 0 else None


def matching_temperature(logits: Tensor, accuracy: float) -> float:
    """The temperature at which the mean confidence is the accuracy (Guo et al. 2017's scaling, fitted without labels).

    Args:
        logits: [N, C] of rows whose labels are not known.
        accuracy: estimated on other rows, in (0, 1).

    Returns:
        T in [0.01, 100], by which logits are to be divided.
    """
    low, high = 0.01, 100.0
    for _ in range(40):
        middle = math.sqrt(low * high)
        confidence = float(torch.softmax(logits.float() / middle, -1).amax(-1).mean())
        low, high = (middle, high) if confidence > accuracy else (low, middle)
    return math.sqrt(low * high)
