"""Tokenized rows without padding, kept so that no text is tokenized twice."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from hfal.errors import count
from hfal.pool import content_keys
from hfal.tasks.base import TextTask

logger = logging.getLogger("hfal")

TOKENIZE_TOGETHER = 1000


class KeyIndex:
    """Finds the slot of a 16-byte key; slots are given in the order in which keys are added."""

    def __init__(self) -> None:
        self._sorted = np.empty(0, dtype="V16")
        self._slots = np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._sorted)

    def find(self, keys: NDArray[np.void]) -> NDArray[np.int64]:
        """[N] slots, -1 where a key is not known."""
        if not len(self._sorted):
            return np.full(len(keys), -1, dtype=np.int64)
        at = np.searchsorted(self._sorted, keys).clip(max=len(self._sorted) - 1)
        return np.where(self._sorted[at] == keys, self._slots[at], -1)

    def add(self, keys: NDArray[np.void]) -> None:
        """Give new slots to keys that are not known yet and do not repeat."""
        everything = np.concatenate((self._sorted, keys))
        slots = np.concatenate((self._slots, np.arange(len(self), len(self) + len(keys))))
        order = np.argsort(everything, kind="stable")
        self._sorted, self._slots = everything[order], slots[order]


@dataclass(frozen=True)
class Tokens:
    """Token ids of N rows end to end; row i is `ids[offsets[i]:offsets[i + 1]]`.

    `types` are the token type ids, where the tokenizer gives any that are not 0.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    types: NDArray[np.int8] | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def empty(cls) -> Tokens:
        """No rows."""
        return cls(np.empty(0, np.int32), np.zeros(1, np.int64))

    @classmethod
    def of(cls, ids: Sequence[Sequence[int]], types: Sequence[Sequence[int]] = ()) -> Tokens:
        """Of a tokenizer's lists."""
        offsets = offsets_of([len(row) for row in ids])
        flat = np.fromiter(chain.from_iterable(ids), np.int32, count=int(offsets[-1]))
        kinds = np.fromiter(chain.from_iterable(types), np.int8)
        return cls(flat, offsets, kinds if kinds.any() else None)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[N] tokens of each row."""
        return np.diff(self.offsets)

    @property
    def units(self) -> NDArray[np.int64]:
        """[N] outputs of each row: one."""
        return np.ones(len(self), dtype=np.int64)

    def places(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the outputs of these rows are among all: a row has one."""
        return rows

    def take(self, rows: NDArray[np.int64]) -> Tokens:
        """These rows, in this order."""
        offsets, at = taken(self.offsets, rows)
        return Tokens(self.ids[at], offsets, None if self.types is None else self.types[at])

    def extras(self) -> dict[str, Tensor]:
        """What the model reads beside tokens: nothing."""
        return {}

    def joined(self, more: Tokens) -> Tokens:
        """These rows, and then those."""
        types = None
        if self.types is not None or more.types is not None:
            parts = [np.zeros(len(t.ids), np.int8) if t.types is None else t.types for t in (self, more)]
            types = np.concatenate(parts)
        return Tokens(np.concatenate((self.ids, more.ids)), joined_offsets(self.offsets, more.offsets), types)

    def pad(self, rows: NDArray[np.int64], pad_id: int, side: str = "right") -> dict[str, Tensor]:
        """These rows as the model takes them: `input_ids`, `attention_mask` and, where used, types."""
        return self.take(rows).padded(pad_id, side)

    def padded(self, pad_id: int, side: str = "right") -> dict[str, Tensor]:
        """All rows as the model takes them."""
        lengths = self.lengths
        mask = np.arange(int(lengths.max())) < lengths[:, None]
        if side == "left":
            mask = mask[:, ::-1]
        batch = {"input_ids": np.full(mask.shape, pad_id, np.int64), "attention_mask": mask.astype(np.int64)}
        batch["input_ids"][mask] = self.ids
        if self.types is not None:
            batch["token_type_ids"] = np.zeros(mask.shape, np.int64)
            batch["token_type_ids"][mask] = self.types
        return {name: torch.from_numpy(values) for name, values in batch.items()}


def offsets_of(lengths: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Lengths of rows -> where each begins when they lie end to end, and where the last ends."""
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)


def taken(offsets: NDArray[np.int64], rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of rows that lie end to end: the offsets of these rows taken out, and where their entries are."""
    lengths = offsets[rows + 1] - offsets[rows]
    new = offsets_of(lengths)
    return new, np.repeat(offsets[rows] - new[:-1], lengths) + np.arange(new[-1])


def joined_offsets(first: NDArray[np.int64], then: NDArray[np.int64]) -> NDArray[np.int64]:
    """The offsets of rows laid end to end after others."""
    return np.concatenate((first, then[1:] + first[-1]))


class TokenCache:
    """Tokens by the content of the row: the pool is tokenized once, however its rows are cut and ordered."""

    def __init__(self, tokenizer: Any, task: TextTask, max_length: int) -> None:
        self.tokenizer = tokenizer
        self.task = task
        self.max_length = max_length
        self._index = KeyIndex()
        self._tokens = self._none()
        self._cut = 0
        self._told = False

    def get(self, rows: Dataset) -> Any:
        """The tokens of these rows."""
        keys = content_keys(rows, self.task)
        slots = self._index.find(keys)
        if (slots < 0).any():
            new, first = np.unique(keys[slots < 0], return_index=True)
            self._tokens = self._tokens.joined(self._tokenize(rows.select(np.flatnonzero(slots < 0)[first])))
            self._index.add(new)
            slots = self._index.find(keys)
        return self._tokens.take(slots)

    def _tokenize(self, rows: Dataset) -> Any:
        parts = []
        with tqdm(total=len(rows), desc="tokenizing", unit="row", leave=False, disable=None, delay=2) as bar:
            for batch in rows.iter(TOKENIZE_TOGETHER):
                parts.append(self._encode(batch))
                bar.update(len(parts[-1]))
        self._tell()
        while len(parts) > 1:  # in pairs: each entry is copied log times, not once for each part
            pairs = itertools.zip_longest(parts[::2], parts[1::2])
            parts = [one if other is None else one.joined(other) for one, other in pairs]
        return parts[0]

    def _none(self) -> Any:
        return Tokens.empty()

    def _encode(self, batch: dict[str, list[Any]]) -> Any:
        encoded = self.tokenizer(*self.task.tokenizer_inputs(batch), truncation=True, max_length=self.max_length)
        self._cut += sum(bool(one.overflowing) for one in encoded.encodings or ())
        return Tokens.of(encoded["input_ids"], encoded.get("token_type_ids", ()))

    def _tell(self) -> None:
        if self._cut and not self._told:
            self._told = True
            logger.warning("%s longer than %d tokens: cut to that length", count(self._cut, "text"), self.max_length)
