"""Strategies that look at the model's hidden layers, or through it: one pass has them pooled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hfal import functional as F
from hfal.errors import HfalError
from hfal.signals import Needs, Signals, as_decisions
from hfal.strategies.adversarial import fit_ranker
from hfal.strategies.base import Context, Scored, Selection, by_score, drawn, picked, register
from hfal.strategies.heads import cross_fitted, fit_head, losses_of
from hfal.strategies.uncertainty import over_labels

STATES = frozenset({"hidden_states"})


@register("learning_loss", paper="Yoo and Kweon 2019")
@dataclass(frozen=True)
class LearningLoss:
    """Rows whose loss is predicted to be largest, by a network over the hidden layers that learned to rank losses.

    The losses it learns from are those of labelled rows under heads that have not seen them: a model's loss on the rows
    it was trained on says little.
    """

    steps: int = 300
    needs: ClassVar[Needs] = Needs(pool=STATES, labeled=frozenset({"hidden_states", "features"}))

    def select(self, context: Context, size: int) -> Selection:
        """The largest predictions; with fewer than two labels rows are drawn."""
        if len(context.labeled) < 2:
            return drawn(context, size)
        targets = context.targets
        features = context.labeled.get("features").float()
        losses = losses_of(cross_fitted(features, targets, context.num_classes, context.generator), targets)
        net = fit_ranker(context.labeled.get("hidden_states").float(), losses, context.generator, self.steps)
        predicted = net.apply("loss", context.pool.get("hidden_states"))
        return by_score(context, predicted - predicted.min(), size)


@register("multi_view", paper="He et al. 2019")
@dataclass(frozen=True)
class MultiView:
    """Rows of which the model's layers, each with a head of its own, are unsure; better views count more.

    A view's weight is how much better than chance its head is at labelled rows it has not seen.
    """

    needs: ClassVar[Needs] = Needs(pool=STATES, labeled=STATES)

    def select(self, context: Context, size: int) -> Selection:
        """The highest weighted mean of the views' entropies."""
        if not len(context.labeled):
            return drawn(context, size)
        known, pool = context.labeled.get("hidden_states").float(), context.pool.get("hidden_states")
        targets, classes = context.targets, context.num_classes
        total, weights = torch.zeros(len(pool)), 0.0
        for view in range(known.shape[1]):
            logits = cross_fitted(known[:, view], targets, classes, context.generator)
            weight = self._worth(logits, targets)
            head, bias = fit_head(known[:, view], targets, classes)
            seen = pool[:, view].float() @ head.T + bias
            total += weight * over_labels(F.entropy(as_decisions(seen, targets.ndim == 2)))
            weights += weight
        return by_score(context, total / weights, size)

    @staticmethod
    def _worth(logits: Tensor, targets: Tensor) -> float:
        """How far a view's accuracy is above that of the most frequent answer; 0.01 at least."""
        if targets.ndim == 2:
            right, usual = ((logits > 0).float() == targets).float().mean(), (targets.mean(0) - 0.5).abs().mean() + 0.5
        else:
            right = (logits.argmax(-1) == targets).float().mean()
            usual = torch.bincount(targets).max() / len(targets)
        return max(0.01, float(right - usual))


@register("alps", paper="Yuan et al. 2020")
@dataclass(frozen=True)
class ALPS:
    """k-means over what surprises the language model in each text, before the first label; for a cold start."""

    needs: ClassVar[Needs] = Needs(pool=frozenset({"surprisal"}))

    def select(self, context: Context, size: int) -> Selection:
        """The rows nearest to the centroids of surprisal vectors of length 1."""
        vectors = torch.nn.functional.normalize(context.pool.get("surprisal").float(), dim=1)
        return picked(context, F.kmeans_pick(vectors, size, context.generator, context.weights))


@register("egl_word", paper="Zhang et al. 2017")
@dataclass(frozen=True)
class EGLWord(Scored):
    """Rows one of whose words' embeddings would change most, in the mean over the labels the row may have."""

    reads: ClassVar[frozenset[str]] = frozenset({"word_gradients"})

    def score(self, batch: Signals) -> Tensor:
        """The longest expected gradient of a word."""
        return batch.get("word_gradients")


@register("deepfool", paper="Ducoffe and Precioso 2018")
@dataclass(frozen=True)
class DeepFool(Scored):
    """Rows that the smallest change brings over the boundary to another class.

    `space=words` changes the embeddings of a text's words, through the whole model; `space=features` the last layer's
    input, in closed form.
    """

    space: str = "words"

    def __post_init__(self) -> None:
        if self.space not in ("words", "features"):
            raise HfalError(f"space must be words or features, got {self.space!r}")

    @property
    def reads(self) -> frozenset[str]:  # type: ignore[override]
        """The distance in the space wanted."""
        return frozenset({"word_boundary" if self.space == "words" else "boundary"})

    def score(self, batch: Signals) -> Tensor:
        """`1 / (1 + distance)`."""
        (name,) = self.reads
        return 1 / (1 + batch.get(name))
