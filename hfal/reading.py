"""How the rows of a task are read: with which tokenizer, into which tokens, by which model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from hfal.alignment import WordCache
from hfal.embeddings import EmbeddingStore
from hfal.errors import HfalError
from hfal.frozen import FrozenHeadConfig, FrozenHeadModel, FrozenPairHeadModel, FrozenWordHeadModel, cut_layers
from hfal.marks import MarkedCache, MarkedHeadModel, ids_of, know_markers, learn_markers
from hfal.models import label_config, load_classifier, load_encoder, load_tokenizer, max_length_of, problem_type
from hfal.sides import SIDE
from hfal.tasks.base import Task
from hfal.tokens import TokenCache
from hfal.visual import VisualCache, image_statistics

HEADS: dict[str, type[FrozenHeadModel]] = {
    "text": FrozenHeadModel,
    "words": FrozenWordHeadModel,
    "pair": FrozenPairHeadModel,
    "marks": MarkedHeadModel,
}
"""The model over a frozen encoder, by what it embeds of a row."""
CUT = ("words", "marks")
"""What is best read from the middle of an encoder: states of single words."""
CACHES: dict[str, type[TokenCache]] = {"words": WordCache, "marks": MarkedCache}


def tokenizer_for(model: str, task: Task, *, trust_remote_code: bool, pad_token: str | None) -> Any:
    """The tokenizer of a model; it knows the markers of a task that has some."""
    of_words = task.embedded == "words"
    tokenizer = load_tokenizer(model, trust_remote_code=trust_remote_code, pad_token=pad_token, of_words=of_words)
    if task.embedded == "marks":
        learn_markers(tokenizer, task.markers)  # type: ignore[attr-defined]
    return tokenizer


def cache_for(tokenizer: Any, task: Task, max_length: int) -> TokenCache:
    """The cache that reads rows as the task does, where they are text."""
    return CACHES.get(task.embedded, TokenCache)(tokenizer, task, max_length)  # type: ignore[arg-type]


def frozen_model(
    model: str, task: Task, tokenizer: Any, *, layers: int | None, trust_remote_code: bool, **config: Any
) -> FrozenHeadModel:
    """A pretrained encoder (its lowest `layers`, where they are given or single words are read) with a new head."""
    encoder = load_encoder(model, trust_remote_code=trust_remote_code)
    if task.embedded in CUT or layers is not None:
        encoder = cut_layers(encoder, layers)
    return _headed(encoder, task, tokenizer, **config)


def classifier_for(model: str, task: Task, tokenizer: Any, *, trust_remote_code: bool) -> PreTrainedModel:
    """A pretrained model with a new head, to be trained as a whole."""
    if task.embedded == "marks":
        return _headed(load_encoder(model, trust_remote_code=trust_remote_code), task, tokenizer, normalize=False)
    return load_classifier(model, task, trust_remote_code=trust_remote_code, pad_token_id=tokenizer.pad_token_id)


def _headed(encoder: PreTrainedModel, task: Task, tokenizer: Any, **config: Any) -> FrozenHeadModel:
    kind = HEADS.get(task.embedded)
    if kind is None:
        raise HfalError(f"no frozen head reads {task.name}: use another learner")
    if task.embedded == "marks":
        config["marker_ids"] = ids_of(tokenizer, task.markers)  # type: ignore[attr-defined]
        know_markers(encoder, config["marker_ids"], len(tokenizer))
    settings = kind.config_class(
        encoder=encoder.config.to_diff_dict(),
        **config,
        **label_config(task),
        problem_type=None if task.per_word else problem_type(task),
        pad_token_id=tokenizer.pad_token_id,
    )
    model: FrozenHeadModel = kind(settings, encoder).eval()
    return model


def plain_encoder(model: str, *, trust_remote_code: bool) -> FrozenHeadModel:
    """A pretrained encoder that embeds texts by the mean of their states, of length 1."""
    encoder = load_encoder(model, trust_remote_code=trust_remote_code)
    settings = FrozenHeadConfig(encoder=encoder.config.to_diff_dict())
    embedder: FrozenHeadModel = FrozenHeadModel(settings, encoder).eval()
    return embedder


def text_store(
    model: str,
    folder: Path | None,
    *,
    max_length: int | None = None,
    trust_remote_code: bool = False,
) -> EmbeddingStore:
    """Embeddings of single texts (`SIDE`) by a pretrained encoder; its tokenizer is at `tokens.tokenizer`."""
    tokenizer = load_tokenizer(model, trust_remote_code=trust_remote_code, pad_token=None)
    encoder = plain_encoder(model, trust_remote_code=trust_remote_code)
    length = max_length_of(encoder.encoder, tokenizer, max_length)
    return EmbeddingStore(encoder, TokenCache(tokenizer, SIDE, length), SIDE, folder)


def visual_cache(
    name: str, model: PreTrainedModel, tokenizer: Any, task: Task, max_length: int, folder: Path | None
) -> VisualCache:
    """The cache that reads questions and pictures for a model of both.

    Raises:
        HfalError: the model does not say how large its pictures are.
    """
    config = getattr(model.config, "vision_config", model.config)
    size, patch = (getattr(config, key, None) for key in ("image_size", "patch_size"))
    if not isinstance(size, int) or not isinstance(patch, int):
        raise HfalError(f"learner.model: {name} reads pictures of no fixed size: learner.type fusion takes any encoder")
    patches = (size // patch) ** 2
    statistics = image_statistics(name)
    return VisualCache(tokenizer, task, max_length, size=size, patches=patches, statistics=statistics, folder=folder)
