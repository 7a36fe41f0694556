"""Strategies that ask where one prediction is unsure, and chance."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hfal import functional as F
from hfal.signals import Needs, Signals
from hfal.strategies.base import Context, Scored, Selection, drawn, register


@register("random", paper="-")
@dataclass(frozen=True)
class Random:
    """Rows drawn evenly: the baseline that every other strategy must beat."""

    @property
    def needs(self) -> Needs:
        """Nothing: no pass is made."""
        return Needs()

    def select(self, context: Context, size: int) -> Selection:
        """`size` rows without replacement."""
        return drawn(context, size)


@register("least_confidence", paper="Lewis and Gale 1994")
@dataclass(frozen=True)
class LeastConfidence(Scored):
    """Rows whose most likely class is least likely."""

    def score(self, batch: Signals) -> Tensor:
        """`1 - p_1`; the mean over the labels where they are independent."""
        return over_labels(F.least_confidence(batch.decisions()))


@register("margin", paper="Scheffer et al. 2001")
@dataclass(frozen=True)
class Margin(Scored):
    """Rows whose two most likely classes are closest."""

    def score(self, batch: Signals) -> Tensor:
        """`1 - (p_1 - p_2)`; the mean over the labels where they are independent."""
        return over_labels(F.margin(batch.decisions()))


@register("entropy", paper="Shannon 1948; Settles 2009")
@dataclass(frozen=True)
class Entropy(Scored):
    """Rows whose predicted distribution has the highest entropy."""

    def score(self, batch: Signals) -> Tensor:
        """Nats; the mean over the labels where they are independent."""
        return over_labels(F.entropy(batch.decisions()))


def over_labels(scores: Tensor) -> Tensor:
    """[B] as it is; [B, C] scores of independent labels as their mean."""
    return scores.mean(-1) if scores.ndim == 2 else scores
