"""Classification of a text: one label, or several at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from hfal.tasks.classes import ClassifiedText


@dataclass(frozen=True)
class TextClassification(ClassifiedText):
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

    @property
    def inputs(self) -> tuple[str, ...]:
        """The text column."""
        return (self.text,)
