"""Relations between two entities that are marked in a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from datasets import Dataset
from torch import Tensor

from hfal.errors import HfalError, listing, nearest
from hfal.tasks.base import Batch
from hfal.tasks.classes import ClassifiedText

MARKERS = ("<e1>", "</e1>", "<e2>", "</e2>")


@dataclass(frozen=True)
class Relations(ClassifiedText):
    """Two entities, marked in a text, stand in one of C relations.

    The markers become tokens of the tokenizer. The model reads the states of both entities, markers included
    (Baldini Soares et al. 2019 read the opening markers), and the text's mean state.

    Args:
        text: column of the texts, each marker once in each: "an <e1>array</e1> of <e2>elements</e2>".
        label: column of the labels, where the data has them.
        label_names: in the order of the model's outputs. Taken from the column where they are not given.
        markers: before and after the first entity, before and after the second; either may come first in the text.
        none: the label of entities that stand in no relation; the mean F1 leaves it out, as SemEval-2010 does.
    """

    text: str = "text"
    label: str = "label"
    label_names: Sequence[str] | None = None
    markers: Sequence[str] = MARKERS
    none: str | None = None

    name: ClassVar[str] = "relations"
    embedded: ClassVar[str] = "marks"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "markers", tuple(self.markers))
        if len(self.markers) != 4 or len(set(self.markers)) < 4 or not all(mark.strip() for mark in self.markers):
            raise HfalError(f"markers must be four different texts, as {list(MARKERS)}; got {list(self.markers)}")

    @property
    def inputs(self) -> tuple[str, ...]:
        """The text column."""
        return (self.text,)

    def resolve(self, dataset: Dataset) -> Self:
        """Check the columns, and find the label names where none were given."""
        known = super().resolve(dataset)
        if known.none is not None and known.none not in known.names:
            raise HfalError(
                f"none: {known.none!r} is not one of {listing(known.names)}{nearest(known.none, known.names)}"
            )
        return known

    def empty(self, batch: Batch) -> list[str | None]:
        """Texts that are missing or blank, or in which an entity is not marked."""
        problems = super().empty(batch)
        for at, text in enumerate(batch[self.text]):
            problems[at] = problems[at] or self._unmarked(text)
        return problems

    def _unmarked(self, text: str) -> str | None:
        for mark in self.markers:
            if (times := text.count(mark)) != 1:
                return f"column {self.text!r} has the marker {mark} {times} times, and must have it once"
        for opening, closing in (self.markers[:2], self.markers[2:]):
            inside, closed, _ = text.partition(opening)[2].partition(closing)
            if not (closed and inside.strip()):
                return f"column {self.text!r} has no words between {opening} and {closing}"
        return None

    def lengths(self, batch: Batch) -> list[int]:
        """Words between blanks, markers left out."""
        return [len(self.plain(text).split()) for text in batch[self.text]]

    def plain(self, text: str) -> str:
        """The text without its markers."""
        for mark in self.markers:
            text = text.replace(mark, "")
        return text

    def segments(self, text: str) -> list[tuple[str, int | None]]:
        """A marked text as pieces in their order, each with the entity that it is: 1, 2, or None for neither."""
        places = sorted((text.index(mark), mark) for mark in self.markers)
        pieces: list[tuple[str, int | None]] = []
        at, inside = 0, None
        for place, mark in places:
            pieces.append((text[at:place], inside))
            number = self.markers.index(mark)
            inside = number // 2 + 1 if number % 2 == 0 else None
            at = place + len(mark)
        return [piece for piece in (*pieces, (text[at:], None)) if piece[0]]

    def metrics(self, logits: Tensor, encoded: Sequence[Any]) -> dict[str, Any]:
        """`macro_f1` over the relations that the labels have (`none` left out), `accuracy` and `per_class`."""
        found = super().metrics(logits, encoded)
        rows = [row["f1"] for name, row in found["per_class"].items() if row["support"] and name != self.none]
        return found | {"macro_f1": float(np.mean(rows)) if rows else 0.0}
