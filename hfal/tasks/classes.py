"""Rows of text that have one label of C, or several at once: what such tasks share."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor

from hfal.errors import HfalError, listing
from hfal.tasks.base import Batch
from hfal.tasks.labels import check_names, index_of, names_in
from hfal.tasks.scores import class_scores
from hfal.tasks.usual import RowTask, blank, check_text


class ClassifiedText(RowTask):
    """Base of tasks whose rows are one text or two, with one label of C or (with `multi_label`) any number of them.

    A subclass is a frozen dataclass with the fields `label` and `label_names`, and says its `inputs`.
    """

    label: str
    label_names: Sequence[str] | None

    auto_model: ClassVar[str] = "AutoModelForSequenceClassification"
    default_strategy: ClassVar[str] = "margin>kmeans(prefilter=10)"
    default_start: ClassVar[str] = "typiclust"
    embedded: ClassVar[str] = "text"
    yields: ClassVar[frozenset[str]] = frozenset({"row"})

    def __post_init__(self) -> None:
        if self.label_names is None:
            return
        names = check_names(self.label_names)
        if len(names) < (1 if self.multi_label else 2):
            raise HfalError(f"label_names: at least two classes are needed, got {listing(names) or 'none'}")
        object.__setattr__(self, "label_names", names)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns of text."""
        raise TypeError(f"{type(self).__name__} must say its inputs")

    @property
    def asks(self) -> str:
        """How people answer."""
        return "several" if self.multi_label else "one"

    @property
    def main_metric(self) -> str:
        """What curves and stopping look at."""
        return "macro_f1"

    @property
    def names(self) -> tuple[str, ...]:
        """The label names; an error before they are known."""
        if self.label_names is None:
            raise HfalError("label_names are not known yet: give them, or a data set with a label column")
        return tuple(self.label_names)

    @property
    def classes(self) -> tuple[str, ...]:
        """The label names."""
        return self.names

    @property
    def arrow_label(self) -> pa.DataType:
        """A name, or a list of them."""
        return pa.list_(pa.string()) if self.multi_label else pa.string()

    def resolve(self, dataset: Dataset) -> Self:
        """Check the columns of text, and find the label names where none were given."""
        check_text(dataset, self.inputs)
        if self.label_names is not None:
            return self
        if self.label not in dataset.column_names:
            raise HfalError(
                f"the label names are not known: there is no column {self.label!r} to take them from; give "
                f"label_names (columns: {listing(dataset.column_names)})"
            )
        return replace(self, label_names=names_in(dataset, self.label))  # type: ignore[type-var]

    def keys(self, batch: Batch) -> list[bytes]:
        """The text itself, or the texts in their order."""
        texts = list(zip(*self.tokenizer_inputs(batch), strict=True))
        whole = (row[0] if len(row) == 1 else json.dumps(row) for row in texts)
        return [row.encode("utf-8", "surrogatepass") for row in whole]

    def empty(self, batch: Batch) -> list[str | None]:
        """Missing and blank texts."""
        return blank(batch, self.inputs)

    def tokenizer_inputs(self, batch: Batch) -> tuple[list[str], ...]:
        """The text of each row, or the two texts."""
        return tuple(batch[column] for column in self.inputs)

    def lengths(self, batch: Batch) -> list[int]:
        """Words between blanks."""
        rows = zip(*self.tokenizer_inputs(batch), strict=True)
        return [sum(len(text.split()) for text in row) for row in rows]

    def encode(self, label: Any, where: str, row: Mapping[str, Any] | None = None) -> Any:
        """A name or an index (with `multi_label`: a list of them) -> int or a sorted list of int."""
        if not self.multi_label:
            return index_of(label, self.names, f"label {label!r} in {where}")
        if label is None or isinstance(label, (str, bytes)) or not isinstance(label, Sequence):
            raise HfalError(f"label {label!r} in {where} is not a list of labels")
        return sorted({index_of(item, self.names, f"label {item!r} in {where}") for item in label})

    def decode(self, encoded: Any) -> Any:
        """int -> name; list of int -> list of names."""
        if self.multi_label:
            return [self.names[index] for index in encoded]
        return self.names[encoded]

    def present(self, row: Mapping[str, Any], encoded: Any) -> Any:
        """The name or names."""
        return self.decode(encoded)

    @property
    def arrow_prediction(self) -> pa.DataType:
        """The type of what `present` gives."""
        return self.arrow_label

    def mentions(self, encoded: Any) -> list[str]:
        """The name or names."""
        return self.decode(encoded) if self.multi_label else [self.names[encoded]]

    def targets(self, encoded: Sequence[Any]) -> Tensor:
        """[N] int64, or [N, C] float32 of 0 and 1."""
        if not self.multi_label:
            return torch.tensor(list(encoded), dtype=torch.int64)
        result = torch.zeros(len(encoded), len(self.names))
        for row, labels in enumerate(encoded):
            result[row, list(labels)] = 1
        return result

    def loss(self, logits: Tensor, targets: Tensor, class_weights: Tensor | None, smoothing: float) -> Tensor:
        """Cross entropy, or the mean binary cross entropy over the labels."""
        if not self.multi_label:
            return torch.nn.functional.cross_entropy(
                logits, targets, weight=class_weights, label_smoothing=smoothing, reduction="none"
            )
        smoothed = targets * (1 - smoothing) + smoothing / 2
        losses = torch.nn.functional.binary_cross_entropy_with_logits(
            logits, smoothed, pos_weight=class_weights, reduction="none"
        )
        return losses.mean(-1)

    def predict(self, logits: Tensor) -> tuple[list[Any], NDArray[np.float32]]:
        """The likeliest class and its probability; for several labels those above one half, and the
        probability of the least sure decision."""
        if not self.multi_label:
            best = torch.softmax(logits.float(), -1).max(-1)
            return best.indices.tolist(), best.values.numpy()
        yes = torch.sigmoid(logits.float())
        chosen = [row.nonzero().flatten().tolist() for row in yes > 0.5]
        return chosen, torch.maximum(yes, 1 - yes).amin(-1).numpy()

    @property
    def tallied(self) -> str:
        """Accuracy, or for several labels micro-F1."""
        return "micro_f1" if self.multi_label else "accuracy"

    def tally(self, logits: Tensor, encoded: Sequence[Any]) -> NDArray[np.float64]:
        """Right labels of each row, and of how many: of one, or of those predicted and those true, halved."""
        predicted, _ = self.predict(logits)
        if not self.multi_label:
            return np.array([[float(a == b), 1.0] for a, b in zip(predicted, encoded, strict=True)])
        return np.array(
            [[len({*a} & {*b}), (len(a) + len(b)) / 2] for a, b in zip(predicted, encoded, strict=True)], float
        )

    def metrics(self, logits: Tensor, encoded: Sequence[Any]) -> dict[str, Any]:
        """`accuracy` (all labels right), `macro_f1`, for several labels `micro_f1`, and `per_class`.

        A class that the labels lack has no F1 and is left out of the mean.
        """
        predicted, _ = self.predict(logits)
        true, guess = self.targets(encoded).numpy(), self.targets(predicted).numpy()
        macro, table = class_scores(true, guess, self.names)
        right = (true == guess).all(-1) if self.multi_label else true == guess
        result: dict[str, Any] = {"accuracy": float(right.mean()), "macro_f1": macro}
        if self.multi_label:
            from sklearn.metrics import f1_score

            result["micro_f1"] = float(f1_score(true, guess, average="micro", zero_division=0))
        return result | {"per_class": table}
