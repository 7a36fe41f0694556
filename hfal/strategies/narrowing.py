"""Wrappers that let a strategy see only what is near to labelled rows: a round's cost does not grow with the pool."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hfal import functional as F
from hfal.neighbours import Neighbours
from hfal.signals import Needs
from hfal.strategies.base import Context, Selection, Strategy, all_needs, check_then, check_whole, register


@dataclass(frozen=True)
class _Near:
    """Candidates from the index; `then` chooses among them, after a closer look."""

    then: Strategy
    neighbours: int = 100

    def __post_init__(self) -> None:
        check_then(self.then)
        check_whole("neighbours", self.neighbours)

    @property
    def needs(self) -> Needs:
        """Nothing of the whole pool."""
        return Needs()

    @property
    def later(self) -> Needs:
        """What `then` needs, of the candidates."""
        return all_needs(self.then)

    def select(self, context: Context, size: int) -> Selection:
        """What `then` chooses among the candidates; where there are too few of them, the rest is drawn."""
        if context.index is None or not len(context.labeled):
            return self.then.select(context.closer(torch.arange(len(context.pool)), self.later), size)
        rows = self.candidates(context, context.index(), size)
        indices = context.pool.indices_of(np.intersect1d(rows, context.pool.rows))
        if len(indices) < size:
            rest = F.all_but(len(context.pool), indices)
            more = torch.randperm(len(rest), generator=context.generator)[: size - len(indices)]
            indices = torch.cat((indices, rest[more]))
        return self.then.select(context.closer(indices.sort().values, self.later), size)

    def candidates(self, context: Context, index: Neighbours, size: int) -> NDArray[np.int64]:
        """Positions in the pool; those that cannot be asked are passed over."""
        raise TypeError("what may be chosen is missing")


@register("seals", paper="Coleman et al. 2022")
@dataclass(frozen=True)
class SEALS(_Near):
    """Any strategy among the nearest neighbours of the labelled rows (similarity search, faiss)."""

    def candidates(self, context: Context, index: Neighbours, size: int) -> NDArray[np.int64]:
        """The union of the neighbours."""
        found, _ = index.search(context.labeled.rows, self.neighbours)
        return np.unique(found[found >= 0])


@register("anchoral", paper="Lesci and Vlachos 2024")
@dataclass(frozen=True)
class AnchorAL(_Near):
    """Any strategy among the rows most like some labelled rows of each class: for classes that are rare.

    `anchors` rows of each class are chosen by k-means++; their neighbours are ranked by mean similarity to the anchors
    that found them, and the best `subpool` are the candidates.
    """

    anchors: int = 10
    subpool: int = 1000

    @property
    def needs(self) -> Needs:
        """Nothing of the whole pool, but one label a row."""
        return Needs(units=frozenset({"row"}))

    def candidates(self, context: Context, index: Neighbours, size: int) -> NDArray[np.int64]:
        """New anchors each round, the same number for each class."""
        chosen = self._anchors(context, index)
        found, similarity = index.search(context.labeled.rows[chosen.numpy()], self.neighbours)
        rows, which, counts = np.unique(found[found >= 0], return_inverse=True, return_counts=True)
        mean = np.bincount(which, similarity[found >= 0], minlength=len(rows)) / counts
        order = np.argsort(index.places(rows))  # that of the pool, whatever the order of its file
        best = F.top_k(torch.from_numpy(mean[order]), max(self.subpool, size), context.generator)
        result: NDArray[np.int64] = rows[order][best.numpy()]
        return result

    def _anchors(self, context: Context, index: Neighbours) -> Tensor:
        """Indices into the labelled rows."""
        targets = context.targets
        known = torch.from_numpy(index.vectors(context.labeled.rows))
        chosen = []
        for number in range(context.num_classes):
            member = (targets[:, number] > 0) if targets.ndim == 2 else targets == number
            rows = member.nonzero().flatten()
            chosen.append(rows[F.kmeans_pp(known[rows], self.anchors, context.generator)] if len(rows) else rows)
        anchors: Tensor = torch.unique(torch.cat(chosen))
        return anchors
