"""Strategies that look at predicted classes, or at the predictions of neighbours."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from hfal import functional as F
from hfal.errors import HfalError
from hfal.signals import Needs
from hfal.strategies.base import (
    ByScore,
    Context,
    Selection,
    Strategy,
    by_score,
    check_whole,
    no_costs,
    picked,
    register,
)
from hfal.strategies.uncertainty import Margin, over_labels


@dataclass(frozen=True)
class _OfClasses(ByScore):
    by: Strategy = field(default_factory=Margin)

    @property
    def needs(self) -> Needs:
        """Logits, for the predicted class, and what the score reads."""
        return self.by.needs | Needs(pool=frozenset({"logits"}))

    @staticmethod
    def predicted(context: Context) -> Tensor:
        """[N] the likeliest class, or label."""
        return context.pool.get("logits").argmax(-1)


@register("class_quota", paper="Lv et al. 2020")
@dataclass(frozen=True)
class ClassQuota(_OfClasses):
    """The least sure rows of each predicted class, in number as the class is unsure on average."""

    def select(self, context: Context, size: int) -> Selection:
        """The score is that of `by`."""
        scores = self.wanted(context)
        picks = F.class_quota(scores, self.predicted(context), size, context.num_classes, context.generator)
        return picked(context, picks, scores[picks])


@register("high_confidence_mix", paper="Kasai et al. 2019")
@dataclass(frozen=True)
class HighConfidenceMix(_OfClasses):
    """Rows that are least sure and rows that are most sure, both balanced over predicted classes.

    `confident` is the share of the batch that is taken from the sure end.
    """

    confident: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.confident <= 1:
            raise HfalError(f"confident must be a share from 0 to 1, got {self.confident!r}")

    def select(self, context: Context, size: int) -> Selection:
        """The score is that of `by`."""
        no_costs(context, "high_confidence_mix")
        scores = self.scores(context)
        picks = F.both_ends(
            scores, self.predicted(context), size, context.num_classes, context.generator, self.confident
        )
        return picked(context, picks, scores[picks])


@register("cal", paper="Margatina et al. 2021")
@dataclass(frozen=True)
class CAL:
    """Rows that are predicted unlike the labelled rows next to them (contrastive examples)."""

    neighbours: int = 10

    def __post_init__(self) -> None:
        check_whole("neighbours", self.neighbours)

    @property
    def needs(self) -> Needs:
        """Embeddings and logits of the pool and of the labelled rows."""
        fields = frozenset({"embeddings", "logits"})
        return Needs(pool=fields, labeled=fields)

    def select(self, context: Context, size: int) -> Selection:
        """The highest divergence; where nothing is labelled yet, by margin."""
        pool, known = context.pool, context.labeled
        if not len(known):
            return by_score(context, over_labels(F.margin(pool.decisions())), size)
        scores = F.contrast(
            pool.get("embeddings"), pool.decisions(), known.get("embeddings"), known.decisions(), self.neighbours
        )
        return by_score(context, scores, size)
