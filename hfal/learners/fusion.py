"""Answers about pictures: a text encoder and an image encoder joined by a small head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel, ResNetConfig

from hfal.compute import derive_seed, own_randomness, state
from hfal.dropout import ConsistentDropout, dropping
from hfal.errors import HfalError
from hfal.functional import boundary_distance
from hfal.fusion import FusionClassifier, FusionConfig, from_config
from hfal.inference import Collected, Outputs, as_signals, reducer
from hfal.learners.looking import NOT_YET, refuse_unknown
from hfal.learners.trained import TrainedLearner
from hfal.models import label_config, load_encoder, quiet
from hfal.pixels import PixelStore
from hfal.reading import text_store
from hfal.sides import SIDE
from hfal.signals import Needs, Signals
from hfal.tasks.base import Task
from hfal.tasks.vqa import VisualQuestionAnswering
from hfal.training_config import FitReport, TrainingConfig
from hfal.visual import PictureFeatures, VisualExamples, image_statistics, sharpen_norms

SMALL = {"embedding_size": 16, "hidden_sizes": [16, 32, 64], "depths": [1, 1, 1], "layer_type": "basic"}
"""The image encoder where none is named: a small ResNet without pretrained weights."""
KNOWN = frozenset({"logits", "features", "embeddings", "boundary", "mc_logits", "mc_latent", "lengths"})
TOGETHER = 2048
"""Rows that go through the head at once."""
PREVIEW = 8
"""Pixels of a side of the thumbnails by which pictures are told apart before anything is labelled."""
TRAINING = TrainingConfig(
    learning_rate=4e-3,
    min_steps=400,
    num_train_epochs=10,
    per_device_train_batch_size=64,
    gradient_accumulation_steps=1,
)
"""For an image encoder that is trained from scratch."""


@dataclass(frozen=True)
class Read:
    """Rows as the model takes them.

    Attributes:
        text: [N] where the features of the questions are.
        pictures: [N] where the pixels of the pictures are.
    """

    text: NDArray[np.int64]
    pictures: NDArray[np.int64]


class Fusion(TrainedLearner[FusionClassifier]):
    """A `FusionClassifier`, trained anew on all labels in each round. The text encoder stays as it was pretrained.

    Args:
        model: the text encoder: a Hub name, a folder, or a demo asset (`demo/minilm`).
        image_model: the image encoder; without one, a small ResNet that is trained from scratch.
        image_size: pixels of a side, to which pictures are scaled.
        freeze_image: leave the image encoder as it was pretrained too: rounds take seconds then.
        width: of the space in which questions and pictures meet.
        dropout: in the head, for training and for Monte Carlo samples.
        latent_weight: of the loss by which the latent vector is drawn to the answer's sentence embedding.
        config: how to train.
        max_length: tokens a question may have.
        trust_remote_code: run code that comes with a model. Off, and only ever on by your own word.
    """

    def __init__(
        self,
        model: str,
        config: TrainingConfig | None = None,
        *,
        image_model: str | None = None,
        image_size: int = 64,
        freeze_image: bool = False,
        width: int = 128,
        dropout: float = 0.2,
        latent_weight: float = 1.0,
        max_length: int | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        if freeze_image and image_model is None:
            raise HfalError(
                "learner.freeze_image leaves an image encoder as it is: name a pretrained one (image_model)"
            )
        self.name = model
        self.config = config or TRAINING
        self.image_model = image_model
        self.image_size = image_size
        self.freeze_image = freeze_image
        self.width = width
        self.dropout = dropout
        self.latent_weight = latent_weight
        self.max_length = max_length
        self.trust_remote_code = trust_remote_code

    def describe(self) -> dict[str, Any]:
        """The learner as configuration."""
        names = ("image_model", "image_size", "freeze_image", "width", "dropout", "latent_weight", "max_length")
        settings = {name: getattr(self, name) for name in names}
        return {"type": "fusion", "model": self.name, **settings, "training": self.config.model_dump()}

    task: VisualQuestionAnswering
    cache: Path | None

    def bind(self, task: Task, seed: int, cache: Path | None = None) -> None:
        """See `Learner.bind`. Encoders, features and pixels are kept where only the seed is new."""
        same = self._model is not None and self.task == task and self.cache == cache
        if not isinstance(task, VisualQuestionAnswering):
            raise HfalError(f"learner.type fusion answers questions about pictures: it does not do {task.name}")
        self.task, self.seed, self.cache = task, seed, cache
        if not same:
            self.texts = text_store(
                self.name, cache, max_length=self.max_length, trust_remote_code=self.trust_remote_code
            )
            self.tokenizer = self.texts.tokens.tokenizer
            self.pixels = PixelStore(task.image, self.image_size, cache)
            self._answers = self._texts_of(task.names)
        self._model, self._trained = self._fresh(), False
        self._pictures = PictureFeatures(self._model, self.pixels)

    def _fresh(self) -> FusionClassifier:
        with own_randomness(derive_seed("head", self.seed)):  # the same in every round
            if self.image_model is None:
                image: PreTrainedModel = from_config(ResNetConfig(**SMALL).to_diff_dict())
                mean: Sequence[float] = (0.5, 0.5, 0.5)
                std: Sequence[float] = (0.5, 0.5, 0.5)
            else:
                image = load_encoder(self.image_model, trust_remote_code=self.trust_remote_code)
                mean, std = image_statistics(self.image_model)
            config = FusionConfig(
                text=self.texts.model.encoder.config.to_diff_dict(),
                image=image.config.to_diff_dict(),
                width=self.width,
                latent_size=self._answers.shape[1],
                dropout=self.dropout,
                image_size=self.image_size,
                image_mean=mean,
                image_std=std,
                **label_config(self.task),
            )
            model = FusionClassifier(config, self.texts.model.encoder, image)
        model.text_encoder.requires_grad_(False)
        model.image_encoder.requires_grad_(not self.freeze_image)
        model.eval()
        return model

    def _texts_of(self, texts: Sequence[str]) -> Tensor:
        """[N, D] sentence embeddings."""
        return self.texts.gather(self.texts.slots(Dataset.from_dict({SIDE.text: list(texts)})))

    def _read(self, rows: Dataset) -> Read:
        questions = rows.select_columns([self.task.question]).rename_column(self.task.question, SIDE.text)
        return Read(self.texts.slots(questions), self.pixels.slots(rows))

    def fit(self, train_rows: Dataset, validation: Dataset | None = None) -> FitReport:
        """See `Learner.fit`."""
        model = self._fresh()
        examples = self._examples(model, train_rows)
        held_out = None if validation is None else self._examples(model, validation)
        model, report = self._train(model, examples, held_out, len(train_rows))
        if not self.freeze_image:
            sharpen_norms(model, self.pixels, examples.pictures)
        self._use(model)
        return report

    def _use(self, model: FusionClassifier) -> None:
        self._model, self._trained = model, True
        self._pictures = PictureFeatures(model, self.pixels)
        self._latent = model.compact()

    def _examples(self, model: FusionClassifier, rows: Dataset) -> VisualExamples:
        read = self._read(rows)
        targets = self.task.targets(rows["labels"])
        shares = targets / targets.sum(1, keepdim=True).clamp_min(1e-6)
        meaning = nn.functional.normalize(shares @ self._answers, dim=1)
        pictures = self.pixels if not self.freeze_image else PictureFeatures(model, self.pixels)
        return VisualExamples(
            self.texts.gather(read.text), read.pictures, pictures, targets, meaning, self.latent_weight
        )

    def signals(self, rows: Dataset, needs: Needs) -> Signals:
        """See `Learner.signals`. Each picture goes through its encoder once in a round, each question once in a run."""
        model = self.current
        if not self._trained and needs.every_field - {"embeddings"}:
            raise HfalError(NOT_YET)
        self._check(needs)
        read = self._read(rows)
        finish = reducer(needs, self.task)
        results = Collected(np.ones(len(rows), dtype=np.int64), self.cache)
        if self._trained:
            model.to(state().device)
            self._pictures.prepare(read.pictures)
        for start in range(0, len(rows), TOGETHER):
            part = slice(start, start + TOGETHER)
            text = self.texts.gather(read.text[part])
            found = (
                self._outputs(text, read.pictures[part], needs) if self._trained else self._preview(text, read, part)
            )
            results.put(np.arange(len(rows))[part], finish(found))
        return as_signals(results.outputs(), self.task)

    def _check(self, needs: Needs) -> None:
        refuse_unknown("fusion", needs, KNOWN)
        if needs.mc_samples and needs.mc_layers != "head":
            raise HfalError(f"fusion drops in its head only: mc_layers={needs.mc_layers} needs another learner")

    def _preview(self, text: Tensor, read: Read, part: slice) -> Outputs:
        """Before anything is learned: the question, and a thumbnail of the picture, each of length 1."""
        small = nn.functional.adaptive_avg_pool2d(self.pixels.gather(read.pictures[part]).float() / 255, PREVIEW)
        return {"embeddings": torch.cat((text, nn.functional.normalize(small.flatten(1), dim=1)), 1)}

    @torch.inference_mode()
    def _outputs(self, text: Tensor, pictures: NDArray[np.int64], needs: Needs) -> Outputs:
        model, device = self.model, state().device
        joint = model.join(text.to(device), self._pictures.gather(pictures).to(device))
        fused = model.read(joint)
        found: Outputs = {"logits": fused.logits, "features": fused.hidden, "embeddings": fused.hidden}
        if "boundary" in needs.every_field:
            found["boundary"] = boundary_distance(fused.logits, model.classifier.weight)
        if needs.mc_samples:
            found |= self._samples(joint, needs)
        return {k: v.float().cpu() for k, v in found.items() if isinstance(v, Tensor)}

    def _samples(self, joint: Tensor, needs: Needs) -> Outputs:
        """[B, K, C] logits and [B, K, A] latent vectors of K thinned heads."""
        model, hidden = self.model, []
        with dropping(model.dropout):
            for sample in range(needs.mc_samples):
                with ConsistentDropout(derive_seed("mc", self.seed), sample):
                    hidden.append(model.hide(joint))
        samples, found = torch.stack(hidden, 1), Outputs()
        if "mc_logits" in needs.every_field:
            found["mc_logits"] = model.classifier(samples)
        if "mc_latent" in needs.every_field:
            found["mc_latent"] = nn.functional.normalize(self._latent(samples), dim=-1)
        return found

    def load(self, folder: Path) -> None:
        """See `Learner.load`."""
        with quiet():
            self._use(FusionClassifier.from_pretrained(folder, use_safetensors=True).eval())
