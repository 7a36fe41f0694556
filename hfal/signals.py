"""What one pass over the pool yields: the only thing that strategies see of the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FIELDS = ("logits", "embeddings", "features", "mc_logits")


@dataclass(frozen=True)
class Signals:
    """Outputs of the model, row i of each field belonging to `rows[i]`.

    Attributes:
        rows: [N] int64 positions in the pool.
        logits: [N, C].
        embeddings: [N, D] pooled hidden states.
        features: [N, H] the input of the last linear layer.
        mc_logits: [K, N, C] logits of K dropout samples.
        reduced: name -> [N] scores that were computed inside the pass.
        multi_label: the C outputs are independent yes/no decisions.
    """

    rows: NDArray[np.int64]
    logits: Tensor | None = None
    embeddings: Tensor | None = None
    features: Tensor | None = None
    mc_logits: Tensor | None = None
    reduced: Mapping[str, Tensor] = field(default_factory=dict)
    multi_label: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def get(self, name: str) -> Tensor:
        """The field `name`, which the strategy must have asked for in its `Needs`."""
        value: Tensor | None = getattr(self, name)
        if value is None:
            raise ValueError(f"the pass yielded no {name}: name it in the strategy's Needs(pool={{...}})")
        return value

    def take(self, indices: Tensor) -> Signals:
        """The rows at these indices (not positions), in this order."""
        return replace(
            self,
            rows=self.rows[indices.numpy()],
            logits=None if self.logits is None else self.logits[indices],
            embeddings=None if self.embeddings is None else self.embeddings[indices],
            features=None if self.features is None else self.features[indices],
            mc_logits=None if self.mc_logits is None else self.mc_logits[:, indices],
            reduced={name: values[indices] for name, values in self.reduced.items()},
        )

    def indices_of(self, rows: NDArray[np.int64]) -> Tensor:
        """Where these rows stand in the fields: [k] int64 indices."""
        order = np.argsort(self.rows)
        return torch.from_numpy(order[np.searchsorted(self.rows, rows, sorter=order)])

    def decisions(self, name: str = "logits") -> Tensor:
        """Logits as distributions: [..., C], or [..., C, 2] (no, yes) where the classes are independent."""
        logits = self.get(name)
        return torch.stack((torch.zeros_like(logits), logits), -1) if self.multi_label else logits


Reducer = Callable[[Signals], Tensor]


@dataclass(frozen=True)
class Needs:
    """What one pass must yield.

    Attributes:
        pool: fields wanted for the unlabelled rows.
        labeled: fields wanted for the labelled rows.
        batch: fields that the reducers read; they are dropped after each batch.
        reduce: name -> function from the `Signals` of a batch to [B] scores. Memory is [N] whatever it reads.
        mc_samples: K dropout samples for `mc_logits`.
        mc_layers: "head" (the encoder runs once; Shelmanov et al. 2021) or "all" (K passes).
    """

    pool: frozenset[str] = frozenset()
    labeled: frozenset[str] = frozenset()
    batch: frozenset[str] = frozenset()
    reduce: Mapping[str, Reducer] = field(default_factory=dict)
    mc_samples: int = 0
    mc_layers: str = "head"

    def __post_init__(self) -> None:
        for name in ("pool", "labeled", "batch"):
            asked = frozenset(getattr(self, name))
            unknown = asked - set(FIELDS)
            if unknown:
                raise ValueError(f"Needs({name}=...): unknown signal {sorted(unknown)[0]!r}; known: {FIELDS}")
            object.__setattr__(self, name, asked)
        if "mc_logits" in self.every_field and self.mc_samples < 1:
            raise ValueError("mc_logits need mc_samples of at least 1")
        if self.mc_layers not in ("head", "all"):
            raise ValueError(f"mc_layers must be 'head' or 'all', got {self.mc_layers!r}")

    @property
    def every_field(self) -> frozenset[str]:
        """All fields that the model must compute."""
        return self.pool | self.labeled | self.batch

    @property
    def any_pool(self) -> bool:
        """Whether the pool must be passed over at all."""
        return bool(self.pool or self.reduce)

    def for_labeled(self) -> Needs:
        """The same, asked of the labelled rows."""
        return Needs(pool=self.labeled, mc_samples=self.mc_samples, mc_layers=self.mc_layers)

    def __or__(self, other: Needs) -> Needs:
        """One pass that serves both."""
        return Needs(
            pool=self.pool | other.pool,
            labeled=self.labeled | other.labeled,
            batch=self.batch | other.batch,
            reduce={**self.reduce, **other.reduce},
            mc_samples=max(self.mc_samples, other.mc_samples),
            mc_layers="all" if "all" in (self.mc_layers, other.mc_layers) else "head",
        )
