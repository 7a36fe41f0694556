"""k-center over more rows than memory holds, in one read."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from hfal.functional.checks import check_size, generator_or_default
from hfal.functional.diversity import kcenter_greedy

BLOCK = 2**18
"""Rows that are held at once."""


class Rows(Protocol):
    """A matrix that is read by slices of its rows: a tensor, or a file that is too large to be one."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice) -> Tensor: ...


def kcenter_blocks(
    embeddings: Rows | Tensor,
    size: int,
    centers: Tensor | None = None,
    generator: torch.Generator | None = None,
    block: int = BLOCK,
) -> Tensor:
    """Farthest-first traversal of blocks, and then of what was picked in them: every row is read once.

    Each block gives as many rows as are wanted in all, by `kcenter_greedy`; among these, `kcenter_greedy` picks. The
    radius is at most four times the smallest possible, where the plain greedy keeps to twice (Malkomes et al. 2015,
    theorem 3.5). Memory is one block and the rows picked.

    Args:
        embeddings: [N, D] rows to choose from.
        size: rows wanted; all N where there are fewer.
        centers: [M, D] rows that are covered already.
        generator: draws the first picks and breaks ties.
        block: rows of a block, more than `size`.

    Returns:
        [min(size, N)] int64 positions in order of choice, without repeats.

    Raises:
        ValueError: wrong shapes, or a value that is not finite (rows are counted from the start of their block).
    """
    generator = generator_or_default(generator)
    size = min(check_size(size), len(embeddings))
    block = max(block, size + 1)
    places, kept = [], []
    for start in range(0, len(embeddings), block):
        part = embeddings[start : start + block]
        picks = kcenter_greedy(part, size, centers, generator)
        places.append(picks + start)
        kept.append(part[picks].float())
    if not places:
        return torch.empty(0, dtype=torch.int64)
    return torch.cat(places)[kcenter_greedy(torch.cat(kept), size, centers, generator)]
