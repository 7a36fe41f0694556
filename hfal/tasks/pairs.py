"""Pairs of texts: whether they are the same thing, follow from each other, answer each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor

from hfal.errors import HfalError, listing, nearest
from hfal.tasks.classes import ClassifiedText
from hfal.tasks.scores import from_counts


@dataclass(frozen=True)
class Pairs(ClassifiedText):
    """Two texts have one of C labels: entity resolution, paraphrases, inference.

    With two classes one of them, usually the rare one, is what is looked for: scores are its F1, precision and
    recall, since accuracy says little where nine pairs of ten are different (Kasai et al. 2019).

    Args:
        left: column of the first texts.
        right: column of the second.
        label: column of the labels, where the data has them.
        label_names: in the order of the model's outputs. Taken from the column where they are not given.
        positive: the class that is looked for; of two classes the second, where it is not given.
    """

    left: str = "left"
    right: str = "right"
    label: str = "label"
    label_names: Sequence[str] | None = None
    positive: str | None = None

    name: ClassVar[str] = "pairs"
    default_start: ClassVar[str] = "similar_pairs"
    embedded: ClassVar[str] = "pair"
    yields: ClassVar[frozenset[str]] = frozenset({"row", "pair"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.left == self.right:
            raise HfalError(f"left and right are the same column, {self.left!r}: a pair has two")

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns of both texts."""
        return (self.left, self.right)

    def resolve(self, dataset: Dataset) -> Self:
        """Check the columns, and find the label names where none were given."""
        known = super().resolve(dataset)
        if known.positive is not None and known.positive not in known.names:
            hint = nearest(known.positive, known.names)
            raise HfalError(f"positive: {known.positive!r} is not one of {listing(known.names)}{hint}")
        return known

    @property
    def sought(self) -> int | None:
        """The output of the class that is looked for; None where there are more than two and none was named."""
        if self.positive is not None:
            return self.names.index(self.positive)
        return 1 if len(self.names) == 2 else None

    @property
    def main_metric(self) -> str:
        """F1 of the class that is looked for, or the mean over all."""
        return "macro_f1" if self.sought is None else "f1"

    @property
    def tallied(self) -> str:
        """F1 of the class that is looked for, or accuracy."""
        return super().tallied if self.sought is None else "f1"

    def tally(self, logits: Tensor, encoded: Sequence[Any]) -> NDArray[np.float64]:
        """Whether each row was found rightly, and half of whether it was guessed and whether it is there."""
        if self.sought is None:
            return super().tally(logits, encoded)
        guess, true = (np.array(labels) == self.sought for labels in (self.predict(logits)[0], encoded))
        return np.stack((guess & true, (guess.astype(float) + true) / 2), -1).astype(float)

    def absent(self, encoded: Sequence[Any]) -> str | None:
        """The class that is looked for, where no pair has it."""
        return None if self.sought is None or self.sought in encoded else f"pair of {self.names[self.sought]!r}"

    def metrics(self, logits: Tensor, encoded: Sequence[Any]) -> dict[str, Any]:
        """`accuracy`, `macro_f1` and `per_class`; of the class that is looked for `f1`, `precision`, `recall`, and
        `average_precision`, which no threshold decides."""
        found = super().metrics(logits, encoded)
        if self.sought is None:
            return found
        from sklearn.metrics import average_precision_score

        guess, true = (np.array(labels) == self.sought for labels in (self.predict(logits)[0], encoded))
        scores = from_counts(int((guess & true).sum()), int(guess.sum()), int(true.sum()))
        of_sought = {name: scores[name] for name in ("f1", "precision", "recall")}
        if true.any():
            sure = torch.log_softmax(logits.double(), -1)[:, self.sought].numpy()
            of_sought["average_precision"] = float(average_precision_score(true, sure))
        return of_sought | found
