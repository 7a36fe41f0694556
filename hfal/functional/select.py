"""From scores to rows."""

from __future__ import annotations

import torch
from torch import Tensor

from hfal.functional.checks import all_but, check_scores, check_size, generator_or_default


def top_k(scores: Tensor, size: int, generator: torch.Generator | None = None) -> Tensor:
    """The rows with the highest scores, best first; ties are broken by the generator, not by position.

    Args:
        scores: [N] finite.
        size: rows wanted; all N where there are fewer.
        generator: breaks ties.

    Returns:
        [min(size, N)] int64 positions, without repeats.

    Raises:
        ValueError: a score that is not finite, or a wrong shape.
    """
    scores = check_scores(scores).detach().cpu()
    size = min(check_size(size), len(scores))
    if size == 0:
        return torch.empty(0, dtype=torch.int64)
    threshold = torch.topk(scores, size, sorted=True).values[-1]
    candidates = (scores >= threshold).nonzero().flatten()
    shuffled = candidates[torch.randperm(len(candidates), generator=generator_or_default(generator))]
    best_first = torch.argsort(scores[shuffled], descending=True, stable=True)
    return shuffled[best_first[:size]]


def next_best(scores: Tensor, picks: list[int], generator: torch.Generator) -> int:
    """The row with the highest score that is not picked yet; ties are broken by the generator.

    Args:
        scores: [N] finite.
        picks: fewer than N.
        generator: breaks ties.
    """
    rows = all_but(len(scores), picks)
    return int(rows[top_k(scores[rows], 1, generator)])


def gumbel_top_k(log_weights: Tensor, size: int, generator: torch.Generator | None = None) -> Tensor:
    """Rows drawn one after the other without replacement, each with probability proportional to its weight.

    The highest `log_weights` once each has its own Gumbel noise (Kool et al. 2019).

    Args:
        log_weights: [N]; -inf is a weight of 0, and comes last.
        size: rows wanted; all N where there are fewer.
        generator: draws.

    Returns:
        [min(size, N)] int64 positions in the order drawn, without repeats.

    Raises:
        ValueError: a weight that is infinite or not a number, or a wrong shape.
    """
    generator = generator_or_default(generator)
    floor = torch.finfo(torch.float64).min / 4
    keys = check_scores(log_weights.double().nan_to_num(nan=torch.nan, posinf=torch.inf, neginf=floor))
    uniform = torch.rand(len(keys), generator=generator, dtype=torch.float64)
    noise = -torch.log(-torch.log(uniform.clamp_min(1e-300)))
    return top_k(keys + noise, size, generator)
