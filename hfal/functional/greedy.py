"""Greedy picks where a gain can only shrink."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hfal.functional.checks import check_size, generator_or_default, randint

FIRST_LOOK = 32
"""Rows whose gains are looked at together; twice as many each time that is not enough."""


def lazy_greedy(
    bounds: Tensor,
    gains_of: Callable[[Tensor], Tensor],
    take: Callable[[int], None],
    size: int,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """The picks of the plain greedy for a submodular function, with few gains computed (Minoux 1978).

    A gain that was computed when fewer rows were picked is an upper bound of the gain now. So only rows whose
    bound is above the best gain known need to be looked at again.

    Args:
        bounds: [N] upper bounds of the first gains (the first gains themselves, where they are known).
        gains_of: positions [m] -> [m] gains, given the picks so far.
        take: told of each pick, after it.
        size: rows wanted; all N where there are fewer.
        generator: breaks ties.

    Returns:
        [min(size, N)] int64 positions in order of choice, without repeats, and their gains when picked.
    """
    generator = generator_or_default(generator)
    bounds = bounds.clone()
    size = min(check_size(size), len(bounds))
    picks: list[int] = []
    gains: list[float] = []
    known = torch.full((len(bounds),), -1)  # how many picks there were when the row's gain was computed
    while len(picks) < size:
        look = FIRST_LOOK
        while True:
            reach = torch.topk(bounds, min(look, len(bounds) - len(picks))).indices
            old = reach[known[reach] < len(picks)]
            if len(old):
                bounds[old] = torch.minimum(bounds[old], gains_of(old))
                known[old] = len(picks)
            if not bool(((known < len(picks)) & (bounds >= bounds.max())).any()):
                break
            look *= 2
        best = (bounds == bounds.max()).nonzero().flatten()
        pick = int(best[randint(len(best), generator)]) if len(best) > 1 else int(best)
        picks.append(pick)
        gains.append(float(bounds[pick]))
        bounds[pick] = -torch.inf
        known[pick] = size
        take(pick)
    return torch.tensor(picks, dtype=torch.int64), torch.tensor(gains)
