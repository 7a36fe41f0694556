"""Training that goes on from the model of the round before."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from transformers import PreTrainedModel

from hfal.compute import derive_seed, generator_for, own_randomness
from hfal.examples import Examples
from hfal.pool import content_keys
from hfal.tasks.base import Task
from hfal.training import Weights

Incremental = Literal["restart", "continue", "shrink_and_perturb", "replay", "meta"]
INCREMENTAL = get_args(Incremental)
SHRINK = 0.6
"""Share of the model before that is left, the rest being fresh weights (Ash and Adams 2020 shrink by 0.6 too)."""


@dataclass(frozen=True)
class Before:
    """A model that was trained before, and what it knew.

    Attributes:
        weights: by name, on the CPU.
        known: names of the rows, with their labels, that it was trained on.
    """

    weights: Weights
    known: frozenset[str]


def names_of(rows: Dataset, task: Task) -> list[str]:
    """One for each row and the label it has."""
    labels = rows["labels"]
    keys = content_keys(rows, task)
    return [
        hashlib.blake2b(key.tobytes() + repr(label).encode(), digest_size=8).hexdigest()
        for key, label in zip(keys, labels, strict=True)
    ]


def begin(how: str, model: PreTrainedModel, before: Before) -> None:
    """Put the weights that training begins with into a fresh model."""
    if how == "shrink_and_perturb":
        fresh = model.state_dict()
        mixed = {
            name: SHRINK * value + (1 - SHRINK) * fresh[name] if value.is_floating_point() else value
            for name, value in before.weights.items()
        }
        model.load_state_dict(mixed)
    else:
        model.load_state_dict(before.weights)


def replayed(names: Sequence[str], known: frozenset[str], seed: int) -> NDArray[np.int64]:
    """The rows that are new, and as many of the others, drawn: all of them where there are fewer."""
    old = np.array([name in known for name in names], dtype=bool)
    new, others = np.flatnonzero(~old), np.flatnonzero(old)
    if not len(new):
        return np.arange(len(names))
    drawn = torch.randperm(len(others), generator=generator_for("replay", seed, len(names)))[: len(new)]
    return np.sort(np.concatenate((new, others[drawn.numpy()])))


class MetaExamples(Examples):
    """All rows, each step of which looks ahead: its gradient is taken where a step on new rows alone would lead.

    A first-order meta-step, after ActiveLink's meta-incremental training (Ostapuk et al. 2019) and first-order MAML
    (Finn et al. 2017): the weights move to `w' = w - rate * gradient(new rows)`, the gradient of a batch drawn from
    all rows alike is taken there, and applied to `w`. What is new leads; what is old keeps its share of the loss.

    Args:
        examples: all rows.
        new: which of them are new; some are.
        rate: of the step ahead.
        together: new rows of a step ahead.
    """

    def __init__(self, examples: Examples, new: NDArray[np.int64], rate: float, together: int) -> None:
        self.__dict__.update(vars(examples))
        self.new, self.rate, self.together = new, rate, together
        self._ahead: list[tuple[torch.Tensor, torch.Tensor]] = []

    def prepare(self, model: PreTrainedModel, seed: int, device: torch.device) -> None:
        """See `Examples.prepare`."""
        self.own, self.seed = model, derive_seed("meta", seed)

    def before_step(self, task: Task, step: int, device: torch.device) -> None:
        """Step ahead, on the same new rows on every process."""
        drawn = torch.randperm(len(self.new), generator=generator_for(self.seed, step))[: self.together]
        moved = [value for value in self.own.parameters() if value.requires_grad]
        with own_randomness(derive_seed(self.seed, step)):
            loss = self.losses(self.own, task, self.new[drawn.numpy()], device).mean()
            slopes = torch.autograd.grad(loss, moved, allow_unused=True)
        self._ahead = []
        with torch.no_grad():
            for value, slope in zip(moved, slopes, strict=True):
                if slope is not None:
                    self._ahead.append((value, value.detach().clone()))
                    value.sub_(slope, alpha=self.rate)

    def before_update(self) -> None:
        """Go back to where the step began."""
        with torch.no_grad():
            for value, was in self._ahead:
                value.copy_(was)
        self._ahead = []
