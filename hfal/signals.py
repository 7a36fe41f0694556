"""What one pass over the pool yields: the only thing that strategies see of the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hfal.functional import Legal, Ragged

LOOKS = ("hidden_states", "word_boundary", "word_gradients", "surprisal")
"""Fields that need a pass of their own, some of them gradients too: to be asked of few rows, in a closer look."""
OF_TEXTS = ("texts", "starts", "sources", "samples", "token_log_probs", "token_entropies")
"""Fields of texts that are generated."""
FIELDS = (
    "logits",
    "embeddings",
    "features",
    "mc_logits",
    "mc_latent",
    "lengths",
    "boundary",
    "similarity",
    *LOOKS,
    *OF_TEXTS,
)
OF_OUTPUTS = frozenset(
    {"logits", "features", "mc_logits", "boundary", "word_boundary", "word_gradients", "surprisal", "hidden_states"}
)
"""Fields that have one entry for each output of the model, a row or a word; looks are of rows only."""
SAMPLED = frozenset({"mc_logits", "mc_latent"})
"""Fields whose first dimension is the sample."""
OF_KIND = {"similarity": "pair", "mc_latent": "latent", **dict.fromkeys(OF_TEXTS, "text")}
"""Fields that only some tasks have, and what `Task.yields` calls them."""


@dataclass(frozen=True)
class Signals:
    """Outputs of the model, row i of each field belonging to `rows[i]`.

    Attributes:
        rows: [N] int64 positions in the pool.
        logits: [N, C]; where words are tagged, `Ragged` with values [T, C].
        embeddings: [N, D] pooled hidden states.
        features: [N, H] the input of the last linear layer.
        mc_logits: [K, N, C] logits of K dropout samples; where words are tagged, `Ragged` with values [T, K, C].
        mc_latent: [K, N, H] a hidden representation in K dropout samples.
        lengths: [N] words.
        similarity: [N] cosine of the embeddings of a pair's texts, by the encoder as it was pretrained.
        texts: N texts that the model writes.
        starts: N places where these begin in a context, in characters; -1 where there is no answer.
        sources: N texts that they are written for.
        samples: N times K texts that it might have written.
        token_log_probs: `Ragged` with values [T]: log-probability of each token of `texts`.
        token_entropies: `Ragged` with values [T]: entropy of the distribution that each token is from.
        hidden_states: [N, L, D] the states of each layer, embeddings included, pooled over the tokens.
        boundary: [N] distance to the nearest boundary in the space of the last layer's input.
        word_boundary: [N] the same in the space of the word embeddings, through the whole model.
        word_gradients: [N] the longest expected gradient of a word's embedding.
        surprisal: [N, W] how unlikely a language model finds some of a text's first W tokens; 0 for the others.
        reduced: name -> [N] scores that were computed inside the pass.
        multi_label: the C outputs are independent yes/no decisions.
        legal: which sequences of tags are allowed, where words are tagged under a scheme.
    """

    rows: NDArray[np.int64]
    logits: Tensor | Ragged | None = None
    embeddings: Tensor | None = None
    features: Tensor | None = None
    mc_logits: Tensor | Ragged | None = None
    mc_latent: Tensor | None = None
    lengths: Tensor | None = None
    hidden_states: Tensor | None = None
    boundary: Tensor | None = None
    similarity: Tensor | None = None
    word_boundary: Tensor | None = None
    word_gradients: Tensor | None = None
    surprisal: Tensor | None = None
    texts: list[str] | None = None
    starts: list[int] | None = None
    sources: list[str] | None = None
    samples: list[list[str]] | None = None
    token_log_probs: Ragged | None = None
    token_entropies: Ragged | None = None
    reduced: Mapping[str, Tensor] = field(default_factory=dict)
    multi_label: bool = False
    legal: Legal | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def outputs(self) -> Any:
        """What `Task.predict`, `tally` and `metrics` take: logits, or these signals where texts are written."""
        return self if self.logits is None or self.texts is not None else self.logits

    def get(self, name: str) -> Tensor:
        """The field `name`, which the strategy must have asked for in its `Needs`, as one entry a row."""
        value: Tensor | Ragged = self._field(name)
        if isinstance(value, Ragged):
            raise ValueError(f"{name} are one a word here: read them with words({name!r})")
        return value

    def words(self, name: str = "logits") -> Ragged:
        """The field `name` where it has one entry a word."""
        value: Tensor | Ragged = self._field(name)
        if not isinstance(value, Ragged):
            raise ValueError(f"{name} are one a row here: read them with get({name!r})")
        return value

    def listed(self, name: str) -> list[Any]:
        """The field `name` where it is a list."""
        found: list[Any] = self._field(name)
        return found

    def _field(self, name: str) -> Any:
        value: Any = getattr(self, name)
        if value is None:
            raise ValueError(f"the pass yielded no {name}: name it in the strategy's Needs(pool={{...}})")
        return value

    def take(self, indices: Tensor) -> Signals:
        """The rows at these indices (not positions), in this order."""
        fields: dict[str, Any] = {}
        for name in FIELDS:
            value = getattr(self, name)
            sampled = name in SAMPLED and isinstance(value, Tensor)
            fields[name] = value[:, indices] if sampled else _take(value, indices)
        reduced = {name: values[indices] for name, values in self.reduced.items()}
        return replace(self, rows=self.rows[indices.numpy()], reduced=reduced, **fields)

    def indices_of(self, rows: NDArray[np.int64]) -> Tensor:
        """Where these rows stand in the fields: [k] int64 indices."""
        order = np.argsort(self.rows)
        return torch.from_numpy(order[np.searchsorted(self.rows, rows, sorter=order)])

    def decisions(self, name: str = "logits") -> Tensor:
        """Logits as distributions: [..., C], or [..., C, 2] (no, yes) where the classes are independent."""
        return as_decisions(self.get(name), self.multi_label)


def as_decisions(logits: Tensor, multi_label: bool) -> Tensor:
    """Logits as distributions: [..., C], or [..., C, 2] (no, yes) where the classes are independent."""
    return torch.stack((torch.zeros_like(logits), logits), -1) if multi_label else logits


def _take(field: Any, indices: Tensor) -> Any:
    if field is None:
        return None
    if isinstance(field, list):
        return [field[at] for at in indices.tolist()]
    return field.take(indices) if isinstance(field, Ragged) else field[indices]


SAMPLE_BY = ("sampling", "dropout", "beams")
"""Where samples of texts come from; of two that are asked for in one pass, the later one."""
MC_LAYERS = ("head", "all", "checkpoints")
"""Where samples of the model come from; of two that are asked for in one pass, the later one."""

Reducer = Callable[[Signals], Tensor]


@dataclass(frozen=True)
class Needs:
    """What one pass must yield.

    Attributes:
        pool: fields wanted for the unlabelled rows.
        labeled: fields wanted for the labelled rows.
        source: fields wanted for the rows of another set that was learned before (transfer).
        aside: fields wanted for the rows that were asked and got no label.
        batch: fields that the reducers read; they are dropped after each batch.
        reduce: name -> function from the `Signals` of a batch to [B] scores. Memory is [N] whatever it reads.
        mc_samples: K samples of the model for `mc_logits`.
        mc_layers: where they come from: dropout in the "head" (the encoder runs once; Shelmanov et al. 2021) or in
            "all" layers (K passes), or "checkpoints" of one training (at most K passes; Chitta et al. 2019).
        sample_by: how `samples` of texts, and `mc_latent` of them, come about: "sampling" from the model's
            distribution, "dropout", or "beams".
        units: what has an output of the model where that is read: {"row"}, {"word"}, or neither matters. "row"
            where it is not said and logits, features or samples are read; and what else only some tasks have.
    """

    pool: frozenset[str] = frozenset()
    labeled: frozenset[str] = frozenset()
    source: frozenset[str] = frozenset()
    aside: frozenset[str] = frozenset()
    batch: frozenset[str] = frozenset()
    reduce: Mapping[str, Reducer] = field(default_factory=dict)
    mc_samples: int = 0
    mc_layers: str = "head"
    sample_by: str = "sampling"
    units: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name in ("pool", "labeled", "source", "aside", "batch"):
            asked = frozenset(getattr(self, name))
            unknown = asked - set(FIELDS)
            if unknown:
                raise ValueError(f"Needs({name}=...): unknown signal {sorted(unknown)[0]!r}; known: {FIELDS}")
            object.__setattr__(self, name, asked)
        if self.every_field & SAMPLED and self.mc_samples < 1:
            raise ValueError("samples need mc_samples of at least 1")
        if self.mc_layers not in MC_LAYERS:
            raise ValueError(f"mc_layers must be one of {', '.join(MC_LAYERS)}, got {self.mc_layers!r}")
        if self.sample_by not in SAMPLE_BY:
            raise ValueError(f"sample_by must be one of {', '.join(SAMPLE_BY)}, got {self.sample_by!r}")
        units = frozenset(self.units)
        if not units and self.every_field & OF_OUTPUTS:
            units = frozenset({"row"})
        units |= {unit for name, unit in OF_KIND.items() if name in self.every_field}
        object.__setattr__(self, "units", units)

    @property
    def every_field(self) -> frozenset[str]:
        """All fields that are read."""
        return self.pool | self.labeled | self.source | self.aside | self.batch

    @property
    def looks(self) -> frozenset[str]:
        """The fields that need a pass of their own."""
        return self.every_field & set(LOOKS)

    def of_model(self) -> Needs:
        """What the model must compute: everything but lengths."""
        return replace(self, pool=self.pool - {"lengths"}, labeled=self.labeled - {"lengths"})

    @property
    def any_pool(self) -> bool:
        """Whether the pool must be passed over at all."""
        return bool(self.pool or self.reduce)

    def for_labeled(self) -> Needs:
        """The same, asked of the labelled rows."""
        return self._of(self.labeled)

    def for_aside(self) -> Needs:
        """The same, asked of the rows that got no label."""
        return self._of(self.aside)

    def _of(self, fields: frozenset[str]) -> Needs:
        none: frozenset[str] = frozenset()
        return replace(self, pool=fields, labeled=none, source=none, aside=none, batch=none, reduce={})

    def __or__(self, other: Needs) -> Needs:
        """One pass that serves both."""
        return Needs(
            pool=self.pool | other.pool,
            labeled=self.labeled | other.labeled,
            source=self.source | other.source,
            aside=self.aside | other.aside,
            batch=self.batch | other.batch,
            reduce={**self.reduce, **other.reduce},
            mc_samples=max(self.mc_samples, other.mc_samples),
            mc_layers=max(self.mc_layers, other.mc_layers, key=MC_LAYERS.index),
            sample_by=max(self.sample_by, other.sample_by, key=SAMPLE_BY.index),
            units=self.units | other.units,
        )
