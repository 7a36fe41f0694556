"""A frozen encoder and one linear layer, as models of transformers: for rows, and for words.

After `import hfal.frozen`, `AutoModelForSequenceClassification.from_pretrained`,
`AutoModelForTokenClassification.from_pretrained` and transformers' pipelines load them like any other.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput, TokenClassifierOutput

from hfal.errors import HfalError
from hfal.models import freeze_pooler, pool_hidden, unit_length


def layers_of(encoder: PreTrainedModel) -> tuple[nn.Module, str, nn.ModuleList] | None:
    """The one stack of layers of an encoder, and where it hangs: parent, name, stack; None where there is no such."""
    total = getattr(encoder.config, "num_hidden_layers", 0)
    stacks = [
        (parent, name, child)
        for parent in encoder.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.ModuleList) and len(child) == total
    ]
    return stacks[0] if len(stacks) == 1 else None


def train_upper(encoder: PreTrainedModel, layers: int) -> None:
    """Leave all but the upper layers of an encoder as they are; of all its layers, nothing is left out."""
    found = layers_of(encoder)
    if found is None:
        raise HfalError(f"learner.grow: {type(encoder).__name__} has no single stack of layers")
    stack = found[2]
    if layers < len(stack):
        encoder.requires_grad_(False)
        for layer in list(stack)[len(stack) - layers :]:
            layer.requires_grad_(True)


def cut_layers(encoder: PreTrainedModel, layers: int | None) -> PreTrainedModel:
    """The encoder with its lowest layers only, so that those above cost nothing.

    Args:
        encoder: changed in place.
        layers: how many stay; two thirds of them where it is not given and the encoder can be cut. For tagging,
            the states in the middle carry over best (Liu et al. 2019).

    Raises:
        HfalError: so many layers there are not, or they cannot be told apart.
    """
    found = layers_of(encoder)
    if found is None:
        if layers is None:
            return encoder
        raise HfalError(f"learner.layers: {type(encoder).__name__} has no single stack of layers to cut")
    parent, name, stack = found
    total = len(stack)
    wanted = max(1, round(total * 2 / 3)) if layers is None else layers
    if not 1 <= wanted <= total:
        raise HfalError(f"learner.layers must be between 1 and the {total} of the model, got {layers}")
    setattr(parent, name, stack[:wanted])
    encoder.config.num_hidden_layers = wanted
    return encoder


class FrozenHeadConfig(PretrainedConfig):
    """Configuration of `FrozenHeadModel`: the encoder's own, and how its states are pooled."""

    model_type = "hfal_frozen_head"

    def __init__(
        self,
        encoder: dict[str, Any] | None = None,
        pooling: str = "mean",
        normalize: bool = True,
        head_dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        self.encoder = encoder or {}
        self.pooling = pooling
        self.normalize = normalize
        self.head_dropout = head_dropout
        super().__init__(**kwargs)


class FrozenHeadModel(PreTrainedModel):
    """An encoder whose pooled states go through one linear layer."""

    config_class: type[FrozenHeadConfig] = FrozenHeadConfig
    base_model_prefix = "encoder"
    embeds = 1
    """States that `embed` gives of a text, end to end."""
    width = 1
    """Those that the head reads of a row."""

    def __init__(self, config: FrozenHeadConfig, encoder: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        if encoder is None:
            settings = dict(config.encoder)
            encoder = AutoModel.from_config(AutoConfig.for_model(settings.pop("model_type"), **settings))
        freeze_pooler(encoder)
        self.encoder = encoder
        self.dropout = nn.Dropout(config.head_dropout)
        self.classifier = nn.Linear(self.width * encoder.config.hidden_size, config.num_labels)
        self.post_init()

    def embed(self, input_ids: Tensor, attention_mask: Tensor, **inputs: Any) -> Tensor:
        """[B, D] pooled hidden states, of length 1 where the config says so."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **inputs)
        pooled = pool_hidden(hidden.last_hidden_state, attention_mask, self.config.pooling)
        return unit_length(pooled) if self.config.normalize else pooled

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **inputs: Any,
    ) -> SequenceClassifierOutput | TokenClassifierOutput:
        """Logits [B, C]; a loss too where labels are given."""
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        inputs = {name: value for name, value in inputs.items() if name == "token_type_ids"}
        logits = self.classifier(self.dropout(self.embed(input_ids, attention_mask, **inputs)))
        loss = None
        if labels is not None:
            multi = self.config.problem_type == "multi_label_classification"
            measure = nn.functional.binary_cross_entropy_with_logits if multi else nn.functional.cross_entropy
            loss = measure(logits, labels.to(logits.dtype) if multi else labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


def pair_features(left: Tensor, right: Tensor) -> Tensor:
    """[B, D] and [B, D], of length 1 -> [B, 4 D]: both, their distance and their product (Conneau et al. 2017).

    The product is scaled to lengths near 1, and the texts themselves by 0.3: how they differ tells more than what they
    are, and a penalty on the weights must not drown it (measured in docs/pairs.md).
    """
    return torch.cat((0.3 * left, 0.3 * right, (left - right).abs(), left * right * left.shape[-1] ** 0.5), -1)


class FrozenPairHeadConfig(FrozenHeadConfig):
    """Configuration of `FrozenPairHeadModel`."""

    model_type = "hfal_frozen_pair_head"


class FrozenPairHeadModel(FrozenHeadModel):
    """An encoder that reads two texts by themselves, and one linear layer over what they have in common."""

    config_class = FrozenPairHeadConfig
    width = 4

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        pair_input_ids: Tensor,
        pair_attention_mask: Tensor,
        labels: Tensor | None = None,
    ) -> SequenceClassifierOutput:
        """Logits [B, C] of pairs; the second texts are tokenized by themselves, as the first are."""
        left, right = self.embed(input_ids, attention_mask), self.embed(pair_input_ids, pair_attention_mask)
        logits = self.classifier(self.dropout(pair_features(left, right)))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


class FrozenWordHeadModel(FrozenHeadModel):
    """An encoder whose states each go through one linear layer."""

    def embed(self, input_ids: Tensor, attention_mask: Tensor, **inputs: Any) -> Tensor:
        """[B, S, D] hidden states, of length 1 where the config says so."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **inputs).last_hidden_state.float()
        return unit_length(hidden) if self.config.normalize else hidden

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **inputs: Any,
    ) -> TokenClassifierOutput:
        """Logits [B, S, C]; a loss too where labels are given (-100 is left out)."""
        logits = super().forward(input_ids, attention_mask, **inputs).logits
        loss = None
        if labels is not None:
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return TokenClassifierOutput(loss=loss, logits=logits)


AutoConfig.register("hfal_frozen_head", FrozenHeadConfig, exist_ok=True)
AutoConfig.register("hfal_frozen_pair_head", FrozenPairHeadConfig, exist_ok=True)
AutoModelForSequenceClassification.register(FrozenPairHeadConfig, FrozenPairHeadModel, exist_ok=True)
AutoModelForSequenceClassification.register(FrozenHeadConfig, FrozenHeadModel, exist_ok=True)
AutoModelForTokenClassification.register(FrozenHeadConfig, FrozenWordHeadModel, exist_ok=True)
