"""Strategies over the words of a row: sequences of tags, scores of words reduced to one a row, length.

Where a score is a sum over words (`reduce=sum`), or grows with them, long rows win whatever the model knows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from hfal import functional as F
from hfal.errors import HfalError
from hfal.functional.ragged import REDUCTIONS
from hfal.signals import Needs, Signals
from hfal.strategies.base import Context, Scored, Selection, by_score, check_whole, register
from hfal.strategies.bayesian import check_samples


class _OfWords(Scored):
    """A score from what the model gives for each word."""

    @property
    def needs(self) -> Needs:
        """One number a row, from outputs of words."""
        return replace(super().needs, units=frozenset({"word"}))


@register("mnlp", paper="Shen et al. 2017")
@dataclass(frozen=True)
class MNLP(_OfWords):
    """Rows whose best sequence of tags is least likely, per word (maximum normalised log-probability)."""

    def score(self, batch: Signals) -> Tensor:
        """`-(1/n) log p` of the best legal sequence."""
        return F.mnlp(batch.words(), batch.legal)


@dataclass(frozen=True)
class _Reduced(_OfWords):
    """`reduce`: mean, sum, max or top3."""

    reduce: str = "mean"

    def __post_init__(self) -> None:
        _check_reduce(self.reduce)

    def score(self, batch: Signals) -> Tensor:
        """The words' scores, reduced."""
        return self.measure(batch.words(), self.reduce)

    @staticmethod
    def measure(logits: F.Ragged, reduce: str) -> Tensor:
        """`Ragged` -> [B]."""
        raise TypeError("a measure of words is missing")


@register("token_entropy", paper="Settles and Craven 2008")
class TokenEntropy(_Reduced):
    """Rows whose words' tags have the highest entropy."""

    measure = staticmethod(F.token_entropy)


@register("token_margin", paper="Scheffer et al. 2001; Settles and Craven 2008")
class TokenMargin(_Reduced):
    """Rows whose words' two most likely tags are closest."""

    measure = staticmethod(F.token_margin)


@register("token_least_confidence", paper="Culotta and McCallum 2005")
class TokenLeastConfidence(_Reduced):
    """Rows whose words' most likely tag is least likely."""

    measure = staticmethod(F.token_least_confidence)


@dataclass(frozen=True)
class _Committee(_OfWords):
    """Samples of the model vote on each word's tag."""

    mc_samples: int = 20
    mc_layers: str = "head"
    reduce: str = "mean"
    reads: ClassVar[frozenset[str]] = frozenset({"mc_logits"})

    def __post_init__(self) -> None:
        check_samples(self.mc_samples, self.mc_layers)
        _check_reduce(self.reduce)

    @staticmethod
    def measure(mc_logits: F.Ragged, reduce: str) -> Tensor:
        """`Ragged` -> [B]."""
        raise TypeError("a measure of words is missing")

    def score(self, batch: Signals) -> Tensor:
        """The words' scores, reduced."""
        return self.measure(batch.words("mc_logits"), self.reduce)


@register("token_bald", paper="Houlsby et al. 2011; Shen et al. 2017")
@dataclass(frozen=True)
class TokenBald(_Committee):
    """Rows on whose words' tags samples of the model disagree.

    `form="information"` is the mutual information, `"disagreement"` the share of samples against the majority
    (the form of Shen et al. 2017).
    """

    form: str = "information"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form not in ("information", "disagreement"):
            raise HfalError(f"form must be information or disagreement, got {self.form!r}")

    def score(self, batch: Signals) -> Tensor:
        """The words' scores, reduced."""
        measure = F.token_bald if self.form == "information" else F.token_disagreement
        return measure(batch.words("mc_logits"), self.reduce)


@register("token_vote_entropy", paper="Dagan and Engelson 1995; Settles and Craven 2008")
class TokenVoteEntropy(_Committee):
    """Rows on whose words' tags the votes of a committee are most spread."""

    measure = staticmethod(F.token_vote_entropy)


@register("token_consensus_kl", paper="McCallum and Nigam 1998; Settles and Craven 2008")
class TokenConsensusKL(_Committee):
    """Rows on whose words' tags the members of a committee diverge most from their mean."""

    measure = staticmethod(F.token_consensus_kl)


@register("token_gradient_length", paper="Settles and Craven 2008")
@dataclass(frozen=True)
class TokenGradientLength(_Reduced):
    """Rows whose words would change the last layer most, in the mean over the tags they may have."""

    reads: ClassVar[frozenset[str]] = frozenset({"logits", "features"})

    def score(self, batch: Signals) -> Tensor:
        """The words' scores, reduced."""
        return F.token_gradient_length(batch.words("features"), batch.words(), self.reduce)


@register("sequence_entropy", paper="Kim et al. 2006; Settles and Craven 2008")
@dataclass(frozen=True)
class SequenceEntropy(_OfWords):
    """Rows whose n best sequences of tags are equally likely."""

    paths: int = 5

    def __post_init__(self) -> None:
        check_whole("paths", self.paths, 2)

    def score(self, batch: Signals) -> Tensor:
        """Nats, over the n best legal sequences."""
        return F.sequence_entropy(batch.words(), self.paths, batch.legal)


@register("longest", paper="-")
@dataclass(frozen=True)
class Longest:
    """The rows with the most words: what a score that favours long rows must beat."""

    @property
    def needs(self) -> Needs:
        """Lengths; no pass is made."""
        return Needs(pool=frozenset({"lengths"}))

    def select(self, context: Context, size: int) -> Selection:
        """The longest first."""
        return by_score(context, context.pool.get("lengths").to(torch.float32), size)


def _check_reduce(reduce: str) -> None:
    if reduce not in REDUCTIONS:
        raise HfalError(f"reduce must be one of {', '.join(REDUCTIONS)}, got {reduce!r}")
