"""Strategies that ask where samples of the model disagree (Monte Carlo dropout; Gal and Ghahramani 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hfal import functional as F
from hfal.errors import HfalError
from hfal.signals import Signals
from hfal.strategies.base import Scored, register


def check_samples(mc_samples: int, mc_layers: str) -> None:
    """At least two samples, of the head or of all layers."""
    if not isinstance(mc_samples, int) or mc_samples < 2:
        raise HfalError(f"mc_samples must be a whole number of at least 2, got {mc_samples!r}")
    if mc_layers not in ("head", "all"):
        raise HfalError(f"mc_layers must be 'head' or 'all', got {mc_layers!r}")


@dataclass(frozen=True)
class _Disagreement(Scored):
    """`mc_layers="head"` runs the encoder once and K heads (Shelmanov et al. 2021); `"all"` costs K passes."""

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
