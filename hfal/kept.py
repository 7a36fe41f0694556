"""What is computed in the first round that needs it and holds for all rounds: clusterings, radii, indexes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hfal.compute import barrier, derive_seed, from_main, generator_for, is_main
from hfal.files import write_file
from hfal.neighbours import Neighbours

Compute = Callable[[torch.Generator], Tensor]


class Kept:
    """Results by name, in memory or in the run folder's `kept`.

    Args:
        folder: where they are; memory only where it is None.
        seed: of the run; each name has a generator of its own, whether the result is computed or read.
    """

    def __init__(self, folder: Path | None, seed: int) -> None:
        self.folder = folder
        self.seed = seed
        self._tensors: dict[str, Tensor] = {}
        self._index: Neighbours | None = None

    def tensor(self, name: str, compute: Compute) -> Tensor:
        """The result of this name."""
        if name not in self._tensors:
            path = None if self.folder is None else self.folder / f"{re.sub('[^a-z0-9]+', '-', name.lower())}.npy"
            if path is not None and from_main(path.exists()):
                self._tensors[name] = torch.from_numpy(np.load(path, allow_pickle=False))
            else:
                self._tensors[name] = found = compute(generator_for("kept", self.seed, name))
                if path is not None and is_main():
                    write_file(path, lambda temporary: _save(temporary, found))
                barrier()
        return self._tensors[name]

    def neighbours(self, build: Callable[[int], Neighbours]) -> Neighbours:
        """The index; `build` takes a seed."""
        if self._index is None:
            path = None if self.folder is None else self.folder / "neighbours.faiss"
            if path is not None and from_main(path.with_suffix(".npy").exists()):  # written last
                self._index = Neighbours.load(path)
            else:
                self._index = build(derive_seed("neighbours", self.seed))
                if path is not None and is_main():
                    self._index.save(path)
                barrier()
        return self._index


def _save(path: Path, values: Tensor) -> None:
    with open(path, "wb") as handle:
        np.save(handle, values.numpy())
