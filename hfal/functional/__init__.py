"""The maths of active learning as pure functions: tensors in, tensors out.

Nothing here knows of models, pools or files. Everything computes in float32 (norms and cumulative sums of
long vectors in float64), refuses values that are not finite, and draws only from the generator it is given;
without one, from a generator seeded with 0, so that the same call gives the same answer.
"""

from hfal.functional.bayesian import bald, mean_std
from hfal.functional.decoding import Legal, n_best, viterbi
from hfal.functional.diversity import (
    kcenter_greedy,
    kmeans,
    kmeans_pick,
    kmeans_pp,
)
from hfal.functional.gradients import badge
from hfal.functional.ragged import Ragged, mean_words, reduce_words
from hfal.functional.select import top_k
from hfal.functional.sequences import (
    mnlp,
    sequence_entropy,
    token_bald,
    token_disagreement,
    token_entropy,
    token_least_confidence,
    token_margin,
)
from hfal.functional.typicality import typicality, typiclust
from hfal.functional.uncertainty import entropy, least_confidence, margin, variation_ratio

__all__ = [
    "Legal",
    "Ragged",
    "badge",
    "bald",
    "entropy",
    "kcenter_greedy",
    "kmeans",
    "kmeans_pick",
    "kmeans_pp",
    "least_confidence",
    "margin",
    "mean_std",
    "mean_words",
    "mnlp",
    "n_best",
    "reduce_words",
    "sequence_entropy",
    "token_bald",
    "token_disagreement",
    "token_entropy",
    "token_least_confidence",
    "token_margin",
    "top_k",
    "typicality",
    "typiclust",
    "variation_ratio",
    "viterbi",
]
