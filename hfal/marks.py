"""Entities that are marked in a text: their tokens, and a model that reads their states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import AddedToken
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from hfal.frozen import FrozenHeadConfig, FrozenHeadModel
from hfal.models import pool_hidden, unit_length
from hfal.tokens import TokenCache, Tokens


def learn_markers(tokenizer: Any, markers: Sequence[str]) -> None:
    """Make the markers tokens of the tokenizer."""
    tokenizer.add_tokens([AddedToken(mark, normalized=False, lstrip=False, rstrip=False) for mark in markers])


def ids_of(tokenizer: Any, markers: Sequence[str]) -> list[int]:
    """The ids of the markers."""
    return [int(tokenizer.convert_tokens_to_ids(mark)) for mark in markers]


def know_markers(encoder: PreTrainedModel, ids: Sequence[int], tokens: int) -> None:
    """Give an encoder embeddings for the markers, which begin as the mean of all others.

    Args:
        encoder: changed in place.
        ids: of the markers.
        tokens: that the tokenizer has now.
    """
    known = int(encoder.get_input_embeddings().weight.shape[0])
    if known < tokens:
        encoder.resize_token_embeddings(tokens, mean_resizing=False)
    with torch.no_grad():
        weight = encoder.get_input_embeddings().weight
        weight[list(ids)] = weight[: min(known, *ids)].mean(0)


class MarkedHeadConfig(FrozenHeadConfig):
    """Configuration of `MarkedHeadModel`: `marker_ids` are before and after the first entity, and the second."""

    model_type = "hfal_marked_head"

    def __init__(self, marker_ids: Sequence[int] = (), **kwargs: Any) -> None:
        self.marker_ids = list(marker_ids)
        super().__init__(**kwargs)


class MarkedHeadModel(FrozenHeadModel):
    """An encoder, and one linear layer over the states of two marked entities and of the whole text."""

    config_class = MarkedHeadConfig
    embeds = width = 3

    def pool(self, hidden: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """[B, S, D] states -> [B, 3 D]: the mean over each entity with its markers, and over the text."""
        places = [(input_ids == mark).float().argmax(1, keepdim=True) for mark in self.config.marker_ids]
        at = torch.arange(input_ids.shape[1], device=input_ids.device)
        parts = [pool_hidden(hidden, ((at >= a) & (at <= b)).long(), "mean") for a, b in (places[:2], places[2:])]
        parts.append(pool_hidden(hidden, attention_mask, "mean"))
        return torch.cat([unit_length(part) if self.config.normalize else part for part in parts], -1)

    def embed(self, input_ids: Tensor, attention_mask: Tensor, **inputs: Any) -> Tensor:
        """[B, 3 D] as `pool` gives them."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **inputs).last_hidden_state
        return self.pool(hidden, input_ids, attention_mask)


AutoConfig.register("hfal_marked_head", MarkedHeadConfig, exist_ok=True)
AutoModelForSequenceClassification.register(MarkedHeadConfig, MarkedHeadModel, exist_ok=True)


class MarkedCache(TokenCache):
    """Tokens of texts with marked entities: a text that is too long is cut around them, never through them."""

    def __init__(self, tokenizer: Any, task: Any, max_length: int) -> None:
        super().__init__(tokenizer, task, max_length)
        self.marker_ids = ids_of(tokenizer, task.markers)

    def _encode(self, batch: dict[str, list[Any]]) -> Tokens:
        encoded = self.tokenizer(*self.task.tokenizer_inputs(batch), verbose=False)
        special = set(self.tokenizer.all_special_ids) - set(self.marker_ids)
        rows = []
        for ids in encoded["input_ids"]:
            if len(ids) > self.max_length:
                self._cut += 1
                ids = np.array(ids)[self._around(np.array(ids), special)].tolist()
            rows.append(ids)
        return Tokens.of(rows)

    def _around(self, ids: NDArray[np.int64], special: set[int]) -> NDArray[np.int64]:
        """The places that are kept: special tokens at both ends, the entities, and what is nearest to them."""
        edges = [at for at in (0, len(ids) - 1) if int(ids[at]) in special]
        marks = [int(np.flatnonzero(ids == mark)[0]) for mark in self.marker_ids]
        distance = np.full(len(ids), len(ids))
        for opening, closing in (marks[:2], marks[2:]):
            at = np.arange(len(ids))
            distance = np.minimum(distance, np.maximum(opening - at, at - closing).clip(min=0))
        distance[marks] = -1
        distance[edges] = -2
        return np.sort(np.argsort(distance, kind="stable")[: self.max_length])
