"""The shape of a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor

Batch = dict[str, list[Any]]


class Task(Protocol):
    """What pool, learners, oracles and reports need to know of the work.

    A label has three forms: as found in the data (a name, an index, a list of them), *encoded* (int, or a
    sorted list of int for several labels), and as *names* (str, or a list of str), which is what files hold.
    """

    name: ClassVar[str]

    @property
    def label(self) -> str:
        """The column of labels, where the data has them."""
        ...

    @property
    def multi_label(self) -> bool:
        """Whether a row can have several labels."""
        ...

    @property
    def main_metric(self) -> str:
        """What curves and stopping look at."""
        ...

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that the model reads."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """The label names, in the order of the model's outputs."""
        ...

    def resolve(self, dataset: Dataset) -> Self:
        """The same task with its label names known and its columns checked."""
        ...

    def keys(self, batch: Batch) -> list[bytes]:
        """What tells one input from another, for each row of a batch."""
        ...

    def empty(self, batch: Batch) -> list[str | None]:
        """For each row, why nothing could be learned from it (`None` where there is no such reason)."""
        ...

    def tokenizer_inputs(self, batch: Batch) -> tuple[list[str], ...]:
        """The texts, or the two texts, of each row."""
        ...

    def encode(self, label: Any, where: str) -> Any:
        """A label as found in the data -> encoded; anything else is an error that says where."""
        ...

    def decode(self, encoded: Any) -> Any:
        """An encoded label -> its name or names."""
        ...

    def targets(self, encoded: Sequence[Any]) -> Tensor:
        """Encoded labels -> what the loss takes: [N] int64, or [N, C] float32 for several labels."""
        ...

    def loss(self, logits: Tensor, targets: Tensor, class_weights: Tensor | None, smoothing: float) -> Tensor:
        """[B] loss of each row."""
        ...

    def predict(self, logits: Tensor) -> tuple[list[Any], NDArray[np.float32]]:
        """[N, C] logits -> encoded predictions and the probability of each."""
        ...

    def metrics(self, logits: Tensor, encoded: Sequence[Any]) -> dict[str, Any]:
        """Scores of [N, C] logits against encoded labels: floats, and `per_class` as a table."""
        ...
