"""Classification of a text: one label, or several at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor

from hfal.errors import HfalError, listing
from hfal.functional import Legal
from hfal.tasks.base import Batch
from hfal.tasks.labels import check_columns, check_names, index_of, names_in
from hfal.tasks.scores import class_scores


@dataclass(frozen=True)
class TextClassification:
    """A text has one of C labels or, with `multi_label`, any number of them.

    Args:
        text: column of the texts.
        label: column of the labels, where the data has them.
        label_names: in the order of the model's outputs. Taken from the column's `ClassLabel` or its values
            where they are not given.
        multi_label: labels are lists.
    """

    text: str = "text"
    label: str = "label"
    label_names: Sequence[str] | None = None
    multi_label: bool = False

    name: ClassVar[str] = "text_classification"
    auto_model: ClassVar[str] = "AutoModelForSequenceClassification"
    default_strategy: ClassVar[str] = "margin>kmeans(prefilter=10)"
    per_word: ClassVar[bool] = False
    skips_empty: ClassVar[bool] = False
    legal: ClassVar[Legal | None] = None

    def __post_init__(self) -> None:
        if self.label_names is None:
            return
        names = check_names(self.label_names)
        if len(names) < (1 if self.multi_label else 2):
            raise HfalError(f"label_names: at least two classes are needed, got {listing(names) or 'none'}")
        object.__setattr__(self, "label_names", names)

    @property
    def main_metric(self) -> str:
        """What curves and stopping look at."""
        return "macro_f1"

    @property
    def inputs(self) -> tuple[str, ...]:
        """The text column."""
        return (self.text,)

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

    def resolve(self, dataset: Dataset) -> TextClassification:
        """Check the text column, and find the label names where none were given."""
        check_columns(dataset, self.inputs)
        kind = getattr(dataset.features[self.text], "dtype", None)
        if kind not in ("string", "large_string"):
            raise HfalError(f"column {self.text!r} must hold text, but it holds {kind or 'structures'}")
        if self.label_names is not None:
            return self
        if self.label not in dataset.column_names:
            raise HfalError(
                f"the label names are not known: there is no column {self.label!r} to take them from; give "
                f"label_names (columns: {listing(dataset.column_names)})"
            )
        return replace(self, label_names=names_in(dataset, self.label))

    def keys(self, batch: Batch) -> list[bytes]:
        """The text itself."""
        return [text.encode("utf-8", "surrogatepass") for text in batch[self.text]]

    def empty(self, batch: Batch) -> list[str | None]:
        """Missing and blank texts."""
        return [
            "is missing (None)" if text is None else "is empty" if not text.strip() else None
            for text in batch[self.text]
        ]

    def tokenizer_inputs(self, batch: Batch) -> tuple[list[str], ...]:
        """One text a row."""
        return (batch[self.text],)

    def lengths(self, batch: Batch) -> list[int]:
        """Words between blanks."""
        return [len(text.split()) for text in batch[self.text]]

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

    def joined(self, other: TextClassification, what: str) -> TextClassification:
        """The same: a label that the pool does not have is refused where it is met."""
        return self

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
