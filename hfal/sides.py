"""The two texts of a pair: each embedded once, however many pairs it is in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor

from hfal.embeddings import EmbeddingStore
from hfal.frozen import FrozenHeadModel, pair_features
from hfal.tasks import TextClassification
from hfal.tasks.base import Task
from hfal.tokens import TokenCache

TOGETHER = 65_536
SIDE = TextClassification("side", label_names=("no", "yes"))
"""A text of a pair by itself."""

Slots = NDArray[np.int64]


class PairStore:
    """Features of pairs, from an `EmbeddingStore` of their texts; it is used like one.

    Args:
        model: embeds a text.
        tokenizer: of the model.
        max_length: tokens a text may have.
        task: says which columns are the texts.
        folder: for the embeddings.
    """

    def __init__(
        self, model: FrozenHeadModel, tokenizer: Any, max_length: int, task: Task, folder: Path | None
    ) -> None:
        self.model = model
        self.columns = task.inputs
        self.texts = EmbeddingStore(model, TokenCache(tokenizer, SIDE, max_length), SIDE, folder)

    @property
    def dimensions(self) -> int:
        """4 D."""
        return self.model.width * self.texts.dimensions

    def slots(self, rows: Dataset) -> Slots:
        """[N, 2] where the embeddings of both texts are kept; those that are missing are computed first."""
        found = []
        for batch in rows.select_columns(list(self.columns)).iter(TOGETHER):
            left, right = (batch[name] for name in self.columns)
            both = self.texts.slots(Dataset.from_dict({SIDE.text: [*left, *right]}))
            found.append(both.reshape(2, -1).T)
        return np.concatenate(found) if found else np.empty((0, 2), dtype=np.int64)

    def units(self, slots: Slots) -> NDArray[np.int64]:
        """One of features for each pair."""
        return np.ones(len(slots), dtype=np.int64)

    def sides(self, slots: Slots) -> tuple[Tensor, Tensor]:
        """[N, D] the embeddings of the first texts, and of the second."""
        return self.texts.gather(slots[:, 0]), self.texts.gather(slots[:, 1])

    def gather(self, slots: Slots) -> Tensor:
        """[N, 4 D] features of the pairs."""
        return pair_features(*self.sides(slots))

    def similarity(self, slots: Slots) -> Tensor:
        """[N] cosine of the embeddings of both texts."""
        parts = [self.sides(slots[at : at + TOGETHER]) for at in range(0, len(slots), TOGETHER)]
        return torch.cat([torch.cosine_similarity(left, right) for left, right in parts] or [torch.empty(0)])
