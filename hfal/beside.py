"""Labelled rows that bring unlabelled ones along: what losses that read both have in common."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hfal.errors import HfalError
from hfal.examples import Examples
from hfal.tokens import Tokens


class BesideExamples(Examples):
    """Base: each micro-batch of labelled rows has unlabelled ones beside it, drawn from torch's own generator.

    Args:
        tokens: L labelled rows.
        targets: [L, ...] what `task.targets` made of their labels.
        unlabeled: rows without labels.
        weight: of the loss on them, above 0.
        pad_id: the tokenizer's padding token.
        padding_side: where padding goes.
        row_weights: [L] what each labelled row counts.

    Raises:
        HfalError: words are tagged.
    """

    def __init__(
        self,
        tokens: Tokens,
        targets: Tensor,
        unlabeled: Tokens,
        weight: float,
        pad_id: int,
        padding_side: str = "right",
        row_weights: NDArray[np.float32] | None = None,
    ) -> None:
        if not isinstance(tokens, Tokens):
            raise HfalError("learner.training.waal and consistency are for rows: they do not go with tags of words")
        super().__init__(tokens, targets, pad_id, padding_side, row_weights)
        self.everything = tokens.joined(unlabeled)
        self.others, self.weight = len(unlabeled), weight

    def drawn(self, size: int) -> NDArray[np.int64]:
        """[size] unlabelled rows, as `everything` numbers them."""
        rows: NDArray[np.int64] = len(self) + torch.randint(self.others, (size,)).numpy()
        return rows
