"""Strategies that spread over the space of embeddings."""

from __future__ import annotations

from dataclasses import dataclass

from torch.nn.functional import normalize

from hfal import functional as F
from hfal.signals import Needs
from hfal.strategies.base import Context, Selection, picked, register


@register("kmeans", paper="Zhdanov 2019; Yuan et al. 2020")
@dataclass(frozen=True)
class KMeans:
    """The rows nearest to the centroids of k-means with one cluster per pick."""

    @property
    def needs(self) -> Needs:
        """Embeddings of the pool."""
        return Needs(pool=frozenset({"embeddings"}))

    def select(self, context: Context, size: int) -> Selection:
        """One row a cluster, largest cluster first."""
        embeddings = context.pool.get("embeddings")
        return picked(context, F.kmeans_pick(embeddings, size, context.generator, context.weights))


@register("coreset", paper="Sener and Savarese 2018")
@dataclass(frozen=True)
class Coreset:
    """k-center greedy: rows farthest from all labelled rows, in the space of embeddings.

    Pools of more than `blocks` rows are read once, block by block: the radius is then at most four times the smallest
    possible, where it is at most twice that else.
    """

    blocks: int = 2**20

    @property
    def needs(self) -> Needs:
        """Embeddings of the pool and of the labelled rows."""
        return Needs(pool=frozenset({"embeddings"}), labeled=frozenset({"embeddings"}))

    def select(self, context: Context, size: int) -> Selection:
        """Each pick is the row farthest from the labelled rows and the picks before it."""
        labeled, pool = context.labeled.embeddings, context.pool.get("embeddings")
        if len(pool) > self.blocks and context.weights is None:
            return picked(context, F.kcenter_blocks(pool, size, labeled, context.generator))
        return picked(context, F.kcenter_greedy(pool, size, labeled, context.generator, context.weights))


@register("farthest_first", paper="Gonzalez 1985; Geifman and El-Yaniv 2017")
@dataclass(frozen=True)
class FarthestFirst:
    """Farthest-first traversal by cosine in the trained model's last layer (coreset's rule, other space)."""

    @property
    def needs(self) -> Needs:
        """The last layer's input, of the pool and of the labelled rows."""
        return Needs(pool=frozenset({"features"}), labeled=frozenset({"features"}))

    def select(self, context: Context, size: int) -> Selection:
        """Each pick is the row at the widest angle to the labelled rows and the picks before it."""
        labeled = None if context.labeled.features is None else normalize(context.labeled.features, dim=1)
        pool = normalize(context.pool.get("features"), dim=1)
        return picked(context, F.kcenter_greedy(pool, size, labeled, context.generator, context.weights))


@register("typiclust", paper="Hacohen et al. 2022")
@dataclass(frozen=True)
class TypiClust:
    """The most typical row of each large cluster without a label: for few labels, and for none."""

    neighbours: int = 20
    max_clusters: int = 500

    @property
    def needs(self) -> Needs:
        """Embeddings of the pool and of the labelled rows."""
        return Needs(pool=frozenset({"embeddings"}), labeled=frozenset({"embeddings"}))

    def select(self, context: Context, size: int) -> Selection:
        """One row a cluster."""
        picks = F.typiclust(
            context.pool.get("embeddings"),
            size,
            context.labeled.embeddings,
            context.generator,
            neighbours=self.neighbours,
            max_clusters=self.max_clusters,
            weights=context.weights,
        )
        return picked(context, picks)
