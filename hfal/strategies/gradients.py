"""Strategies in the space of gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hfal import functional as F
from hfal.errors import HfalError
from hfal.functional.checks import generator_or_default
from hfal.signals import Needs, Signals
from hfal.strategies.base import Context, Scored, Selection, check_whole, picked, register


@register("badge", paper="Ash et al. 2020")
@dataclass(frozen=True)
class Badge:
    """k-means++ among last-layer gradients: unsure and unlike each other at once."""

    @property
    def needs(self) -> Needs:
        """Logits and the last layer's input."""
        return Needs(pool=frozenset({"logits", "features"}))

    def select(self, context: Context, size: int) -> Selection:
        """Draws; the C x D gradients are never formed."""
        pool = context.pool
        picks = F.badge(
            pool.get("features"),
            pool.get("logits"),
            size,
            context.generator,
            multi_label=pool.multi_label,
            weights=context.weights,
        )
        return picked(context, picks)


@register("expected_gradient_length", paper="Settles et al. 2008")
@dataclass(frozen=True)
class ExpectedGradientLength(Scored):
    """Rows that would change the last layer most, in the mean over the labels they may have."""

    reads: ClassVar[frozenset[str]] = frozenset({"logits", "features"})

    def score(self, batch: Signals) -> Tensor:
        """In closed form; no gradient is computed."""
        return F.expected_gradient_length(batch.get("features"), batch.get("logits"), multi_label=batch.multi_label)


@register("bait", paper="Ash et al. 2021")
@dataclass(frozen=True)
class Bait:
    """The batch after which the last layer would be known best where the pool is (Fisher information)."""

    rank: int = 128
    penalty: float = 0.1

    @property
    def needs(self) -> Needs:
        """Logits and the last layer's input, of the pool and of the labelled rows."""
        return Needs(pool=frozenset({"logits", "features"}), labeled=frozenset({"logits", "features"}))

    def select(self, context: Context, size: int) -> Selection:
        """Twice the batch forward, then back."""
        pool, known = context.pool, context.labeled
        picks = F.bait(
            pool.get("features"),
            pool.get("logits"),
            size,
            (known.get("features"), known.get("logits")) if len(known) else None,
            context.generator,
            rank=self.rank,
            penalty=self.penalty,
            multi_label=pool.multi_label,
            weights=context.weights,
        )
        return picked(context, picks)


@register("lcmd", paper="Holzmüller et al. 2023")
@dataclass(frozen=True)
class LCMD:
    """The farthest row of the largest cluster, in the space of last-layer gradients or of embeddings.

    `sketch` projects gradients to so many numbers at random; 0 computes with them as they are, which is faster.
    """

    space: str = "gradients"
    sketch: int = 0

    def __post_init__(self) -> None:
        if self.space not in ("gradients", "embeddings"):
            raise HfalError(f"space must be gradients or embeddings, got {self.space!r}")
        check_whole("sketch", self.sketch, 0)

    @property
    def needs(self) -> Needs:
        """What spans the space, of the pool and of the labelled rows."""
        fields = frozenset({"embeddings"} if self.space == "embeddings" else {"logits", "features"})
        return Needs(pool=fields, labeled=fields)

    def select(self, context: Context, size: int) -> Selection:
        """Labelled rows are the first centres."""
        pool = self._space(context.pool)
        nearest, cluster = pool.nearest(self._space(context.labeled)) if len(context.labeled) else (None, None)
        picks = F.lcmd(
            pool.norms, pool.distances_to, size, nearest, cluster, context.generator, weights=context.weights
        )
        return picked(context, picks)

    def _space(self, signals: Signals) -> F.EuclideanSpace:
        if self.space == "embeddings":
            return F.EuclideanSpace(signals.get("embeddings"))
        space = F.GradientSpace(signals.get("features"), signals.get("logits"), multi_label=signals.multi_label)
        if not self.sketch:
            return space
        fixed = generator_or_default(None)  # the same projection for both, and in every round
        return F.EuclideanSpace(F.sketch_products(space.factors, space.embeddings, self.sketch, fixed))
