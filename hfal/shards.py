"""What is made once for each distinct row and kept by the row's content, in memory or in mapped files."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sized
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from hfal.compute import barrier, is_main
from hfal.files import write_file
from hfal.tokens import KeyIndex

Kept = TypeVar("Kept", bound=Sized)
Keys = NDArray[np.void]
Slots = NDArray[np.int64]


class KeyedShards(Generic[Kept]):
    """Base: parts that were made together, and where in them each key is.

    Args:
        folder: for the parts: `*.keys.npy`, written last, and what stands beside it.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._index = KeyIndex()
        self._shards: list[Kept] = []
        self._starts = [0]
        if folder is not None and folder.exists():
            for path in sorted(folder.glob("*.keys.npy")):
                self._open(path)

    @abstractmethod
    def _read(self, path: Path) -> Kept:
        """The part whose keys are at this path."""

    def _found(self, keys: Keys, together: int, make: Callable[[Keys, Slots, int | None], None]) -> Slots:
        """[N] where these keys are kept.

        Args:
            keys: of rows; some may be the same.
            together: keys that are made at once.
            make: adds a part of missing keys, given the places of their first rows and (where there are several
                parts) how many went before.
        """
        slots = self._index.find(keys)
        if (slots < 0).any():
            new, first = np.unique(keys[slots < 0], return_index=True)
            missing = np.flatnonzero(slots < 0)[first]
            for start in range(0, len(new), together):
                part = slice(start, start + together)
                make(new[part], missing[part], start if len(new) > together else None)
            slots = self._index.find(keys)
        return slots

    def _where(self, slots: Slots) -> Iterator[tuple[Kept, Slots, Slots]]:
        """The shards that hold these slots: which of the slots, and where in the shard."""
        number = np.searchsorted(self._starts, slots, side="right") - 1
        for shard in np.unique(number):
            mine = np.flatnonzero(number == shard)
            yield self._shards[shard], mine, slots[mine] - self._starts[shard]

    def _write(self, folder: Path, keys: Keys, values: Callable[[Path], None]) -> None:
        """Let `values` write what stands beside the keys, then write these: by one process, read by all."""
        name = hashlib.blake2b(keys.tobytes(), digest_size=8).hexdigest()
        path = folder / f"{len(self._shards):05d}-{name}.keys.npy"
        if is_main():
            values(path)
            write_array(path, keys.view(np.uint8).reshape(len(keys), -1))
        barrier()
        self._open(path)

    def _open(self, path: Path) -> None:
        keys = np.frombuffer(np.load(path, allow_pickle=False).tobytes(), dtype="V16")
        if not (self._index.find(keys) >= 0).any():  # else written twice after an interruption
            self._append(keys, self._read(path))

    def _append(self, keys: Keys, shard: Kept) -> None:
        self._index.add(keys)
        self._shards.append(shard)
        self._starts.append(self._starts[-1] + len(shard))


def beside(path: Path, what: str) -> Path:
    """The file of a part that stands beside its keys."""
    return path.with_name(path.name.replace(".keys.npy", f".{what}.npy"))


def write_array(path: Path, array: NDArray[Any]) -> None:
    """An array as `.npy`, whole or not at all."""

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as handle:
            np.save(handle, array)

    write_file(path, write)
