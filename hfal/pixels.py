"""Decoded pictures by content: each is decoded once, and kept in a file that is mapped into memory."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor

from hfal.files import write_file
from hfal.pictures import Picture, decode_all, key
from hfal.shards import KeyedShards, Keys, Slots, beside

SHARD = 4096
"""Pictures that are decoded and written together: what a kill can cost at most."""
LOOKED_AT = 256


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


class PixelStore(KeyedShards[NDArray[np.uint8]]):
    """[3, S, S] of pictures, under `folder` or in files without a name.

    Args:
        column: of the pictures.
        size: S.
        folder: the cache's.
    """

    def __init__(self, column: str, size: int, folder: Path | None) -> None:
        self.column = column
        self.size = size
        super().__init__(None if folder is None else folder / f"pictures-{size}")

    def slots(self, rows: Dataset) -> Slots:
        """[N] where the pictures of these rows are kept; those that are missing are decoded first."""
        return self._found(
            self._keys(rows), SHARD, lambda keys, places, _: self._add(keys, _OfRows(rows, self.column, places))
        )

    def _keys(self, rows: Dataset) -> Keys:
        found = [key(one) for batch in rows.select_columns([self.column]).iter(LOOKED_AT) for one in batch[self.column]]
        return np.frombuffer(b"".join(found), dtype="V16")

    def gather(self, slots: Slots) -> Tensor:
        """[len(slots), 3, S, S] uint8; copied."""
        result = np.empty((len(slots), 3, self.size, self.size), dtype=np.uint8)
        for shard, mine, local in self._where(slots):
            result[mine] = shard[local]
        return torch.from_numpy(result)

    def _add(self, keys: Keys, pictures: Sequence[Picture]) -> None:
        shape = (len(keys), 3, self.size, self.size)
        if self.folder is None:
            with tempfile.TemporaryFile() as handle:
                handle.truncate(int(np.prod(shape)))
                values = np.memmap(handle, dtype=np.uint8, mode="r+", shape=shape)
            decode_all(pictures, self.size, values)
            self._append(keys, values)
            return

        def write(temporary: Path) -> None:
            values = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
            decode_all(pictures, self.size, values)
            values.flush()

        self._write(self.folder, keys, lambda path: write_file(beside(path, "values"), write))

    def _read(self, path: Path) -> NDArray[np.uint8]:
        values: NDArray[np.uint8] = np.load(beside(path, "values"), mmap_mode="r", allow_pickle=False)
        return values


def standardized(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """[N, 3, S, S] uint8 -> as an image encoder takes them; `mean` and `std` of each colour are from 0 to 1."""
    centre, spread = (torch.tensor(value, device=pixels.device).view(1, 3, 1, 1) for value in (mean, std))
    return (pixels.float() / 255 - centre) / spread
