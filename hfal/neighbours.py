"""Nearest neighbours among millions of rows, through faiss: built once, searched in each round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfal.errors import HfalError
from hfal.files import write_file

EXACT = 20_000
"""Rows up to which every distance is computed."""
TRAINED_ON = 50_000
PROBES = 16
STEP = 65_536


def faiss_module() -> Any:
    """faiss, which comes with the extra `scale`."""
    try:
        import faiss
    except ImportError as error:
        raise HfalError("nearest neighbours need faiss: pip install 'hfal[scale]'") from error
    return faiss


class Neighbours:
    """An index over rows, by cosine.

    Args:
        index: faiss's, over vectors of length 1.
        rows: [N] the number by which each of its vectors is asked for and found.
    """

    def __init__(self, index: Any, rows: NDArray[np.int64]) -> None:
        self._index = index
        self.rows = rows
        self._ascending = np.argsort(rows)

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def build(cls, embeddings: NDArray[Any], rows: NDArray[np.int64], seed: int = 0) -> Neighbours:
        """Index these rows: exactly where they are few, by inverted lists of a k-means where they are many.

        Args:
            embeddings: [N, D]; read in parts, so a memory map may be larger than memory allows twice over.
            rows: [N] their numbers.
            seed: of the k-means, and of the rows it is fitted on.
        """
        faiss = faiss_module()
        total, dims = embeddings.shape
        if total <= EXACT:
            index = faiss.IndexFlatIP(dims)
        else:
            lists = int(min(total // 40, 4 * total**0.5, 1024))
            index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dims), dims, lists, faiss.METRIC_INNER_PRODUCT)
            index.cp.seed, index.cp.niter, index.cp.max_points_per_centroid = seed % 2**31, 10, 2**30
            drawn = np.sort(np.random.default_rng(seed).permutation(total)[:TRAINED_ON])
            index.train(_unit(embeddings[drawn]))
            index.nprobe = PROBES
        for start in range(0, total, STEP):
            index.add(_unit(embeddings[start : start + STEP]))
        return cls(index, np.asarray(rows)).ready()

    def ready(self) -> Neighbours:
        """Make vectors readable by number."""
        if hasattr(self._index, "make_direct_map"):
            self._index.make_direct_map()
        return self

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """[k, D] of these rows, of length 1."""
        found: NDArray[np.float32] = self._index.reconstruct_batch(self.places(rows))
        return found

    def search(self, rows: NDArray[np.int64], neighbours: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The rows most like each of these (itself among them), [k, n], and their cosines; -1 where there are fewer."""
        return self._nearest(self.vectors(rows), neighbours)

    def nearest(self, vectors: NDArray[Any], neighbours: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The same of vectors [k, D] that need not be in the index."""
        return self._nearest(_unit(vectors), neighbours)

    def _nearest(self, unit: NDArray[np.float32], neighbours: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        cosines, places = self._index.search(unit, min(neighbours, len(self.rows)))
        found: NDArray[np.int64] = np.where(places >= 0, self.rows[places], -1)
        return found, cosines

    def places(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where these rows stand in the order in which they were given."""
        at = np.searchsorted(self.rows, rows, sorter=self._ascending).clip(max=len(self.rows) - 1)
        places: NDArray[np.int64] = self._ascending[at]
        if (self.rows[places] != rows).any():
            raise ValueError("a row that is not in the index")
        return places

    def save(self, path: Path) -> None:
        """Write the index; not the numbers of its rows."""
        write_file(path, lambda temporary: faiss_module().write_index(self._index, str(temporary)))

    @classmethod
    def load(cls, path: Path, rows: NDArray[np.int64]) -> Neighbours:
        """What `save` wrote, with the numbers of its rows."""
        return cls(faiss_module().read_index(str(path)), rows).ready()


def _unit(vectors: NDArray[Any]) -> NDArray[np.float32]:
    wide = np.ascontiguousarray(vectors, dtype=np.float32)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    result: NDArray[np.float32] = wide / np.maximum(length, 1e-12)
    return result
