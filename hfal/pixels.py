"""Decoded pictures by content: each is decoded once, and kept in a file that is mapped into memory."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor

from hfal.compute import barrier, is_main
from hfal.files import write_file
from hfal.pictures import Picture, decode_all, key
from hfal.tokens import KeyIndex

SHARD = 4096
"""Pictures that are decoded and written together: what a kill can cost at most."""
LOOKED_AT = 256

Slots = NDArray[np.int64]


class _OfRows(Sequence[Picture]):
    """The pictures of some rows, read one at a time."""

    def __init__(self, rows: Dataset, column: str, places: Slots) -> None:
        self.rows = rows.select_columns([column])
        self.column = column
        self.places = places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, at: Any) -> Any:
        return self.rows[int(self.places[at])][self.column]


class PixelStore:
    """[3, S, S] of pictures, under `folder` or in files without a name.

    Args:
        column: of the pictures.
        size: S.
        folder: the cache's.
    """

    def __init__(self, column: str, size: int, folder: Path | None) -> None:
        self.column = column
        self.size = size
        self.folder = None if folder is None else folder / f"pictures-{size}"
        self._index = KeyIndex()
        self._shards: list[NDArray[np.uint8]] = []
        self._starts = [0]
        if self.folder is not None and self.folder.exists():
            for path in sorted(self.folder.glob("*.keys.npy")):
                self._open(path)

    def slots(self, rows: Dataset) -> Slots:
        """[N] where the pictures of these rows are kept; those that are missing are decoded first."""
        keys = self._keys(rows)
        slots = self._index.find(keys)
        if (slots < 0).any():
            new, first = np.unique(keys[slots < 0], return_index=True)
            missing = np.flatnonzero(slots < 0)[first]
            for start in range(0, len(new), SHARD):
                part = slice(start, start + SHARD)
                self._add(new[part], _OfRows(rows, self.column, missing[part]))
            slots = self._index.find(keys)
        return slots

    def _keys(self, rows: Dataset) -> NDArray[np.void]:
        found = [key(one) for batch in rows.select_columns([self.column]).iter(LOOKED_AT) for one in batch[self.column]]
        return np.frombuffer(b"".join(found), dtype="V16")

    def gather(self, slots: Slots) -> Tensor:
        """[len(slots), 3, S, S] uint8; copied."""
        result = np.empty((len(slots), 3, self.size, self.size), dtype=np.uint8)
        number = np.searchsorted(self._starts, slots, side="right") - 1
        for shard in np.unique(number):
            mine = np.flatnonzero(number == shard)
            result[mine] = self._shards[shard][slots[mine] - self._starts[shard]]
        return torch.from_numpy(result)

    def _add(self, keys: NDArray[np.void], pictures: Sequence[Picture]) -> None:
        shape = (len(keys), 3, self.size, self.size)
        if self.folder is None:
            with tempfile.TemporaryFile() as handle:
                handle.truncate(int(np.prod(shape)))
                values = np.memmap(handle, dtype=np.uint8, mode="r+", shape=shape)
            decode_all(pictures, self.size, values)
            self._append(keys, values)
            return
        name = hashlib.blake2b(keys.tobytes(), digest_size=8).hexdigest()
        path = self.folder / f"{len(self._shards):05d}-{name}.keys.npy"
        if is_main():

            def write(temporary: Path) -> None:
                values = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
                decode_all(pictures, self.size, values)
                values.flush()

            write_file(_values_of(path), write)
            write_file(path, lambda temporary: _save(temporary, keys))
        barrier()
        self._open(path)

    def _open(self, path: Path) -> None:
        keys = np.frombuffer(np.load(path, allow_pickle=False).tobytes(), dtype="V16")
        self._append(keys, np.load(_values_of(path), mmap_mode="r", allow_pickle=False))

    def _append(self, keys: NDArray[np.void], values: NDArray[np.uint8]) -> None:
        self._index.add(keys)
        self._shards.append(values)
        self._starts.append(self._starts[-1] + len(values))


def _values_of(path: Path) -> Path:
    return path.with_name(path.name.replace(".keys.npy", ".values.npy"))


def _save(path: Path, keys: NDArray[np.void]) -> None:
    with open(path, "wb") as handle:
        np.save(handle, keys.view(np.uint8).reshape(len(keys), -1))
