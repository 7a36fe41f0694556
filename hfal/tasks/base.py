"""The shape of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import pyarrow as pa
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor

from hfal.functional import Legal

Batch = dict[str, list[Any]]
TYPED = ("answer", "text")
"""What `Task.asks` says where people type."""


class Task(Protocol):
    """What pool, learners, oracles and reports need to know of the work.

    A label has three forms: as found in the data (a name, an index, a list of them, entities), *encoded* (int,
    or a list of int for several labels or words), and as *names* (str, or a list of str), which is what files
    hold.

    Attributes:
        name: as in `task: {type: …}`.
        auto_model: the class of transformers whose models are fine-tuned.
        default_strategy: what chooses where nothing else is said.
        default_start: what chooses the seed set then.
        per_word: the model's outputs are one a word (`Ragged`), not one a row.
        embedded: what a frozen encoder embeds of a row: its "text", each of its "words", the two texts of a "pair".
        yields: what strategies can read of the model: a prediction for each "row" or "word"; for a "pair", how alike
            its texts are.
        output_fields: the signals from which `predict`, `tally` and `metrics` tell (`Signals.outputs`).
        checks_row: whether a label can only be checked beside its row.
        skips_empty: rows from which nothing can be learned are left out without being asked to.
    """

    name: ClassVar[str]
    auto_model: ClassVar[str]
    default_strategy: ClassVar[str]
    default_start: ClassVar[str]
    per_word: ClassVar[bool]
    embedded: ClassVar[str]
    yields: ClassVar[frozenset[str]]
    output_fields: ClassVar[frozenset[str]]
    skips_empty: ClassVar[bool]
    checks_row: ClassVar[bool]

    @property
    def label(self) -> str:
        """The column of labels, where the data has them."""
        ...

    @property
    def multi_label(self) -> bool:
        """Whether a row can have several labels."""
        ...

    @property
    def asks(self) -> str:
        """How people answer: "one" label or "several", tags of "words", a "span" of a text, a typed "answer" of a
        line, or a "text"."""
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

    @property
    def classes(self) -> tuple[str, ...]:
        """What people call the classes: label names, or entity types."""
        ...

    @property
    def legal(self) -> Legal | None:
        """Which sequences of outputs are allowed, where words are tagged under a scheme."""
        ...

    @property
    def arrow_label(self) -> pa.DataType:
        """The type of a label's names in files."""
        ...

    @property
    def arrow_prediction(self) -> pa.DataType:
        """The type of what `present` gives."""
        ...

    def prepare(self, dataset: Dataset) -> Dataset:
        """The same rows in the form in which the others take them."""
        ...

    def resolve(self, dataset: Dataset) -> Self:
        """The same task with its label names known and its columns checked."""
        ...

    def joined(self, other: Any, what: str) -> Self:
        """The same task with what another part of the data adds to the label names, where that may be."""
        ...

    def present(self, row: Mapping[str, Any], encoded: Any) -> Any:
        """A prediction as people want it in a file."""
        ...

    def keys(self, batch: Batch) -> list[bytes]:
        """What tells one input from another, for each row of a batch."""
        ...

    def empty(self, batch: Batch) -> list[str | None]:
        """For each row, the column and why nothing could be learned from it (`None` where there is no such reason)."""
        ...

    def lengths(self, batch: Batch) -> list[int]:
        """Words of each row: what budgets in words count."""
        ...

    def encode(self, label: Any, where: str, row: Mapping[str, Any] | None = None) -> Any:
        """A label as found in the data -> encoded; anything else is an error that says where.

        With the row's inputs it is checked against them too.
        """
        ...

    def decode(self, encoded: Any) -> Any:
        """An encoded label -> its name or names."""
        ...

    def mentions(self, encoded: Any) -> list[str]:
        """The classes that a label speaks of, one for each time."""
        ...

    def targets(self, encoded: Sequence[Any]) -> Any:
        """Encoded labels -> what the loss takes: [N] int64, [N, C] float32 for several labels, `Ragged` for words."""
        ...

    def loss(self, logits: Tensor, targets: Tensor, class_weights: Tensor | None, smoothing: float) -> Tensor:
        """[B] loss of each output: row or word."""
        ...

    def predict(self, logits: Any) -> tuple[list[Any], NDArray[np.float32]]:
        """Logits, [N, C] or `Ragged`, -> encoded predictions and the probability of each."""
        ...

    @property
    def tallied(self) -> str:
        """The score that `tally` gives: the sum of its first column over the sum of its second."""
        ...

    def tally(self, logits: Any, encoded: Sequence[Any]) -> NDArray[np.float64]:
        """[N, 2] what each row adds to a score that is a ratio of sums, so that its error can be told from a sample."""
        ...

    def absent(self, encoded: Sequence[Any]) -> str | None:
        """What scores are of and no row of these has, so that they would be 0 whatever is learned; else None."""
        ...

    def metrics(self, logits: Any, encoded: Sequence[Any]) -> dict[str, Any]:
        """Scores of logits against encoded labels: floats, the main one among them, and `per_class` as a table."""
        ...


def one_of_several(task: Task) -> bool:
    """Whether a row has one label of classes that matter alike, so that it pays to balance them."""
    return task.asks == "one" and getattr(task, "sought", None) is None


class TextTask(Task, Protocol):
    """A task whose rows are read as a text, or as two."""

    def tokenizer_inputs(self, batch: Batch) -> tuple[list[str], ...]:
        """The texts, or the two texts, of each row."""
        ...


class WordTask(Task, Protocol):
    """A task whose rows are read word by word."""

    @property
    def outside(self) -> int:
        """The output of words that the model cannot see."""
        ...

    def words(self, batch: Batch) -> list[list[str]]:
        """The words of each row."""
        ...
