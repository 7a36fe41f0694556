"""Strategies that cover the pool, or what is unsure of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from hfal import functional as F
from hfal.errors import HfalError
from hfal.signals import Needs
from hfal.strategies.base import ByScore, Context, Selection, Strategy, by_score, no_costs, picked, register
from hfal.strategies.heads import cross_fitted_accuracy
from hfal.strategies.uncertainty import Entropy, Margin, over_labels

BOTH = Needs(pool=frozenset({"embeddings"}), labeled=frozenset({"embeddings"}))


@register("coreset_robust", paper="Sener and Savarese 2018; Charikar et al. 2001")
@dataclass(frozen=True)
class CoresetRobust:
    """k-center with a share of outliers left out: what `coreset` runs after, this ignores."""

    outliers: float = 0.01
    needs: ClassVar[Needs] = BOTH

    def select(self, context: Context, size: int) -> Selection:
        """The radius reached is kept with the round."""
        no_costs(context, "coreset_robust")
        pool = context.pool.get("embeddings")
        picks, radius = F.kcenter_outliers(pool, size, context.labeled.embeddings, self.outliers, context.generator)
        return picked(context, picks, radius=torch.full((len(picks),), radius))


@register("prob_cover", paper="Yehuda et al. 2022")
@dataclass(frozen=True)
class ProbCover:
    """Rows whose balls hold the most rows not covered yet; made for few labels.

    `radius` is found once, by purity over as many clusters as there are classes, where it is not given.
    """

    purity: float = 0.95
    radius: float = 0.0
    needs: ClassVar[Needs] = BOTH

    def select(self, context: Context, size: int) -> Selection:
        """Labelled rows cover too."""
        pool = context.pool.get("embeddings")
        radius = self.radius or ball_radius_once(context, self.purity)
        picks = F.prob_cover(pool, size, radius, context.labeled.embeddings, context.generator, weights=context.weights)
        return picked(context, picks, radius=torch.full((len(picks),), radius))


def ball_radius_once(context: Context, purity: float) -> float:
    """The radius by purity, found in the first round that asks."""

    def compute(generator: torch.Generator) -> Tensor:
        clusters = max(2, context.num_classes)
        return torch.tensor([F.ball_radius(context.pool.get("embeddings"), clusters, purity, generator)])

    return float(context.once(f"ball_radius {purity}", compute)[0])


@register("maxherding", paper="Bae et al. 2024, 2025")
@dataclass(frozen=True)
class MaxHerding:
    """Rows that raise the pool's coverage by a kernel most; `radius` as in prob_cover where it is not given."""

    radius: float = 0.0
    needs: ClassVar[Needs] = BOTH

    def select(self, context: Context, size: int) -> Selection:
        """Greedily; the score is what each adds to the mean coverage."""
        radius = self.radius or ball_radius_once(context, 0.95)
        return _herd(context, size, radius, None)


@register("uncertainty_herding", paper="Bae et al. 2025")
@dataclass(frozen=True)
class UncertaintyHerding:
    """Coverage of what the model is unsure of, from one label to many: radius and temperature follow the labels.

    The radius is the typical distance between neighbouring labelled rows. The temperature makes the model as sure of
    the pool as a head on its features is right about labelled rows it has not seen.
    """

    needs: ClassVar[Needs] = Needs(
        pool=frozenset({"embeddings", "logits"}), labeled=frozenset({"embeddings", "features"})
    )

    def select(self, context: Context, size: int) -> Selection:
        """Greedily; the score is what each adds to the mean uncertainty covered."""
        radius = F.labelled_radius(context.labeled.get("embeddings")) if len(context.labeled) else None
        logits = context.pool.decisions()
        accuracy = cross_fitted_accuracy(context)
        if accuracy is not None:
            logits = logits / F.matching_temperature(logits, accuracy)
        unsure = over_labels(F.margin(logits))
        return _herd(context, size, radius or ball_radius_once(context, 0.95), unsure)


def _herd(context: Context, size: int, radius: float, unsure: Tensor | None) -> Selection:
    picks, gains = F.coverage_greedy(
        context.pool.get("embeddings"),
        size,
        F.rbf(radius),
        unsure,
        context.labeled.embeddings,
        context.generator,
        weights=context.weights,
    )
    return picked(context, picks, gains)


@dataclass(frozen=True)
class _Weighed(ByScore):
    """Embeddings of the pool, and another strategy's score."""

    by: Strategy = field(default_factory=Margin)

    @property
    def needs(self) -> Needs:
        """Embeddings, and what the score reads."""
        return self.by.needs | Needs(pool=frozenset({"embeddings"}))


@dataclass(frozen=True)
class _Prefiltered(_Weighed):
    """Chooses among `beta` times the batch, the most unsure rows."""

    beta: float = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.beta >= 1:
            raise HfalError(f"beta must be a number of at least 1, got {self.beta!r}")

    def reach(self, context: Context, size: int) -> Tensor:
        """Indices of these rows, ascending."""
        return F.top_k(self.wanted(context), int(self.beta * size), context.generator).sort().values


@register("weighted_kmeans", paper="Zhdanov 2019")
@dataclass(frozen=True)
class WeightedKMeans(_Prefiltered):
    """k-means among the most unsure rows, each as heavy as it is unsure; the row nearest to each centroid.

    `beta` times the batch is kept of the most unsure rows.
    """

    def select(self, context: Context, size: int) -> Selection:
        """Largest cluster first; the score is that of `by`."""
        reach = self.reach(context, size)
        heavy = self.wanted(context)[reach].clamp_min(1e-6)
        embeddings = context.pool.get("embeddings")[reach]
        picks = reach[F.kmeans_pick(embeddings, size, context.generator, heavy)]
        return picked(context, picks, self.scores(context)[picks])


@register("information_density", paper="Settles and Craven 2008")
@dataclass(frozen=True)
class InformationDensity(_Weighed):
    """Unsure rows in dense places: the score times a power `beta` of the mean cosine with the pool."""

    beta: float = 1.0

    def select(self, context: Context, size: int) -> Selection:
        """The highest products."""
        density = F.mean_cosine(context.pool.get("embeddings")).clamp_min(0)
        return by_score(context, self.scores(context) * density**self.beta, size, density=density)


@register("set_cover", paper="Yang et al. 2017")
@dataclass(frozen=True)
class SetCover(_Prefiltered):
    """Of the most unsure rows, those that together are most like all rows of the pool, by cosine."""

    by: Strategy = field(default_factory=Entropy)
    beta: float = 4

    def select(self, context: Context, size: int) -> Selection:
        """Greedily among `beta` times the batch; the score is that of `by`."""
        picks, _ = F.coverage_greedy(
            context.pool.get("embeddings"),
            size,
            F.cosine,
            generator=context.generator,
            candidates=self.reach(context, size),
            weights=context.weights,
        )
        return picked(context, picks, self.scores(context)[picks])


@register("dictionary", paper="Liu et al. 2017")
@dataclass(frozen=True)
class Dictionary(_Weighed):
    """Rows from which, with the labelled ones, the unsure rows of the pool can be put together."""

    penalty: float = 0.1

    @property
    def needs(self) -> Needs:
        """Embeddings of the labelled rows too: they are atoms already."""
        return super().needs | BOTH

    def select(self, context: Context, size: int) -> Selection:
        """Greedily."""
        picks = F.dictionary(
            context.pool.get("embeddings"),
            size,
            self.scores(context),
            context.labeled.embeddings,
            context.generator,
            penalty=self.penalty,
            weights=context.weights,
        )
        return picked(context, picks)


@register("cluster_margin", paper="Citovsky et al. 2021")
@dataclass(frozen=True)
class ClusterMargin(_Prefiltered):
    """Of the least sure rows, one from each cluster in turn, small clusters first; one clustering for all rounds.

    `beta` times the batch is kept of the least sure rows; `clusters` is how many the whole pool is grouped into, a
    tenth of its rows and at most 500 where it is 0.
    """

    clusters: int = 0

    @property
    def needs(self) -> Needs:
        """Embeddings of all rows: the clustering is of the whole pool."""
        return super().needs | BOTH

    def select(self, context: Context, size: int) -> Selection:
        """The score is that of `by`."""
        reach = self.reach(context, size)
        parts = [part for part in (context.pool, context.labeled) if len(part)]
        rows = np.concatenate([part.rows for part in parts])

        def clusters(generator: torch.Generator) -> Tensor:
            wanted = self.clusters or max(1, min(500, len(rows) // 10))
            embeddings = torch.cat([part.get("embeddings") for part in parts])
            return F.linked_clusters(embeddings, min(wanted, len(rows)), generator)

        cluster = context.each(f"clusters {self.clusters}", rows, clusters)
        picks = reach[F.round_robin(self.wanted(context)[reach], cluster[reach], size, context.generator)]
        return picked(context, picks, self.scores(context)[picks], cluster=cluster[picks])
