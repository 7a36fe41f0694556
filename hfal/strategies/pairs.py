"""Strategies for pairs of texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from hfal import functional as F
from hfal.errors import HfalError
from hfal.signals import Needs
from hfal.strategies.base import Context, Selection, by_score, no_costs, picked, register
from hfal.strategies.heads import cross_fitted


@register("similar_pairs", paper="Kasai et al. 2019")
@dataclass(frozen=True)
class SimilarPairs:
    """Some of the pairs whose texts are most alike, where the rare matches are, and the rest by chance.

    For the seed set: by chance alone it would hold few matches, or none. `share` is that of the alike ones.
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise HfalError(f"share must be from 0 to 1, got {self.share!r}")

    @property
    def needs(self) -> Needs:
        """How alike the texts of each pair are."""
        return Needs(pool=frozenset({"similarity"}))

    def select(self, context: Context, size: int) -> Selection:
        """The score is the cosine; those by chance are spread among the others."""
        no_costs(context, "similar_pairs")
        alike = context.pool.get("similarity")
        size = min(size, len(alike))
        best = F.top_k(alike, round(self.share * size), context.generator)
        others = torch.ones(len(alike), dtype=torch.bool)
        others[best] = False
        left = others.nonzero().flatten()
        chance = left[torch.randperm(len(left), generator=context.generator)[: size - len(best)]]
        both = torch.cat((best, chance))
        picks = both[torch.randperm(len(both), generator=context.generator)]
        return picked(context, picks, alike[picks])


@register("source_like", paper="Kasai et al. 2019")
@dataclass(frozen=True)
class SourceLike:
    """Rows that a classifier takes for rows of the set that was learned before (`transfer`); with `unlike`, the others.

    Alone it refines what the model can do already; unlike rows show it what it has not met. To choose among them by
    another strategy: `source_like(unlike=true)>margin(prefilter=10)`.
    """

    unlike: bool = False
    needs: ClassVar[Needs] = Needs(pool=frozenset({"embeddings"}), source=frozenset({"embeddings"}))

    def select(self, context: Context, size: int) -> Selection:
        """The score is the classifier's probability, of a row that it has not seen."""
        if context.source is None:
            raise HfalError("source_like compares with the set that was learned before: say which with transfer")
        ours, theirs = context.pool.get("embeddings").float(), context.source.get("embeddings").float()
        rows = torch.cat((ours, theirs))
        is_source = torch.cat((torch.zeros(len(ours)), torch.ones(len(theirs)))).long()
        logits = cross_fitted(rows, is_source, 2, context.generator)[: len(ours)]
        return by_score(context, torch.softmax(logits, -1)[:, 0 if self.unlike else 1], size)
