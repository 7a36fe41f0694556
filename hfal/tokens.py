"""Tokenized rows without padding, kept so that no text is tokenized twice."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from hfal.errors import count
from hfal.pool import content_keys
from hfal.tasks.base import Task

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

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[N] tokens of each row."""
        return np.diff(self.offsets)

    def take(self, rows: NDArray[np.int64]) -> Tokens:
        """These rows, in this order."""
        lengths = self.lengths[rows]
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        at = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Tokens(self.ids[at], offsets, None if self.types is None else self.types[at])

    def pad(self, rows: NDArray[np.int64], pad_id: int, side: str = "right") -> dict[str, Tensor]:
        """These rows as the model takes them: `input_ids`, `attention_mask` and, where used, types."""
        part = self.take(rows)
        width = int(part.lengths.max())
        mask = np.arange(width) < part.lengths[:, None]
        if side == "left":
            mask = mask[:, ::-1]
        batch = {"input_ids": np.full(mask.shape, pad_id, np.int64), "attention_mask": mask.astype(np.int64)}
        batch["input_ids"][mask] = part.ids
        if part.types is not None:
            batch["token_type_ids"] = np.zeros(mask.shape, np.int64)
            batch["token_type_ids"][mask] = part.types
        return {name: torch.from_numpy(values) for name, values in batch.items()}


class TokenCache:
    """Tokens by the content of the row: the pool is tokenized once, however its rows are cut and ordered."""

    def __init__(self, tokenizer: Any, task: Task, max_length: int) -> None:
        self.tokenizer = tokenizer
        self.task = task
        self.max_length = max_length
        self._index = KeyIndex()
        self._tokens = Tokens(np.empty(0, np.int32), np.zeros(1, np.int64))
        self._told = False

    def get(self, rows: Dataset) -> Tokens:
        """The tokens of these rows."""
        keys = content_keys(rows, self.task)
        slots = self._index.find(keys)
        if (slots < 0).any():
            new, first = np.unique(keys[slots < 0], return_index=True)
            self._append(self._tokenize(rows.select(np.flatnonzero(slots < 0)[first])))
            self._index.add(new)
            slots = self._index.find(keys)
        return self._tokens.take(slots)

    def _append(self, more: Tokens) -> None:
        old = self._tokens
        types = None
        if old.types is not None or more.types is not None:
            parts = [np.zeros(len(t.ids), np.int8) if t.types is None else t.types for t in (old, more)]
            types = np.concatenate(parts)
        offsets = np.concatenate((old.offsets, more.offsets[1:] + old.offsets[-1]))
        self._tokens = Tokens(np.concatenate((old.ids, more.ids)), offsets, types)

    def _tokenize(self, rows: Dataset) -> Tokens:
        ids: list[NDArray[np.int32]] = []
        types: list[NDArray[np.int8]] = []
        lengths: list[int] = []
        cut = 0
        with tqdm(total=len(rows), desc="tokenizing", unit="row", leave=False, disable=None, delay=2) as bar:
            for batch in rows.iter(TOKENIZE_TOGETHER):
                encoded = self.tokenizer(
                    *self.task.tokenizer_inputs(batch), truncation=True, max_length=self.max_length
                )
                for row in encoded["input_ids"]:
                    ids.append(np.asarray(row, dtype=np.int32))
                    lengths.append(len(row))
                types.extend(np.asarray(row, dtype=np.int8) for row in encoded.get("token_type_ids", ()))
                cut += sum(bool(one.overflowing) for one in encoded.encodings or ())
                bar.update(len(encoded["input_ids"]))
        self._tell(cut)
        flat = np.concatenate(types) if types else None
        return Tokens(
            np.concatenate(ids) if ids else np.empty(0, np.int32),
            np.concatenate(([0], np.cumsum(lengths))).astype(np.int64),
            flat if flat is not None and flat.any() else None,
        )

    def _tell(self, cut: int) -> None:
        if cut and not self._told:
            self._told = True
            logger.warning("%s longer than %d tokens: cut to that length", count(cut, "text"), self.max_length)
