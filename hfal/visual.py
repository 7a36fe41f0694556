"""Questions about pictures as they are trained on and passed over: each picture goes through its encoder once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from transformers import AutoImageProcessor

from hfal.compute import progress, state, sum_over_processes
from hfal.errors import HfalError
from hfal.examples import Examples
from hfal.fusion import FusionClassifier
from hfal.models import locate, quiet
from hfal.pixels import PixelStore, standardized
from hfal.sides import SIDE
from hfal.tasks.base import Task
from hfal.tokens import TokenCache, Tokens

BATCH = 256
"""Pictures that go through their encoder at once."""

Slots = NDArray[np.int64]


class PictureFeatures:
    """What the image encoder makes of pictures, by their slot; each once, as long as the model is the same.

    Args:
        model: with its weights as they are.
        pixels: of the pictures.
    """

    def __init__(self, model: FusionClassifier, pixels: PixelStore) -> None:
        self.model = model
        self.pixels = pixels
        self._place = np.full(0, -1, dtype=np.int64)
        self._values = torch.empty(0, 0)

    @torch.inference_mode()
    def prepare(self, slots: Slots) -> None:
        """Have the features of these pictures."""
        wanted = np.unique(slots)
        if len(wanted) and len(self._place) <= wanted[-1]:
            more = np.full(int(wanted[-1]) + 1 - len(self._place), -1, dtype=np.int64)
            self._place = np.concatenate((self._place, more))
        new = wanted[self._place[wanted] < 0]
        if not len(new):
            return
        current, model = state(), self.model.to(state().device).eval()
        parts = [new[start : start + BATCH] for start in range(0, len(new), BATCH)]
        found: Tensor | None = None
        with progress(len(new), "pictures", "picture") as bar:
            for number, part in enumerate(parts):
                if number % current.num_processes == current.process_index:
                    pixels = self.pixels.gather(part).to(current.device)
                    values = model.image_features(model.pixel_values(pixels)).float().cpu()
                    found = torch.zeros(len(new), values.shape[1]) if found is None else found
                    found[number * BATCH : number * BATCH + len(part)] = values
                bar.update(len(part))
        if found is None:
            found = torch.zeros(len(new), int(model.from_image.in_features))
        self._place[new] = len(self._values) + np.arange(len(new))
        self._values = torch.cat((self._values.reshape(-1, found.shape[1]), sum_over_processes(found)))

    def gather(self, slots: Slots) -> Tensor:
        """[len(slots), F]"""
        self.prepare(slots)
        return self._values[torch.from_numpy(self._place[slots])]


class VisualExamples(Examples):
    """Labelled questions about pictures.

    Args:
        text: [N, D] features of the questions.
        pictures: [N] slots of their pictures.
        store: gives pixels, where the image encoder learns, or features of pictures, where it does not.
        targets: [N, C] scores of the answers.
        meaning: [N, A] where the latent vector should be, of length 1; zeros where nobody knows.
        latent_weight: of that loss.
    """

    def __init__(
        self,
        text: Tensor,
        pictures: Slots,
        store: PixelStore | PictureFeatures,
        targets: Tensor,
        meaning: Tensor,
        latent_weight: float,
    ) -> None:
        super().__init__(Tokens.empty(), targets, 0)
        self.text = text
        self.pictures = pictures
        self.store = store
        self.meaning = meaning
        self.latent_weight = latent_weight

    def __len__(self) -> int:
        return len(self.text)

    def outputs(self, rows: Slots) -> int:
        """One a row."""
        return len(rows)

    def losses(
        self,
        model: nn.Module,
        task: Task,
        rows: Slots,
        device: torch.device,
        class_weights: Tensor | None = None,
        smoothing: float = 0.0,
        part: int | None = None,
    ) -> Tensor:
        """[B] loss of the answer, and how far the latent vector is from what the answer means."""
        where = torch.from_numpy(rows)
        slots, of = np.unique(self.pictures[rows], return_inverse=True)
        found = self.store.gather(slots).to(device)
        inputs = {"image_of": torch.from_numpy(of.reshape(-1)).to(device), "text_features": self.text[where].to(device)}
        inner: Any = getattr(model, "module", model)
        if isinstance(self.store, PixelStore):
            inputs["pixel_values"] = inner.pixel_values(found)
        else:
            inputs["image_features"] = found
        answer = model(**inputs)
        _, latent = answer.hidden_states
        loss = task.loss(answer.logits.float(), self.values[where].to(device), class_weights, smoothing)
        meaning = self.meaning[where].to(device)
        known = meaning.square().sum(1) > 0
        away: Tensor = known * (1 - (latent.float() * meaning).sum(1))
        return loss + self.latent_weight * away


@torch.no_grad()
def sharpen_norms(model: FusionClassifier, pixels: PixelStore, slots: Slots) -> None:
    """Batch normalisation by the statistics of all training pictures, in place of a running mean over steps.

    They follow from the weights and the pictures alone, so that they are the same on any number of processes.
    """
    norms = [module for module in model.image_encoder.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean
        norm.train()
    wanted = np.unique(slots)
    for part in np.array_split(wanted, max(1, round(len(wanted) / BATCH))):
        model.image_features(model.pixel_values(pixels.gather(part).to(state().device)))
    for norm in norms:
        norm.momentum = 0.1
        norm.eval()


@dataclass(frozen=True)
class VisualTokens:
    """N questions as token ids, and the pictures that they are about.

    Attributes:
        tokens: of the questions.
        slots: [N] of the pictures.
        pixels: of all pictures.
        mean: of each colour, from 0 to 1, as the model's image processor has it.
        std: the same of the spread.
        patches: places in the model's sequence that a picture takes.
    """

    tokens: Tokens
    slots: Slots
    pixels: PixelStore
    mean: tuple[float, ...]
    std: tuple[float, ...]
    patches: int

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[N] tokens and patches of each row."""
        return self.tokens.lengths + self.patches

    @property
    def units(self) -> NDArray[np.int64]:
        """[N] outputs of each row: one."""
        return self.tokens.units

    def places(self, rows: Slots) -> Slots:
        """Where the outputs of these rows are among all: a row has one."""
        return rows

    def pad(self, rows: Slots, pad_id: int, side: str = "right") -> dict[str, Tensor]:
        """These rows as the model takes them, with `pixel_values` [B, 3, S, S]."""
        batch = self.tokens.pad(rows, pad_id, side)
        batch["pixel_values"] = standardized(self.pixels.gather(self.slots[rows]), self.mean, self.std)
        return batch


class VisualCache(TokenCache):
    """Tokens of questions and pixels of pictures, each made once.

    Args:
        tokenizer: of the model.
        task: says which columns are read.
        max_length: tokens a question may have.
        size: pixels of a side.
        patches: places in the model's sequence that a picture takes.
        statistics: mean and spread of the colours, as the model's image processor has them.
        folder: for the pixels.
    """

    def __init__(
        self,
        tokenizer: Any,
        task: Task,
        max_length: int,
        *,
        size: int,
        patches: int,
        statistics: tuple[tuple[float, ...], tuple[float, ...]],
        folder: Path | None,
    ) -> None:
        super().__init__(tokenizer, SIDE, max_length)
        self.question, image = task.inputs[1], task.inputs[0]
        self.pixels = PixelStore(image, size, folder)
        self.patches = patches
        self.statistics = statistics

    def get(self, rows: Dataset) -> VisualTokens:
        """The questions and pictures of these rows."""
        tokens = super().get(rows.select_columns([self.question]).rename_column(self.question, SIDE.text))
        return VisualTokens(tokens, self.pixels.slots(rows), self.pixels, *self.statistics, self.patches)


def image_statistics(model: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and spread of the colours that a model was trained with.

    Raises:
        HfalError: it was saved without an image processor.
    """
    try:
        with quiet():
            processor = AutoImageProcessor.from_pretrained(locate(model), backend="pil")
    except (OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise HfalError(f"{model!r} has no image processor: {reason}") from error
    return tuple(processor.image_mean), tuple(processor.image_std)
