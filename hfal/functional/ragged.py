"""Rows of different length, end to end: no padding is ever stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

REDUCTIONS = ("mean", "sum", "max", "top3")


@dataclass(frozen=True)
class Ragged:
    """N rows of words; row i is `values[offsets[i]:offsets[i + 1]]`.

    Attributes:
        values: [T, ...] one entry a word.
        offsets: [N + 1] int64, rising from 0 to T.

    Raises:
        ValueError: offsets that do not fit the values.
    """

    values: Tensor
    offsets: Tensor

    def __post_init__(self) -> None:
        offsets = self.offsets
        if offsets.ndim != 1 or len(offsets) < 1 or offsets.dtype != torch.int64:
            raise ValueError(f"offsets must be int64 of shape [N + 1], got {offsets.dtype} {list(offsets.shape)}")
        if int(offsets[0]) != 0 or int(offsets[-1]) != len(self.values) or bool((offsets.diff() < 0).any()):
            raise ValueError(f"offsets must rise from 0 to the {len(self.values)} values")

    @classmethod
    def of(cls, rows: Sequence[Tensor]) -> Ragged:
        """Of tensors that differ in their first dimension only."""
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
        return cls(torch.cat(list(rows)), offsets_of(lengths))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> Tensor:
        return self.values[int(self.offsets[row]) : int(self.offsets[row + 1])]

    @property
    def lengths(self) -> Tensor:
        """[N] words of each row."""
        return self.offsets.diff()

    @property
    def row_of(self) -> Tensor:
        """[T] the row that each word belongs to."""
        return torch.repeat_interleave(torch.arange(len(self)), self.lengths)

    def take(self, rows: Tensor) -> Ragged:
        """These rows, in this order."""
        offsets, at = self.places(rows)
        return Ragged(self.values[at], offsets)

    def places(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The offsets of these rows taken out, and where their words are."""
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        offsets = offsets_of(lengths)
        shift = torch.repeat_interleave(self.offsets[rows] - offsets[:-1], lengths)
        return offsets, shift + torch.arange(int(offsets[-1]))

    def like(self, values: Tensor) -> Ragged:
        """Other values for the same words."""
        return Ragged(values, self.offsets)

    def pad(self, fill: float = 0.0) -> Tensor:
        """[N, longest, ...] with `fill` after each row's end."""
        lengths = self.lengths
        width = int(lengths.max()) if len(self) else 0
        padded = self.values.new_full((len(self), width, *self.values.shape[1:]), fill)
        padded[torch.arange(width) < lengths[:, None]] = self.values
        return padded


def offsets_of(lengths: Tensor) -> Tensor:
    """[N] lengths -> [N + 1] offsets."""
    return torch.cat((torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)))


def reduce_words(scores: Ragged, how: str = "mean") -> Tensor:
    """One score a row from one score a word.

    Args:
        scores: values [T].
        how: "mean", "sum", "max", or "top3" (the mean of the three highest). Sums favour long rows; so, less,
            does the maximum.

    Returns:
        [N] float32; a row without words gets 0.

    Raises:
        ValueError: another `how`, or values that are not [T].
    """
    if scores.values.ndim != 1:
        raise ValueError(f"scores must have one value a word, got {list(scores.values.shape)}")
    if how not in REDUCTIONS:
        raise ValueError(f"reduce must be one of {', '.join(REDUCTIONS)}, got {how!r}")
    values, lengths = scores.values.float(), scores.lengths
    if how == "top3":
        values, lengths = _highest(scores, 3)
        how = "mean"
    if not len(values):
        return torch.zeros(len(lengths))
    reduced = torch.segment_reduce(values, how, lengths=lengths, unsafe=True)
    return torch.where(lengths > 0, reduced, torch.zeros(()))


def mean_words(vectors: Ragged, weights: Tensor | None = None) -> Tensor:
    """The weighted mean of each row's words.

    Args:
        vectors: values [T, D].
        weights: [T], 0 or more; all the same where they are not given.

    Returns:
        [N, D] float32; zeros for a row whose words weigh nothing.
    """
    values = vectors.values.float()
    weights = torch.ones(len(values)) if weights is None else weights.float()
    row_of = vectors.row_of
    total = torch.zeros(len(vectors)).index_add_(0, row_of, weights)
    sums = torch.zeros(len(vectors), values.shape[1]).index_add_(0, row_of, values * weights[:, None])
    return sums / total.clamp_min(torch.finfo(torch.float32).tiny)[:, None]


def _highest(scores: Ragged, most: int) -> tuple[Tensor, Tensor]:
    """The `most` highest values of each row, end to end, and how many each row has."""
    by_value = torch.argsort(scores.values, descending=True, stable=True)
    order = by_value[torch.argsort(scores.row_of[by_value], stable=True)]
    rank = torch.arange(len(order)) - torch.repeat_interleave(scores.offsets[:-1], scores.lengths)
    return scores.values[order][rank < most].float(), scores.lengths.clamp_max(most)
