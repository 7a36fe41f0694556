"""Texts written for texts: summaries, translations, replies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor

from hfal.errors import HfalError
from hfal.tasks.base import Batch
from hfal.tasks.labels import check_whole, with_column
from hfal.tasks.usual import RowTask, blank, check_text, written

TARGET_WORDS = "target_words"


@dataclass(frozen=True)
class Generation(RowTask):
    """A text is written for a source.

    A label is a text, or a list of texts each of which is right (references, for rows that are measured on; the first
    is trained on). *Encoded*, it is a list of texts.

    Args:
        source: column of the sources.
        target: column of the texts that should be written, where the data has them.
    """

    source: str = "source"
    target: str = "target"

    name: ClassVar[str] = "generation"
    auto_model: ClassVar[str] = "AutoModelForSeq2SeqLM"
    default_strategy: ClassVar[str] = "idds"
    default_start: ClassVar[str] = "idds"
    asks: ClassVar[str] = "text"
    embedded: ClassVar[str] = "source"
    yields: ClassVar[frozenset[str]] = frozenset({"latent", "text"})
    output_fields: ClassVar[frozenset[str]] = frozenset({"texts", "token_log_probs"})
    names: ClassVar[tuple[str, ...]] = ()
    classes: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if self.source == self.target:
            raise HfalError(f"source and target are the same column, {self.source!r}")

    @property
    def label(self) -> str:
        """The column of targets."""
        return self.target

    @property
    def main_metric(self) -> str:
        """What curves and stopping look at."""
        return "rouge_l"

    @property
    def inputs(self) -> tuple[str, ...]:
        """The source."""
        return (self.source,)

    @property
    def arrow_label(self) -> pa.DataType:
        """Texts."""
        return pa.list_(pa.string())

    @property
    def arrow_prediction(self) -> pa.DataType:
        """One text."""
        return pa.string()

    def prepare(self, dataset: Dataset) -> Dataset:
        """The same rows, and how many words their targets have, for budgets in `target_words`."""
        feature = dataset.features.get(self.target)
        if getattr(feature, "dtype", None) not in ("string", "large_string") or TARGET_WORDS in dataset.column_names:
            return dataset
        words = [max(1, len((text or "").split())) for text in dataset[self.target]]
        return with_column(dataset, TARGET_WORDS, words)

    def resolve(self, dataset: Dataset) -> Self:
        """Check the column of sources."""
        check_text(dataset, self.inputs)
        return self

    def keys(self, batch: Batch) -> list[bytes]:
        """The source itself."""
        return [text.encode("utf-8", "surrogatepass") for text in batch[self.source]]

    def empty(self, batch: Batch) -> list[str | None]:
        """Missing and blank sources."""
        return blank(batch, self.inputs)

    def tokenizer_inputs(self, batch: Batch) -> tuple[list[str], ...]:
        """The source."""
        return (batch[self.source],)

    def lengths(self, batch: Batch) -> list[int]:
        """Words of the source between blanks."""
        return [len(text.split()) for text in batch[self.source]]

    def encode(self, label: Any, where: str, row: Mapping[str, Any] | None = None) -> list[str]:
        """A text, or texts -> texts without blanks at their ends."""
        texts = [label] if isinstance(label, str) else label
        if not isinstance(texts, (list, tuple, np.ndarray)) or not all(isinstance(text, str) for text in texts):
            raise HfalError(f"target {label!r} in {where} is neither a text nor a list of texts")
        found = [check_whole(text.strip(), where) for text in texts if text.strip()]
        if not found:
            raise HfalError(f"the target in {where} is empty")
        return found

    def decode(self, encoded: Any) -> list[str]:
        """The same."""
        return list(encoded)

    def present(self, row: Mapping[str, Any], encoded: Any) -> Any:
        """The text."""
        return encoded[0] if encoded else ""

    def mentions(self, encoded: Any) -> list[str]:
        """A text speaks of no class."""
        return []

    def targets(self, encoded: Sequence[Any]) -> Any:
        """Not used: learners of texts make tokens of them."""
        raise TypeError("texts are learned token by token: use learner.type generate")

    def loss(self, logits: Tensor, targets: Tensor, class_weights: Tensor | None, smoothing: float) -> Tensor:
        """Not used: learners of texts have the loss of each token."""
        raise TypeError("texts are learned token by token: use learner.type generate")

    def predict(self, outputs: Any) -> tuple[list[Any], NDArray[np.float32]]:
        """What is written, and the geometric mean of its tokens' probabilities."""
        return written(outputs)

    @property
    def tallied(self) -> str:
        """The score that `tally` gives."""
        return "rouge_l"

    def tally(self, outputs: Any, encoded: Sequence[Any]) -> NDArray[np.float64]:
        """ROUGE-L of each row's text, and of how many: one."""
        from hfal.tasks.text_scores import rouge

        return np.array([[row["rouge_l"], 1.0] for row in rouge(outputs.texts, encoded)])

    def metrics(self, outputs: Any, encoded: Sequence[Any]) -> dict[str, Any]:
        """`rouge_1`, `rouge_2`, `rouge_l` (F1, of the best reference), `chrf`, `exact_match`, `words` written."""
        from hfal.tasks.text_scores import score_texts

        return score_texts(outputs.texts, encoded)
