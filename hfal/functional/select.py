"""From scores to rows."""

from __future__ import annotations

import torch
from torch import Tensor

from hfal.functional.checks import check_scores, check_size, generator_or_default


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
