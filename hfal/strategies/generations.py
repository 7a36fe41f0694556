"""Strategies for texts that are written: unsure texts, samples that differ, sources that stand for the pool."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from hfal import functional as F
from hfal.errors import HfalError
from hfal.signals import SAMPLE_BY, Needs, Signals
from hfal.strategies.base import (
    ByScore,
    Context,
    Scored,
    Selection,
    Strategy,
    by_score,
    check_whole,
    no_costs,
    picked,
    register,
)

WORD_SPAN = 3
"""Longest phrases of a text that are looked for in its source."""


def _means(words: F.Ragged) -> Tensor:
    """[N] the mean over each row; 0 of an empty one."""
    return F.reduce_words(words, "mean")


@register("nsp", paper="Ueffing and Ney 2007; Tsvigun et al. 2022")
@dataclass(frozen=True)
class NormalizedSequenceProbability(Scored):
    """Least probable texts, by the geometric mean over their tokens: length-normalised log-probability."""

    reads: ClassVar[frozenset[str]] = frozenset({"token_log_probs"})

    def score(self, batch: Signals) -> Tensor:
        """`1 - exp(mean log p)`."""
        return 1 - torch.exp(_means(batch.words("token_log_probs")))


@register("mean_token_entropy", paper="Zhao et al. 2020")
@dataclass(frozen=True)
class MeanTokenEntropy(Scored):
    """Texts whose tokens were drawn from the widest distributions, on average."""

    reads: ClassVar[frozenset[str]] = frozenset({"token_entropies"})

    def score(self, batch: Signals) -> Tensor:
        """In nats."""
        return _means(batch.words("token_entropies"))


@dataclass(frozen=True)
class _OfSamples(Scored):
    mc_samples: int = 10
    sample_by: str = "sampling"

    def __post_init__(self) -> None:
        check_whole("mc_samples", self.mc_samples, 2)
        if self.sample_by not in SAMPLE_BY:
            raise HfalError(f"sample_by must be one of {', '.join(SAMPLE_BY)}, got {self.sample_by!r}")

    @property
    def needs(self) -> Needs:
        """Samples of texts, one number a row."""
        return replace(super().needs, sample_by=self.sample_by)


@register("bleu_variance", paper="Gidiotis and Tsoumakas 2022")
@dataclass(frozen=True)
class BleuVariance(_OfSamples):
    """Rows whose samples (by dropout, as in the paper, unless otherwise said) are in different words."""

    sample_by: str = "dropout"
    reads: ClassVar[frozenset[str]] = frozenset({"samples"})

    def score(self, batch: Signals) -> Tensor:
        """Mean squared distance of BLEU from 1 over all pairs of samples."""
        return torch.tensor([F.bleu_variance([t.split() for t in row]) for row in batch.listed("samples")])


@register("semantic_entropy", paper="Kuhn et al. 2023; Farquhar et al. 2024")
@dataclass(frozen=True)
class SemanticEntropy(_OfSamples):
    """Rows whose samples mean different things, however each is worded."""

    alike: float = 0.8
    reads: ClassVar[frozenset[str]] = frozenset({"mc_latent"})

    def score(self, batch: Signals) -> Tensor:
        """Entropy over clusters of samples whose sentence embeddings have a cosine of at least `alike`."""
        return F.semantic_entropy(batch.get("mc_latent"), self.alike)


@register("idds", paper="Tsvigun et al. 2022")
@dataclass(frozen=True)
class IDDS:
    """Rows near the pool and far from what is labelled: no model is needed, so it can choose the seed set too."""

    weight: float = 0.67
    needs: ClassVar[Needs] = Needs(pool=frozenset({"embeddings"}), labeled=frozenset({"embeddings"}))

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise HfalError(f"weight must be from 0 to 1, got {self.weight!r}")

    def select(self, context: Context, size: int) -> Selection:
        """The score is what a row had when it was chosen."""
        no_costs(context, "idds")
        pool = context.pool.get("embeddings")
        labeled = context.labeled.get("embeddings") if len(context.labeled) else pool[:0]
        picks, scores = F.idds(pool, labeled, size, context.generator, weight=self.weight)
        return picked(context, picks, scores)


@register("facility_location", paper="Lin and Bilmes 2011")
@dataclass(frozen=True)
class FacilityLocation:
    """Rows that together are most alike to all of the pool, beside what is labelled."""

    needs: ClassVar[Needs] = Needs(pool=frozenset({"embeddings"}), labeled=frozenset({"embeddings"}))

    def select(self, context: Context, size: int) -> Selection:
        """The score is what a pick adds: `sum_n max_c cos(x_n, c)` over picks and labelled rows c."""
        pool = context.pool.get("embeddings")
        labeled = context.labeled.get("embeddings") if len(context.labeled) else None
        picks, gains = F.coverage_greedy(
            pool, size, F.cosine, labeled=labeled, generator=context.generator, weights=context.weights
        )
        return picked(context, picks, gains)


@register("huds", paper="Azeemi et al. 2024")
@dataclass(frozen=True)
class HUDS(ByScore):
    """Within strata of uncertainty, rows far from the centre of their cluster: unsure and unlike in one score.

    The pool is cut into `strata` by the score of `by`; in each the embeddings are clustered, and a row's distance to
    its centroid is its diversity. Both are scaled to [0, 1] over the pool and weighed.
    """

    by: Strategy = field(default_factory=NormalizedSequenceProbability)
    strata: int = 5
    clusters: int = 5
    weight: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("strata", self.strata)
        check_whole("clusters", self.clusters)
        if not 0 <= self.weight <= 1:
            raise HfalError(f"weight must be from 0 to 1, got {self.weight!r}")

    @property
    def needs(self) -> Needs:
        """The score, and embeddings."""
        return self.by.needs | Needs(pool=frozenset({"embeddings"}))

    def select(self, context: Context, size: int) -> Selection:
        """The score is `(1 - weight) uncertainty + weight diversity`."""
        unsure, rows = self.scores(context), context.pool.get("embeddings").float()
        away = torch.zeros(len(rows))
        for stratum in torch.argsort(unsure, stable=True).chunk(self.strata):
            centroids, of = F.kmeans(rows[stratum], min(self.clusters, len(stratum)), context.generator)
            away[stratum] = (rows[stratum] - centroids[of]).norm(dim=1)
        return by_score(context, (1 - self.weight) * _to_one(unsure) + self.weight * _to_one(away), size)


def _to_one(values: Tensor) -> Tensor:
    """Scaled to [0, 1]; 0 where all are alike."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else torch.zeros_like(values)


@register("hadas", paper="after Xia et al. 2024")
@dataclass(frozen=True)
class HADAS(Scored):
    """Texts that say what their source does not, each in another way than those before.

    Three kinds of saying more: words that the source lacks, phrases that it lacks, and numbers or names that it lacks.
    (The authors ask three large models instead.) A text's score is their mean, plus `diversity` times how far
    (Jensen-Shannon) its mixture of kinds is from those of the texts that are picked already.
    """

    diversity: float = 0.33
    reads: ClassVar[frozenset[str]] = frozenset({"texts", "sources"})

    def __post_init__(self) -> None:
        if not 0 <= self.diversity <= 1:
            raise HfalError(f"diversity must be from 0 to 1, got {self.diversity!r}")

    @property
    def needs(self) -> Needs:
        """The texts and their sources: a few words a row."""
        return Needs(pool=self.reads)

    def score(self, batch: Signals) -> Tensor:
        """[B] the mean of the three kinds."""
        return self.kinds(batch).mean(1)

    @staticmethod
    def kinds(batch: Signals) -> Tensor:
        """[B, 3] shares of words, of phrases, and of numbers and names that the source lacks."""
        pairs = zip(batch.listed("texts"), batch.listed("sources"), strict=True)
        return torch.tensor([unsupported(text, source) for text, source in pairs]).reshape(-1, 3)

    def select(self, context: Context, size: int) -> Selection:
        """One after the other; the score is what a row had when it was chosen."""
        no_costs(context, "hadas")
        kinds = self.kinds(context.pool)
        base = kinds.mean(1)
        mixture = (kinds + 1e-3) / (kinds + 1e-3).sum(1, keepdim=True)
        picks: list[int] = []
        scores: list[float] = []
        apart = torch.zeros(len(base))
        for turn in range(min(size, len(base))):
            value = (1 - self.diversity) * base + self.diversity * apart / max(1, turn)
            chosen = F.next_best(value, picks, context.generator)
            picks.append(chosen)
            scores.append(float(value[chosen]))
            apart = apart + _jensen_shannon(mixture, mixture[chosen])
        return picked(context, torch.tensor(picks, dtype=torch.int64), torch.tensor(scores))


def _jensen_shannon(rows: Tensor, one: Tensor) -> Tensor:
    """[N] divergence of each row from one distribution, in nats."""
    middle = (rows + one) / 2
    return ((rows * (rows / middle).log()).sum(1) + (one * (one / middle).log()).sum(1)) / 2


def unsupported(text: str, source: str) -> list[float]:
    """The shares of a text's words, of its phrases of up to three words, and of its numbers and names (words with a
    capital inside of a sentence) that its source lacks; 0 where it has none."""
    words, given = _bare(text), _bare(source)
    known = set(given)
    spans = {tuple(given[at : at + n]) for n in range(2, WORD_SPAN + 1) for at in range(len(given) - n + 1)}
    said = [tuple(words[at : at + n]) for n in range(2, WORD_SPAN + 1) for at in range(len(words) - n + 1)]
    special = [
        bare
        for at, (raw, bare) in enumerate(zip(text.split(), (_strip(w) for w in text.split()), strict=True))
        if bare and (any(c.isdigit() for c in bare) or (at and raw[:1].isupper()))
    ]
    return [
        _share(word not in known for word in words),
        _share(span not in spans for span in said),
        _share(word not in known for word in special),
    ]


def _share(lacking: object) -> float:
    found = [bool(one) for one in lacking]  # type: ignore[attr-defined]
    return sum(found) / len(found) if found else 0.0


def _strip(word: str) -> str:
    return word.strip(".,;:!?\"'()[]{}<>").lower()


def _bare(text: str) -> list[str]:
    return [bare for bare in map(_strip, text.split()) if bare]
