"""The best sequences of tags that a scheme allows (Viterbi 1967), in batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from hfal.functional.checks import check_logits
from hfal.functional.ragged import Ragged

TOGETHER = 2**22
"""Padded scores that are decoded at once: rows x words x tags."""


@dataclass(frozen=True)
class Legal:
    """Which sequences of C tags a scheme allows.

    Attributes:
        start: [C] bool, the tag may come first.
        follow: [C, C] bool, tag b may come right after tag a where `follow[a, b]`.
        end: [C] bool, the tag may come last.
    """

    start: Tensor
    follow: Tensor
    end: Tensor

    def __post_init__(self) -> None:
        tags = len(self.start)
        if self.follow.shape != (tags, tags) or self.end.shape != (tags,):
            raise ValueError(f"legal needs start [C], follow [C, C] and end [C], got {list(self.follow.shape)}")

    def penalties(self) -> tuple[Tensor, Tensor, Tensor]:
        """0 where allowed and -inf where not: start, follow, end."""
        start, follow, end = (
            torch.zeros(part.shape).masked_fill(~part, -torch.inf) for part in (self.start, self.follow, self.end)
        )
        return start, follow, end

    def violations(self, tags: Ragged) -> Tensor:
        """[T] bool: the tag may not stand where it stands (after the tag before it, first, or last)."""
        values, offsets = tags.values, tags.offsets
        if not len(values):
            return torch.zeros(0, dtype=torch.bool)
        allowed = torch.ones(len(values), dtype=torch.bool)
        allowed[1:] = self.follow[values[:-1], values[1:]]
        filled = tags.lengths > 0
        first, last = offsets[:-1][filled], offsets[1:][filled] - 1
        allowed[first] = self.start[values[first]]
        allowed[last] &= self.end[values[last]]
        return ~allowed


def viterbi(logits: Ragged, legal: Legal | None = None) -> tuple[Ragged, Tensor]:
    """The likeliest sequence of tags of each row, words being independent given the model.

    `argmax_y sum_t log p(y_t)` over the sequences that are legal. Rows whose likeliest tags are legal as
    they are need no search.

    Args:
        logits: values [T, C].
        legal: what is allowed; everything where it is not given. A row for which nothing is allowed gets its
            likeliest tags.

    Returns:
        The tags, values [T] int64, and the log-probability of each row's sequence, [N] float32.

    Raises:
        ValueError: fewer than two tags, or a value that is not finite.
    """
    log_p = log_probabilities(logits)
    tags = log_p.values.argmax(-1)
    if legal is not None:
        bad = torch.unique(logits.row_of[legal.violations(logits.like(tags))])
        for rows in _chunks(logits.take(bad).lengths, log_p.values.shape[1]):
            part = log_p.take(bad[rows])
            found = _search(part.pad(), part.lengths, legal)
            _, at = logits.places(bad[rows])
            inside = torch.arange(found.shape[1]) < part.lengths[:, None]
            kept = found[inside]
            tags[at] = torch.where(kept >= 0, kept, tags[at])
    path = log_p.values.gather(1, tags[:, None])[:, 0]
    total = torch.zeros(len(logits)).index_add_(0, logits.row_of, path)
    return logits.like(tags), total


def n_best(logits: Ragged, paths: int, legal: Legal | None = None) -> Tensor:
    """Log-probabilities of the likeliest legal sequences of each row, best first.

    Args:
        logits: values [T, C].
        paths: sequences wanted.
        legal: what is allowed; everything where it is not given.

    Returns:
        [N, paths] float32, -inf where a row has fewer legal sequences. A row without words has one, certain.
    """
    log_p = log_probabilities(logits)
    tags = log_p.values.shape[1]
    legal = legal or Legal(*(torch.ones(shape, dtype=torch.bool) for shape in ((tags,), (tags, tags), (tags,))))
    result = torch.full((len(logits), paths), -torch.inf)
    for rows in _chunks(log_p.lengths, tags * paths):
        part = log_p.take(rows)
        result[rows] = _search_n(part.pad(), part.lengths, legal, paths)
    return result


def log_probabilities(logits: Ragged) -> Ragged:
    """log p of each tag of each word."""
    return logits.like(torch.log_softmax(check_logits(logits.values), -1))


def _chunks(lengths: Tensor, width: int) -> Iterator[Tensor]:
    """Rows, longest first, in groups that are padded together."""
    order = torch.argsort(lengths, descending=True, stable=True)
    start = 0
    while start < len(order):
        longest = max(1, int(lengths[order[start]]))
        rows = order[start : start + max(1, TOGETHER // (longest * width))]
        yield rows
        start += len(rows)


def _active(lengths: Tensor, words: int) -> list[int]:
    """For each word position, how many of the rows (longest first) have it."""
    return [int((lengths > position).sum()) for position in range(words)]


def _search(log_p: Tensor, lengths: Tensor, legal: Legal) -> Tensor:
    """[B, L, C] of rows, longest first -> [B, L] best legal tags; -1 in rows that have none."""
    rows, words, _ = log_p.shape
    start, follow, end = legal.penalties()
    active = _active(lengths, words)
    score = log_p[:, 0] + start
    back = []
    for word in range(1, words):
        best, came = (score[: active[word], :, None] + follow).max(1)
        score[: active[word]] = best + log_p[: active[word], word]
        back.append(came)
    final, current = (score + end).max(1)
    tags = torch.full((rows, words), -1)
    for word in range(words - 1, -1, -1):
        tags[: active[word], word] = current[: active[word]]
        if word:
            before = back[word - 1].gather(1, current[: active[word], None])[:, 0]
            current = torch.cat((before, current[active[word] :]))
    tags[final == -torch.inf] = -1
    return tags


def _search_n(log_p: Tensor, lengths: Tensor, legal: Legal, paths: int) -> Tensor:
    """[B, L, C] of rows, longest first -> [B, paths] log-probabilities of the best legal sequences."""
    rows, words, tags = log_p.shape
    certain = torch.full((rows, paths), -torch.inf)  # of a row without words: one sequence, of probability 1
    certain[:, 0] = 0
    if not words:
        return certain
    start, follow, end = legal.penalties()
    active = _active(lengths, words)
    score = torch.full((rows, tags, paths), -torch.inf)  # the best `paths` sequences that end in each tag
    score[:, :, 0] = log_p[:, 0] + start
    for word in range(1, words):
        on = active[word]
        reached = (score[:on, :, :, None] + follow[:, None, :]).flatten(1, 2)  # [on, C x paths, C]
        best = reached.topk(min(paths, reached.shape[1]), 1).values.transpose(1, 2)
        score[:on] = best + log_p[:on, word, :, None]
    found = (score + end[:, None]).flatten(1).topk(paths, 1).values
    return torch.where((lengths > 0)[:, None], found, certain)
