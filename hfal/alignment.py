"""Words and the pieces that a tokenizer makes of them: the first piece of a word carries it.

A row that is longer than the model's maximum is read in overlapping windows; each word is read in the window
that shows most around it. A word of which the tokenizer makes nothing keeps its place.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hfal.errors import HfalError, count
from hfal.tasks.base import WordTask
from hfal.tokens import TokenCache, Tokens, joined_offsets, offsets_of, taken

logger = logging.getLogger("hfal")

OVERLAP = 4
"""A window shares one part in so many with the one before it."""

UNSEEN = -1
CERTAIN = 30.0
"""A logit that leaves nothing to the others."""


@dataclass(frozen=True)
class WordTokens:
    """N rows as windows of token ids, and where their words are.

    Attributes:
        tokens: the W windows.
        windows: [N + 1] offsets; row i has the windows `windows[i]` to `windows[i + 1]`.
        words: [N + 1] offsets; row i has the words `words[i]` to `words[i + 1]`.
        at: [T] where a word's first piece stands among the tokens of its row's windows, `UNSEEN` for none.
    """

    tokens: Tokens
    windows: NDArray[np.int64]
    words: NDArray[np.int64]
    at: NDArray[np.int32]

    @classmethod
    def empty(cls) -> WordTokens:
        """No rows."""
        zero = np.zeros(1, np.int64)
        return cls(Tokens.empty(), zero, zero, np.empty(0, np.int32))

    def __len__(self) -> int:
        return len(self.words) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[N] tokens of each row, all windows together."""
        return np.diff(self.tokens.offsets[self.windows])

    @property
    def units(self) -> NDArray[np.int64]:
        """[N] words of each row."""
        return np.diff(self.words)

    def take(self, rows: NDArray[np.int64]) -> WordTokens:
        """These rows, in this order."""
        windows, which = taken(self.windows, rows)
        words, at = taken(self.words, rows)
        return WordTokens(self.tokens.take(which), windows, words, self.at[at])

    def joined(self, more: WordTokens) -> WordTokens:
        """These rows, and then those."""
        return WordTokens(
            self.tokens.joined(more.tokens),
            joined_offsets(self.windows, more.windows),
            joined_offsets(self.words, more.words),
            np.concatenate((self.at, more.at)),
        )

    def places(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the words of these rows are among all T."""
        return taken(self.words, rows)[1]

    def pad(self, rows: NDArray[np.int64], pad_id: int, side: str = "right") -> dict[str, Tensor]:
        """The windows of these rows as the model takes them, and `word_at` and `word_offsets` beside them.

        `word_at` [T of the rows] is the place of each word's first piece in the flattened [windows, width].
        """
        part = self.take(rows)
        batch = part.tokens.padded(pad_id, side)
        width = batch["input_ids"].shape[1]
        window, inside = part._located()
        if side == "left":
            inside = inside + width - part.tokens.lengths[window]
        flat = np.where(part.at == UNSEEN, UNSEEN, window * width + inside)
        return batch | {"word_at": torch.from_numpy(flat), "word_offsets": torch.from_numpy(part.words)}

    def as_windows(self) -> tuple[WordTokens, NDArray[np.bool_], NDArray[np.int64]]:
        """Each window as a row of its own, with the words that are read in it; for training.

        Returns:
            The windows that have words; [T] which words are left (those that can be seen); the offsets of the
            words of each window.
        """
        seen = self.at != UNSEEN
        window, inside = self._located()
        which, counts = np.unique(window[seen], return_counts=True)
        words = offsets_of(counts)
        at = inside[seen].astype(np.int32)
        alone = WordTokens(self.tokens.take(which), np.arange(len(which) + 1), words, at)
        return alone, seen, words

    def _located(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """[T] the window in which each word is read, and its place there; without meaning for words unseen."""
        row_of = np.repeat(np.arange(len(self)), self.units)
        place = self.tokens.offsets[self.windows[row_of]] + self.at
        window = np.searchsorted(self.tokens.offsets, place, side="right") - 1
        return window, place - self.tokens.offsets[window]


def unit_values(values: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """What a model gave for a padded batch, one entry an output: [B, ...] as it is, [W, S, ...] as [T, ...].

    Words that the model cannot see get zeros.
    """
    at = batch.get("word_at")
    if at is None:
        return values
    found = values.flatten(0, 1)[at.clamp_min(0)]
    seen = (at != UNSEEN).view(-1, *[1] * (found.ndim - 1))
    return torch.where(seen, found, torch.zeros((), dtype=found.dtype, device=found.device))


def certain_outside(logits: Tensor, seen: Tensor, outside: int) -> Tensor:
    """Logits [T, ..., C] in which words that cannot be seen are surely outside of any entity."""
    sure = torch.zeros(logits.shape[-1])
    sure[outside] = CERTAIN
    return torch.where(seen.view(-1, *[1] * (logits.ndim - 1)), logits, sure)


def model_inputs(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """A padded batch without what is about words."""
    return {name: value for name, value in batch.items() if not name.startswith("word_")}


def slices(inputs: dict[str, Tensor], together: int) -> Iterator[dict[str, Tensor]]:
    """A padded batch in parts of at most so many tokens (one window at least): a row may be longer than a batch."""
    windows, width = inputs["input_ids"].shape
    step = max(1, together // width)
    for start in range(0, windows, step):
        yield {name: value[start : start + step] for name, value in inputs.items()}


class WordCache(TokenCache):
    """Tokens of word lists, by the content of the row."""

    task: WordTask  # type: ignore[assignment]

    def __init__(self, tokenizer: Any, task: WordTask, max_length: int) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise HfalError(
                f"learner.model: {type(tokenizer).__name__} is not a fast tokenizer, and only those tell which word "
                "a piece comes from: convert it (save its tokenizer.json), or choose another model"
            )
        if max_length - tokenizer.num_special_tokens_to_add() < 2 * OVERLAP:
            raise HfalError(f"learner.max_length is {max_length} tokens: too few to read words in windows")
        super().__init__(tokenizer, task, max_length)  # type: ignore[arg-type]
        self._long = self._unseen = 0

    def _none(self) -> WordTokens:
        return WordTokens.empty()

    def _encode(self, batch: dict[str, list[Any]]) -> WordTokens:
        rows = self.task.words(batch)
        stride = (self.max_length - self.tokenizer.num_special_tokens_to_add()) // OVERLAP
        encoded = self.tokenizer(
            rows,
            is_split_into_words=True,
            truncation=True,
            max_length=self.max_length,
            stride=stride,
            return_overflowing_tokens=True,
        )
        tokens = Tokens.of(encoded["input_ids"], encoded.get("token_type_ids", ()))
        counts = np.bincount(np.asarray(encoded["overflow_to_sample_mapping"]), minlength=len(rows))
        windows, words = offsets_of(counts), offsets_of([len(row) for row in rows])
        at = np.full(int(words[-1]), UNSEEN, dtype=np.int32)
        for row in range(len(rows)):
            pieces = [encoded.encodings[window].word_ids for window in range(windows[row], windows[row + 1])]
            _place(at[words[row] : words[row + 1]], pieces)
        self._long += int((counts > 1).sum())
        self._unseen += int((at == UNSEEN).sum())
        return WordTokens(tokens, windows, words, at)

    def _tell(self) -> None:
        if self._told:
            return
        if self._long:
            logger.warning(
                "%s longer than %d tokens: read in overlapping windows", count(self._long, "row"), self.max_length
            )
        if self._unseen:
            logger.warning(
                "%s of which the tokenizer makes nothing: kept, and tagged %s",
                count(self._unseen, "word"),
                self.task.names[self.task.outside],
            )
        self._told = bool(self._long or self._unseen)


def _place(at: NDArray[np.int32], pieces: list[list[int | None]]) -> None:
    """Where each word's first piece stands, in the window that shows most on its poorer side."""
    context = np.full(len(at), -1)
    start = 0
    for number, found in enumerate(pieces):
        word = np.array([-1 if value is None else value for value in found])
        first = np.flatnonzero((word >= 0) & (np.diff(word, prepend=-1) != 0))
        if number:
            first = first[1:]  # the word that a later window begins with may be cut; the one before has its start
        around = np.minimum(first, len(word) - 1 - first)
        better = around > context[word[first]]
        context[word[first[better]]] = around[better]
        at[word[first[better]]] = start + first[better]
        start += len(word)
