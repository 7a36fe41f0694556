"""Strategies that ask where samples of the model disagree in a hidden space, not about the output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hfal import functional as F
from hfal.errors import HfalError
from hfal.signals import Signals
from hfal.strategies.base import Scored, register
from hfal.strategies.bayesian import check_samples


@register("latent_variance", paper="Jedoui et al. 2019")
@dataclass(frozen=True)
class LatentVariance(Scored):
    """Rows whose representation varies most over dropout samples: unsure of the meaning, not of the wording."""

    mc_samples: int = 10
    mc_layers: str = "head"
    reads: ClassVar[frozenset[str]] = frozenset({"mc_latent"})

    def __post_init__(self) -> None:
        check_samples(self.mc_samples, self.mc_layers)

    def score(self, batch: Signals) -> Tensor:
        """The trace of the covariance over the samples."""
        return F.latent_variance(batch.get("mc_latent"))


@register("latent_entropy", paper="after Jedoui et al. 2019")
@dataclass(frozen=True)
class LatentEntropy(Scored):
    """Rows over whose samples a Gaussian in the hidden space has most entropy; the covariance is shrunk."""

    mc_samples: int = 10
    mc_layers: str = "head"
    shrinkage: float = 0.1
    reads: ClassVar[frozenset[str]] = frozenset({"mc_latent"})

    def __post_init__(self) -> None:
        check_samples(self.mc_samples, self.mc_layers)
        if not 0 < self.shrinkage <= 1:
            raise HfalError(f"shrinkage must be above 0 and at most 1, got {self.shrinkage!r}")

    def score(self, batch: Signals) -> Tensor:
        """The entropy, in nats."""
        return F.latent_entropy(batch.get("mc_latent"), self.shrinkage)
