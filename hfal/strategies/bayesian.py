"""Strategies that ask where samples of the model disagree (Monte Carlo dropout; Gal and Ghahramani 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hfal import functional as F
from hfal.errors import HfalError
from hfal.signals import MC_LAYERS, Needs, Signals
from hfal.strategies.base import Context, Scored, Selection, by_score, check_whole, picked, register


def check_samples(mc_samples: int, mc_layers: str) -> None:
    """At least two samples, from somewhere that there is."""
    check_whole("mc_samples", mc_samples, 2)
    if mc_layers not in MC_LAYERS:
        raise HfalError(f"mc_layers must be one of {', '.join(MC_LAYERS)}, got {mc_layers!r}")


@dataclass(frozen=True)
class _Disagreement(Scored):
    """`mc_layers="head"` runs the encoder once and K heads (Shelmanov et al. 2021); `"all"` costs K passes, and so do
    `"checkpoints"`, the weights of the last epochs (Chitta et al. 2019)."""

    mc_samples: int = 20
    mc_layers: str = "head"
    reads: ClassVar[frozenset[str]] = frozenset({"mc_logits"})

    @staticmethod
    def measure(mc_logits: Tensor) -> Tensor:
        """[K, B, C] -> [B]."""
        raise TypeError("a measure of disagreement is missing")

    def __post_init__(self) -> None:
        check_samples(self.mc_samples, self.mc_layers)

    def score(self, batch: Signals) -> Tensor:
        """The measure over the samples; the mean over the labels where they are independent."""
        samples = batch.decisions("mc_logits")
        if samples.ndim == 4:  # [K, B, C, 2]: each label is a decision of its own
            flat = self.measure(samples.flatten(1, 2))
            return flat.view(samples.shape[1], samples.shape[2]).mean(1)
        return self.measure(samples)


@register("variation_ratio", paper="Freeman 1965; Gal et al. 2017")
class VariationRatio(_Disagreement):
    """Rows on whose class the most samples deviate from the majority."""

    measure = staticmethod(F.variation_ratio)


@register("mean_std", paper="Kampffmeyer et al. 2016; Gal et al. 2017")
class MeanStd(_Disagreement):
    """Rows whose class probabilities vary most over the samples."""

    measure = staticmethod(F.mean_std)


@register("bald", paper="Houlsby et al. 2011; Gal et al. 2017")
class Bald(_Disagreement):
    """Rows whose label would tell most about the parameters."""

    measure = staticmethod(F.bald)


@register("vote_entropy", paper="Dagan and Engelson 1995")
class VoteEntropy(_Disagreement):
    """Rows on whose class the votes of a committee are most spread."""

    measure = staticmethod(F.vote_entropy)


@register("consensus_kl", paper="McCallum and Nigam 1998")
class ConsensusKL(_Disagreement):
    """Rows on which the members of a committee diverge most from their mean."""

    measure = staticmethod(F.consensus_kl)


@dataclass(frozen=True)
class _Stochastic(Bald):
    """Draws from the scores of `bald` instead of taking the highest: `beta` sharpens."""

    beta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.beta >= 0:
            raise HfalError(f"beta must be a number, 0 or more; got {self.beta!r}")

    def log_weights(self, scores: Tensor) -> Tensor:
        """[N] scores -> [N] log of what they are drawn by."""
        raise TypeError("what rows are drawn by is missing")

    def select(self, context: Context, size: int) -> Selection:
        """Rows drawn one after the other; the score is that of `bald`."""
        scores = context.pool.reduced[repr(self)]
        log_weights = self.log_weights(scores)
        if context.weights is not None:
            log_weights = log_weights + context.weights.log()
        picks = F.gumbel_top_k(log_weights, size, context.generator)
        return picked(context, picks, scores[picks])


@register("power_bald", paper="Kirsch et al. 2021")
class PowerBald(_Stochastic):
    """Rows drawn in proportion to a power of their `bald` score: batches without near-copies, at no cost."""

    def log_weights(self, scores: Tensor) -> Tensor:
        """`beta log s`."""
        return self.beta * scores.double().log()


@register("softmax_bald", paper="Kirsch et al. 2021")
class SoftmaxBald(_Stochastic):
    """Rows drawn by a softmax over their `bald` scores."""

    beta: float = 100.0

    def log_weights(self, scores: Tensor) -> Tensor:
        """`beta s`."""
        return self.beta * scores.double()


@dataclass(frozen=True)
class _Joint:
    """A batch from samples of the model, each of them one model for all rows."""

    mc_samples: int = 20
    mc_layers: str = "head"

    def __post_init__(self) -> None:
        check_samples(self.mc_samples, self.mc_layers)

    @property
    def needs(self) -> Needs:
        """Samples of every row."""
        return Needs(pool=frozenset({"mc_logits"}), mc_samples=self.mc_samples, mc_layers=self.mc_layers)


@register("batchbald", paper="Kirsch et al. 2019")
@dataclass(frozen=True)
class BatchBald(_Joint):
    """The batch whose labels together tell most about the parameters."""

    max_configurations: int = 2**16
    samples: int = 10_000

    def select(self, context: Context, size: int) -> Selection:
        """Greedily; the score is what each row added, in nats."""
        picks, gains = F.batchbald(
            context.pool.decisions("mc_logits"),
            size,
            context.generator,
            max_configurations=self.max_configurations,
            samples=self.samples,
            weights=context.weights,
        )
        return picked(context, picks, gains)


@register("acs_fw", paper="Pinsler et al. 2019")
@dataclass(frozen=True)
class ACSFW(_Joint):
    """A few weighted rows whose log-likelihood stands for that of the whole pool (Frank-Wolfe)."""

    mc_samples: int = 100

    def select(self, context: Context, size: int) -> Selection:
        """In the order met; the weights are kept."""
        vectors = F.expected_log_likelihoods(context.pool.decisions("mc_logits"))
        picks, weights = F.frank_wolfe(vectors, size, context.generator, costs=context.weights)
        return picked(context, picks, weight=weights)


@register("epig", paper="Bickford Smith et al. 2023")
@dataclass(frozen=True)
class EPIG(_Joint):
    """Rows whose labels would tell most about the labels of other rows, drawn from the pool."""

    targets: int = 200

    def select(self, context: Context, size: int) -> Selection:
        """The highest scores."""
        samples = context.pool.decisions("mc_logits")
        rows = torch.randperm(samples.shape[1], generator=context.generator)[: self.targets]
        return by_score(context, F.epig(samples, samples[:, rows]), size)
