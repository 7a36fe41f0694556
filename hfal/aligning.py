"""Training in which labelled and unlabelled rows are to look alike to the model: the loss of WAAL."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from hfal.alignment import model_inputs
from hfal.beside import BesideExamples
from hfal.compute import derive_seed, own_randomness, state
from hfal.nets import CRITIC_STEPS, critic_loss, mlp
from hfal.probe import last_linear, row_features
from hfal.tasks.base import Task


class AlignedExamples(BesideExamples):
    """Labelled rows, each micro-batch of which brings as many unlabelled ones along.

    Beside the loss of the labels, the features (the last layer's input) of both are drawn together: `weight` times the
    Wasserstein distance that a critic measures between them (Shui et al. 2020, eq. 8). The critic learns after each
    step, from the features of all processes, so that it is the same on all of them.
    """

    def prepare(self, model: PreTrainedModel, seed: int, device: torch.device) -> None:
        """A critic for this model's features."""
        self._seen: list[tuple[int, Tensor, Tensor]] = []
        _, self.layer = last_linear(model, model.config.num_labels)
        self.seed = derive_seed("critic", seed)
        with own_randomness(self.seed):
            self.critic = mlp(self.layer.in_features, 64, 1).to(device)
        self.optimizer = torch.optim.Adam(self.critic.parameters(), lr=1e-3)

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
        """The loss of each labelled row, with its share of the distance; one forward for both kinds."""
        padded = self.everything.pad(np.concatenate((rows, self.drawn(len(rows)))), self.pad_id, self.padding_side)
        batch = {name: value.to(device) for name, value in padded.items()}
        seen: list[Tensor] = []
        hook = self.layer.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
        try:
            logits = model(**model_inputs(batch)).logits.float()
        finally:
            hook.remove()
        known, other = torch.split(row_features(seen[0], batch["attention_mask"]).float(), len(rows))
        wanted = self.values[torch.from_numpy(rows)].to(device)
        losses = self.weighed(task.loss(logits[: len(rows)], wanted, class_weights, smoothing), rows)
        if part is not None:
            self._seen.append((part, known.detach().cpu(), other.detach().cpu()))
        apart: Tensor = self.critic(other).mean() - self.critic(known).mean()
        return losses + self.weight * apart

    def after_step(self, step: int) -> None:
        """The critic learns to tell the features of this step apart."""
        found: list[Any] = gather_object(self._seen) if state().num_processes > 1 else self._seen
        self._seen = []
        found = sorted(found, key=lambda entry: entry[0])
        device = next(self.critic.parameters()).device
        known, other = (torch.cat([entry[side] for entry in found]).to(device) for side in (1, 2))
        with own_randomness(derive_seed(self.seed, step)):
            for _ in range(CRITIC_STEPS):
                self.optimizer.zero_grad()
                torch.autograd.backward(critic_loss(self.critic, known, other))
                self.optimizer.step()
