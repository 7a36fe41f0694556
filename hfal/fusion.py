"""A text encoder and an image encoder joined by a small head, as one model of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForVisualQuestionAnswering, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from hfal.models import pool_hidden, unit_length
from hfal.pixels import standardized


class FusionConfig(PretrainedConfig):
    """Configuration of `FusionClassifier`.

    Attributes:
        text: configuration of the text encoder.
        image: configuration of the image encoder.
        width: of the space in which both meet.
        latent_size: of the space in which answers that mean the same lie together.
        dropout: in the head.
        image_size: pixels of a side; pictures are scaled to a square.
        image_mean: of each colour, from 0 to 1.
        image_std: the same of the spread.
    """

    model_type = "hfal_fusion"

    def __init__(
        self,
        text: dict[str, Any] | None = None,
        image: dict[str, Any] | None = None,
        width: int = 128,
        latent_size: int = 384,
        dropout: float = 0.2,
        image_size: int = 64,
        image_mean: Sequence[float] = (0.5, 0.5, 0.5),
        image_std: Sequence[float] = (0.5, 0.5, 0.5),
        **kwargs: Any,
    ) -> None:
        self.text = text or {}
        self.image = image or {}
        self.width = width
        self.latent_size = latent_size
        self.dropout = dropout
        self.image_size = image_size
        self.image_mean = list(image_mean)
        self.image_std = list(image_std)
        super().__init__(**kwargs)


class Fused(NamedTuple):
    """What the head makes of a question and a picture."""

    logits: Tensor
    """[B, C]"""
    hidden: Tensor
    """[B, W] the input of the last layer"""
    latent: Tensor
    """[B, A] of length 1"""


def from_config(settings: dict[str, Any]) -> PreTrainedModel:
    """A model without a head and without pretrained weights."""
    values = dict(settings)
    model: PreTrainedModel = AutoModel.from_config(AutoConfig.for_model(values.pop("model_type"), **values))
    return model


def image_width(config: Any) -> int:
    """Features that an image encoder of this configuration gives."""
    sizes = getattr(config, "hidden_sizes", None)
    return int(sizes[-1] if sizes else config.hidden_size)


class FusionClassifier(PreTrainedModel):
    """Answers questions about pictures with one of C answers.

    Question and picture meet as the product of two projections (bilinear pooling; Kim et al. 2017); a hidden layer
    reads it, from which come the logits and a latent vector. That is trained towards the sentence embedding of the
    answer, so that different wordings of one answer lie together (after Jedoui et al. 2019).
    """

    config_class = FusionConfig

    def __init__(
        self,
        config: FusionConfig,
        text_encoder: PreTrainedModel | None = None,
        image_encoder: PreTrainedModel | None = None,
    ) -> None:
        super().__init__(config)
        self.text_encoder = text_encoder or from_config(config.text)
        self.image_encoder = image_encoder or from_config(config.image)
        self.from_text = nn.Linear(self.text_encoder.config.hidden_size, config.width)
        self.from_image = nn.Linear(image_width(self.image_encoder.config), config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.hidden = nn.Linear(config.width, config.width)
        self.latent = nn.Linear(config.width, config.latent_size)
        self.classifier = nn.Linear(config.width, config.num_labels)
        self.post_init()

    def text_features(self, input_ids: Tensor, attention_mask: Tensor, **inputs: Any) -> Tensor:
        """[B, D] mean states of questions, of length 1."""
        states = self.text_encoder(input_ids=input_ids, attention_mask=attention_mask, **inputs).last_hidden_state
        return unit_length(pool_hidden(states, attention_mask, "mean"))

    def image_features(self, pixel_values: Tensor) -> Tensor:
        """[B, F] of pictures: what the encoder pools, or its first state."""
        found = self.image_encoder(pixel_values)
        pooled = getattr(found, "pooler_output", None)
        features: Tensor = found.last_hidden_state[:, 0] if pooled is None else pooled
        return features.flatten(1)

    def pixel_values(self, pixels: Tensor) -> Tensor:
        """[B, 3, S, S] uint8 -> as the image encoder takes them."""
        return standardized(pixels, self.config.image_mean, self.config.image_std)

    def fuse(self, text: Tensor, image: Tensor) -> Fused:
        """Features of questions [B, D] and of pictures [B, F] -> what the head makes of them."""
        return self.read(self.join(text, image))

    def join(self, text: Tensor, image: Tensor) -> Tensor:
        """[B, W] where question and picture meet; nothing is dropped yet."""
        joint: Tensor = self.from_text(text) * self.from_image(image)
        return joint

    def hide(self, joint: Tensor) -> Tensor:
        """[B, W] -> [B, W] the hidden layer, from which logits and latent vector come."""
        hidden: Tensor = self.dropout(torch.relu(self.hidden(self.dropout(joint))))
        return hidden

    def compact(self) -> nn.Linear:
        """The latent layer in an orthonormal basis of what it can reach: lengths and angles are the same, and there are
        at most W + 1 dimensions."""
        whole = torch.cat((self.latent.weight, self.latent.bias[:, None]), 1).detach()
        if whole.shape[1] >= whole.shape[0]:
            return self.latent
        reach = torch.linalg.qr(whole.double()).R.to(whole.dtype)
        layer = nn.Linear(reach.shape[1] - 1, len(reach)).to(whole.device)
        layer.weight.data, layer.bias.data = reach[:, :-1].contiguous(), reach[:, -1].contiguous()
        return layer

    def read(self, joint: Tensor) -> Fused:
        """[B, W] -> what the head makes of it."""
        hidden = self.hide(joint)
        latent = nn.functional.normalize(self.latent(hidden), dim=-1)
        return Fused(self.classifier(hidden), hidden, latent)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        labels: Tensor | None = None,
        text_features: Tensor | None = None,
        image_features: Tensor | None = None,
        image_of: Tensor | None = None,
        **inputs: Any,
    ) -> SequenceClassifierOutput:
        """Logits [B, C], and the latent vectors as `hidden_states`.

        Args:
            input_ids: of questions; or their `text_features` [B, D].
            attention_mask: of questions.
            pixel_values: [P, 3, S, S]; or their `image_features` [P, F].
            labels: [B, C] scores of the answers, for a loss.
            text_features: where they are known already.
            image_features: where they are known already.
            image_of: [B] which of the P pictures each question is about; each its own, where it is not given.
        """
        if text_features is None:
            assert input_ids is not None
            mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
            known = {name: value for name, value in inputs.items() if name == "token_type_ids"}
            text_features = self.text_features(input_ids, mask, **known)
        if image_features is None:
            image_features = self.image_features(pixel_values)  # type: ignore[arg-type]
        fused = self.fuse(text_features, image_features if image_of is None else image_features[image_of])
        loss = None
        if labels is not None:
            shares = labels / labels.sum(-1, keepdim=True).clamp_min(1e-6)
            loss = -(shares * torch.log_softmax(fused.logits, -1)).sum(-1).mean()
        return SequenceClassifierOutput(loss=loss, logits=fused.logits, hidden_states=(fused.hidden, fused.latent))


AutoConfig.register("hfal_fusion", FusionConfig, exist_ok=True)
AutoModelForVisualQuestionAnswering.register(FusionConfig, FusionClassifier, exist_ok=True)
