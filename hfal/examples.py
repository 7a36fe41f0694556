"""What is trained on: tokenized rows, and what each of their outputs should be."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from hfal.alignment import WordTokens, model_inputs, unit_values
from hfal.functional import Ragged
from hfal.tasks.base import Task
from hfal.tokens import Tokens


class Examples:
    """What is trained on: tokenized rows, and what each of their outputs should be.

    Sentences of words are cut into windows, each with the words that are read in it; words that the model cannot
    see are left out.

    Args:
        tokens: N rows.
        targets: what `task.targets` made of their labels.
        pad_id: the tokenizer's padding token.
        padding_side: where padding goes.
        row_weights: [N] what each row counts, where they have one output; 1 where it is not given.
    """

    def __init__(
        self,
        tokens: Tokens | WordTokens,
        targets: Tensor | Ragged,
        pad_id: int,
        padding_side: str = "right",
        row_weights: NDArray[np.float32] | None = None,
    ) -> None:
        if isinstance(tokens, WordTokens) and isinstance(targets, Ragged):
            tokens, kept, words = tokens.as_windows()
            targets = Ragged(targets.values[torch.from_numpy(kept)], torch.from_numpy(words))
        self.tokens = tokens
        self.targets = targets
        self.pad_id = pad_id
        self.padding_side = padding_side
        self.row_weights = None if row_weights is None else torch.from_numpy(row_weights)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def values(self) -> Tensor:
        """The targets of all outputs, end to end."""
        return self.targets.values if isinstance(self.targets, Ragged) else self.targets

    def outputs(self, rows: NDArray[np.int64]) -> int:
        """How many outputs these rows have."""
        return int(self.tokens.units[rows].sum())

    def prepare(self, model: PreTrainedModel, seed: int, device: torch.device) -> None:
        """Called before the first step."""

    def before_step(self, task: Task, step: int, device: torch.device) -> None:
        """Called before the gradient of each step is taken."""

    def before_update(self) -> None:
        """Called when it was, before the weights move."""

    def after_step(self, step: int) -> None:
        """Called after each step."""

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
        """The loss of each output of these rows; `part` numbers the micro-batch where it counts."""
        batch = {k: v.to(device) for k, v in self.tokens.pad(rows, self.pad_id, self.padding_side).items()}
        logits = unit_values(model(**model_inputs(batch)).logits.float(), batch)
        wanted = self.values[torch.from_numpy(self.tokens.places(rows))].to(device)
        return self.weighed(task.loss(logits, wanted, class_weights, smoothing), rows)

    def weighed(self, losses: Tensor, rows: NDArray[np.int64]) -> Tensor:
        """The losses of these rows, each as much as the row counts."""
        return losses if self.row_weights is None else losses * self.row_weights[rows].to(losses.device)
