"""Strategies in the space of gradients."""

from __future__ import annotations

from dataclasses import dataclass

from hfal import functional as F
from hfal.signals import Needs
from hfal.strategies.base import Context, Selection, picked, register


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
