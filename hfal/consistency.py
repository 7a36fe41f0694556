"""Training in which the model is to say the same of a text and of the text with tokens masked."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hfal.alignment import model_inputs
from hfal.beside import BesideExamples
from hfal.tasks.base import Task
from hfal.tokens import Tokens

SURE = 0.8
"""Probability of the likeliest class from which on it is taught (UDA has 0.8, FixMatch 0.95)."""
MASKED = 0.15
"""Share of the tokens that are masked in the harder reading."""


class ConsistentExamples(BesideExamples):
    """Labelled rows, each micro-batch of which brings as many unlabelled ones along, in two readings.

    Beside the loss of the labels: where the model is sure of the class of an unlabelled row (`SURE`), `weight` times
    the cross-entropy of that class in the reading with tokens masked (Sohn et al. 2020, eq. 4; the readings differ by
    dropout and masking in place of what is done to pictures). All is one forward.

    Args:
        tokenizer: of the model.
        tokens, targets, unlabeled, weight, row_weights: see `BesideExamples`; targets are [L] classes.
    """

    def __init__(
        self,
        tokenizer: Any,
        tokens: Tokens,
        targets: Tensor,
        unlabeled: Tokens,
        weight: float,
        row_weights: NDArray[np.float32] | None = None,
    ) -> None:
        padding = tokenizer.pad_token_id, tokenizer.padding_side
        super().__init__(tokens, targets, unlabeled, weight, *padding, row_weights)
        self.mask_id = tokenizer.mask_token_id
        if self.mask_id is None:  # a token that says nothing will do
            self.mask_id = tokenizer.pad_token_id if tokenizer.unk_token_id is None else tokenizer.unk_token_id
        self.special = torch.tensor(sorted(tokenizer.all_special_ids))

    def losses(
        self,
        model: nn.Module,
        task: Task,
        rows: NDArray[np.int64],
        device: torch.device,
        class_weights: Tensor | None = None,
        smoothing: float = 0.0,
        part: int | None = None,
    ) -> Tensor:
        """The loss of each labelled row, and that of an unlabelled one beside it."""
        size = len(rows)
        drawn = self.drawn(size)
        batch = self.everything.pad(np.concatenate((rows, drawn, drawn)), self.pad_id, self.padding_side)
        ids = batch["input_ids"]
        hidden = (torch.rand(ids.shape) < MASKED) & ~torch.isin(ids, self.special)
        hidden[: 2 * size] = False
        batch["input_ids"] = torch.where(hidden, self.mask_id, ids)
        inputs = model_inputs({name: value.to(device) for name, value in batch.items()})
        known, easy, hard = model(**inputs).logits.float().split(size)
        wanted = self.values[torch.from_numpy(rows)].to(device)
        losses = self.weighed(task.loss(known, wanted, class_weights, smoothing), rows)
        sure, taught = easy.detach().softmax(1).max(1)
        beside = nn.functional.cross_entropy(hard, taught, reduction="none") * (sure >= SURE)
        total: Tensor = losses + self.weight * beside
        return total
