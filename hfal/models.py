"""Loading models and tokenizers, with what goes wrong told in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from hfal.demo import demo_model
from hfal.errors import HfalError

POOLINGS = ("mean", "cls")
OFFSET_POSITIONS = ("roberta", "camembert", "xlm-roberta", "data2vec-text", "longformer", "mpnet", "esm")
"""Families whose position table starts after the padding index."""


def locate(model: str) -> str:
    """`demo/...` names as the folder they stand for; anything else as it is.

    Raises:
        HfalError: a folder that is not a saved model, or has no safetensors weights.
    """
    if model.startswith("demo/"):
        return str(demo_model(model))
    folder = Path(model).expanduser()
    if not folder.is_dir():
        if model.startswith((".", "/", "~")):
            raise HfalError(f"learner.model: there is no folder {model}")
        return model
    if not (folder / "config.json").exists():
        raise HfalError(f"learner.model: {model} is not a saved model: it has no config.json")
    if not list(folder.glob("*.safetensors")):
        pickled = any(folder.glob("*.bin"))
        why = "its weights are pickled, which is not safe to load" if pickled else "it has no weights"
        raise HfalError(f"learner.model: {model}: {why}; save it with save_pretrained (safetensors)")
    return str(folder)


def load_tokenizer(model: str, *, trust_remote_code: bool, pad_token: str | None) -> Any:
    """The tokenizer of a model, with a pad token."""
    tokenizer = _load(AutoTokenizer, model, "tokenizer", trust_remote_code=trust_remote_code)
    if pad_token is not None:
        if pad_token not in tokenizer.get_vocab():
            raise HfalError(f"learner.pad_token: {pad_token!r} is not in the vocabulary of {model}")
        tokenizer.pad_token = pad_token
    if tokenizer.pad_token is None:
        known = tokenizer.eos_token or tokenizer.unk_token
        hint = f", for example pad_token: {known!r}" if known else ""
        raise HfalError(f"the tokenizer of {model} has no pad token: name one with learner.pad_token{hint}")
    return tokenizer


def load_encoder(model: str, *, trust_remote_code: bool) -> PreTrainedModel:
    """A model without a head."""
    return _load_model(AutoModel, model, trust_remote_code=trust_remote_code)


def load_classifier(
    model: str, names: tuple[str, ...], *, multi_label: bool, trust_remote_code: bool, pad_token_id: int
) -> PreTrainedModel:
    """A model with a new classification head over these labels."""
    loaded = _load_model(
        AutoModelForSequenceClassification,
        model,
        trust_remote_code=trust_remote_code,
        num_labels=len(names),
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
        problem_type="multi_label_classification" if multi_label else "single_label_classification",
        ignore_mismatched_sizes=True,
    )
    if loaded.config.pad_token_id is None:
        loaded.config.pad_token_id = pad_token_id
    return loaded


def _load_model(auto: Any, model: str, **arguments: Any) -> PreTrainedModel:
    loaded = _load(auto, model, "model", use_safetensors=True, dtype=torch.float32, **arguments)
    return loaded.eval()


def _load(auto: Any, model: str, what: str, **arguments: Any) -> Any:
    try:
        return auto.from_pretrained(locate(model), **arguments)
    except HfalError:
        raise
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().split("\n")[0]
        raise HfalError(f"learner.model: cannot load the {what} of {model!r}: {reason}") from error


def max_length_of(model: PreTrainedModel, tokenizer: Any, wanted: int | None) -> int:
    """Tokens that the model can read, special ones included; `wanted` where that is fewer."""
    limits = [wanted] if wanted else []
    if tokenizer.model_max_length and tokenizer.model_max_length < 10**6:
        limits.append(int(tokenizer.model_max_length))
    positions = getattr(model.config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        offset = (model.config.pad_token_id or 0) + 1 if model.config.model_type in OFFSET_POSITIONS else 0
        limits.append(positions - offset)
    return min(limits, default=512)


def pool_hidden(hidden: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """[B, S, D] hidden states -> [B, D] float32: the mean over real tokens, or the first real token."""
    hidden = hidden.float()
    if pooling == "cls":
        first = mask.argmax(1)
        return hidden[torch.arange(len(hidden), device=hidden.device), first]
    weights = mask.unsqueeze(-1).float()
    return (hidden * weights).sum(1) / weights.sum(1).clamp_min(1)


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
    """An encoder whose pooled states go through one linear layer.

    Saved by `save_pretrained`; after `import hfal.models`, `AutoModelForSequenceClassification.from_pretrained` and
    transformers' text-classification pipeline load it like any other.
    """

    config_class = FrozenHeadConfig
    base_model_prefix = "encoder"

    def __init__(self, config: FrozenHeadConfig, encoder: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        if encoder is None:
            settings = dict(config.encoder)
            encoder = AutoModel.from_config(AutoConfig.for_model(settings.pop("model_type"), **settings))
        self.encoder = encoder
        self.dropout = nn.Dropout(config.head_dropout)
        self.classifier = nn.Linear(encoder.config.hidden_size, config.num_labels)
        self.post_init()

    def embed(self, input_ids: Tensor, attention_mask: Tensor, **inputs: Any) -> Tensor:
        """[B, D] pooled hidden states, of length 1 where the config says so."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **inputs)
        pooled = pool_hidden(hidden.last_hidden_state, attention_mask, self.config.pooling)
        return nn.functional.normalize(pooled, dim=-1) if self.config.normalize else pooled

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **inputs: Any,
    ) -> SequenceClassifierOutput:
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


AutoConfig.register("hfal_frozen_head", FrozenHeadConfig, exist_ok=True)
AutoModelForSequenceClassification.register(FrozenHeadConfig, FrozenHeadModel, exist_ok=True)
