"""Acquisition strategies: each a small class over `hfal.functional`. `hfal strategies` lists them."""

from hfal.strategies.base import (
    Context,
    Entry,
    Scored,
    Selection,
    Strategy,
    by_score,
    check_units,
    entries,
    entry,
    picked,
    register,
    resolve,
)
from hfal.strategies.bayesian import Bald, MeanStd, VariationRatio
from hfal.strategies.compose import Chain, Exploration
from hfal.strategies.diversity import Coreset, FarthestFirst, KMeans, TypiClust
from hfal.strategies.gradients import Badge
from hfal.strategies.sequences import (
    MNLP,
    Longest,
    SequenceEntropy,
    TokenBald,
    TokenEntropy,
    TokenLeastConfidence,
    TokenMargin,
)
from hfal.strategies.spec import make, parse
from hfal.strategies.uncertainty import Entropy, LeastConfidence, Margin, Random

__all__ = [
    "MNLP",
    "Badge",
    "Bald",
    "Chain",
    "Context",
    "Coreset",
    "Entropy",
    "Entry",
    "Exploration",
    "FarthestFirst",
    "KMeans",
    "LeastConfidence",
    "Longest",
    "Margin",
    "MeanStd",
    "Random",
    "Scored",
    "Selection",
    "SequenceEntropy",
    "Strategy",
    "TokenBald",
    "TokenEntropy",
    "TokenLeastConfidence",
    "TokenMargin",
    "TypiClust",
    "VariationRatio",
    "by_score",
    "check_units",
    "entries",
    "entry",
    "make",
    "parse",
    "picked",
    "register",
    "resolve",
]
