"""Questions with their pictures, as models that write read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from PIL import Image as Pil
from torch import Tensor
from transformers import AutoProcessor

from hfal.errors import HfalError, listing
from hfal.generating import Writer
from hfal.models import locate, quiet
from hfal.pixels import PixelStore, standardized
from hfal.tasks.vqa import VisualQuestionAnswering
from hfal.tokens import Tokens

PLAIN = frozenset({"input_ids", "attention_mask", "pixel_values", "token_type_ids", "mm_token_type_ids"})
"""What a processor may give; other inputs belong to models that read pictures of any size."""
TOGETHER = 64


@dataclass(frozen=True)
class SeenSources(Tokens):
    """Token ids of prompts, the places of the picture among them, and the pictures.

    Attributes:
        slots: [N] of the pictures.
        reader: gives their pixels.
    """

    slots: NDArray[np.int64] | None = None
    reader: SeenReader | None = None

    def take(self, rows: NDArray[np.int64]) -> SeenSources:
        """These rows, in this order."""
        assert self.slots is not None
        part = super().take(rows)
        return SeenSources(part.ids, part.offsets, None, self.slots[rows], self.reader)

    def extras(self) -> dict[str, Tensor]:
        """`pixel_values` [N, 3, S, S]."""
        assert self.reader is not None
        assert self.slots is not None
        return {"pixel_values": self.reader.values(self.slots)}

    def padded(self, pad_id: int, side: str = "right") -> dict[str, Tensor]:
        """All rows as the model takes them."""
        return super().padded(pad_id, side) | self.extras()


class SeenReader:
    """Reads questions and pictures for a model that writes.

    Args:
        name: of the model.
        task: says which columns are read.
        writer: of the same tokenizer.
        size: pixels of a side, as the model's image encoder has it.
        folder: for the pixels.

    Raises:
        HfalError: the model has no processor, or one that gives other inputs than pixels and tokens.
    """

    def __init__(
        self, name: str, task: VisualQuestionAnswering, writer: Writer, size: int, folder: Path | None
    ) -> None:
        try:
            with quiet():
                self.processor = AutoProcessor.from_pretrained(locate(name), backend="pil")
        except (OSError, ValueError) as error:
            raise HfalError(f"learner.model: {name!r} has no processor: {str(error).splitlines()[0]}") from error
        if not hasattr(self.processor, "image_processor"):
            raise HfalError(f"learner.model: {name!r} reads no pictures")
        images = self.processor.image_processor
        self.task, self.writer = task, writer
        self.pixels = PixelStore(task.image, size, folder)
        self.mean, self.std = tuple(images.image_mean), tuple(images.image_std)
        found = self._read(["a"])
        other = sorted(set(found) - PLAIN)
        if other:
            raise HfalError(f"learner.model: {name} reads {listing(other)} too: it cannot be used here yet")
        self._tail = writer.tail

    def values(self, slots: NDArray[np.int64]) -> Tensor:
        """[N, 3, S, S] as the image encoder takes them."""
        return standardized(self.pixels.gather(slots), self.mean, self.std)

    def sources(self, rows: Dataset) -> SeenSources:
        """The prompts and pictures of these rows."""
        questions, ids = rows[self.task.question], []
        for start in range(0, len(questions), TOGETHER):
            found = self._read(questions[start : start + TOGETHER])
            for row, mask in zip(found["input_ids"].tolist(), found["attention_mask"].tolist(), strict=True):
                kept = [token for token, is_real in zip(row, mask, strict=True) if is_real]
                ids.append(kept[: -len(self._tail)] if self._tail and kept[-len(self._tail) :] == self._tail else kept)
        tokens = Tokens.of(ids)
        return SeenSources(tokens.ids, tokens.offsets, None, self.pixels.slots(rows), self)

    def _read(self, questions: Sequence[str]) -> Any:
        blank = Pil.new("RGB", (self.pixels.size, self.pixels.size))
        texts = [self._prompt(question) for question in questions]
        return self.processor(images=[blank] * len(texts), text=texts, return_tensors="pt", padding=True)

    def _prompt(self, question: str) -> str:
        asked = self.writer.prompt.replace("{source}", question)
        if getattr(self.processor, "chat_template", None):
            content = [{"type": "image"}, {"type": "text", "text": asked}]
            messages = [{"role": "user", "content": content}]
            return str(self.processor.apply_chat_template(messages, add_generation_prompt=True))
        token = getattr(self.processor, "image_token", None)
        return f"{token}\n{asked}" if token else asked
