"""Parts of labelled rows that take turns to be judged by models of the others."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from hfal.compute import generator_for


def folds_of(labels: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """[N] which fold each row is in; each has its share of each class."""
    fold = np.empty(len(labels), dtype=np.int64)
    for name in np.unique(labels):
        mine = np.flatnonzero(labels == name)
        order = torch.randperm(len(mine), generator=generator_for("folds", seed, int(name))).numpy()
        fold[mine[order]] = np.arange(len(mine)) % folds
    return fold
