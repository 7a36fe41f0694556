"""What is computed in the first round that needs it and holds for all rounds: radii, clusterings, indexes.

Files name rows by their ids, so that they hold however the data set is sorted.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from hfal.compute import barrier, derive_seed, from_main, generator_for, is_main
from hfal.files import write_parquet
from hfal.neighbours import Neighbours
from hfal.pool import Pool

KEPT = "kept"
INDEX = "neighbours"

Compute = Callable[[torch.Generator], Tensor]


class Kept:
    """Results by name, in memory and in the run folder's `kept`.

    Args:
        folder: the run folder; memory only where it is None.
        pool: whose rows they are about.
        seed: of the run; each name has a generator of its own, whether its result is computed or read.
    """

    def __init__(self, folder: Path | None, pool: Pool, seed: int) -> None:
        self.folder = None if folder is None else folder / KEPT
        self.pool = pool
        self.seed = seed
        self._found: dict[str, Any] = {}

    def once(self, name: str, compute: Compute) -> Tensor:
        """A result of a few numbers."""

        def table() -> pa.Table:
            return pa.table({"value": compute(generator_for(KEPT, self.seed, name)).numpy()})

        return self._get(name, table, lambda found: torch.tensor(found["value"].to_numpy()))

    def each(self, name: str, rows: NDArray[np.int64], compute: Compute) -> Tensor:
        """A result of one number for each of these rows, positions in the pool; -1 for a row that it did not know."""

        def table() -> pa.Table:
            values = compute(generator_for(KEPT, self.seed, name)).numpy()
            return pa.table({"id": self.pool.ids(rows), "value": values})

        def by_position(found: pa.Table) -> Tensor:
            values = np.full(len(self.pool), -1)
            values[self.pool.positions(found["id"].to_pylist())] = found["value"].to_numpy()
            return torch.from_numpy(values)

        return self._get(name, table, by_position)[torch.from_numpy(rows)]

    def _get(self, name: str, make: Callable[[], pa.Table], read: Callable[[pa.Table], Tensor]) -> Tensor:
        if name not in self._found:
            path = self._path(f"{re.sub('[^a-z0-9]+', '-', name.lower())}.parquet")
            if path is not None and from_main(path.exists()):
                found = pq.read_table(path)
            else:
                found = make()
                if path is not None and is_main():
                    write_parquet(path, found)
                barrier()
            self._found[name] = read(found)
        kept: Tensor = self._found[name]
        return kept

    def neighbours(self, build: Callable[[int], Neighbours]) -> Neighbours:
        """The index of the pool's neighbours; `build` takes a seed."""
        if INDEX not in self._found:
            path, names = self._path(f"{INDEX}.faiss"), self._path(f"{INDEX}.parquet")
            if path is not None and names is not None and from_main(names.exists()):  # written last
                index = Neighbours.load(path, self.pool.positions(pq.read_table(names)["id"].to_pylist()))
            else:
                index = build(derive_seed(INDEX, self.seed))
                if path is not None and names is not None and is_main():
                    index.save(path)
                    write_parquet(names, pa.table({"id": self.pool.ids(index.rows)}))
                barrier()
            self._found[INDEX] = index
        found: Neighbours = self._found[INDEX]
        return found

    def _path(self, name: str) -> Path | None:
        return None if self.folder is None else self.folder / name
