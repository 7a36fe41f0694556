"""The maths of active learning as pure functions: tensors in, tensors out.

Nothing here knows of models, pools or files. Everything computes in float32 (norms and cumulative sums of
long vectors in float64), refuses values that are not finite, and draws only from the generator it is given;
without one, from a generator seeded with 0, so that the same call gives the same answer.
"""

from hfal.functional.bayesian import bald, consensus_kl, mean_std, vote_entropy
from hfal.functional.blocks import kcenter_blocks
from hfal.functional.checks import all_but
from hfal.functional.clusters import both_ends, class_quota, lcmd, linked_clusters, merge_clusters, round_robin
from hfal.functional.coverage import cosine, coverage_greedy, labelled_radius, matching_temperature, rbf
from hfal.functional.covering import ball_radius, kcenter_outliers, prob_cover
from hfal.functional.decoding import Legal, n_best, viterbi
from hfal.functional.dictionary import dictionary
from hfal.functional.diversity import (
    kcenter_greedy,
    kmeans,
    kmeans_pick,
    kmeans_pp,
)
from hfal.functional.few import easiest, falling_threshold, label_pairs, surest
from hfal.functional.fisher import bait
from hfal.functional.frank_wolfe import expected_log_likelihoods, frank_wolfe
from hfal.functional.generations import bleu_variance, idds, semantic_entropy, sentence_bleu
from hfal.functional.gradients import badge, boundary_distance, boundary_step, expected_gradient_length
from hfal.functional.greedy import lazy_greedy
from hfal.functional.joint import batchbald, epig
from hfal.functional.latent import latent_entropy, latent_variance
from hfal.functional.neighbours import contrast, mean_cosine
from hfal.functional.ragged import Ragged, mean_words, reduce_words
from hfal.functional.select import gumbel_top_k, next_best, top_k
from hfal.functional.sequences import (
    mnlp,
    sequence_entropy,
    token_bald,
    token_consensus_kl,
    token_disagreement,
    token_entropy,
    token_gradient_length,
    token_least_confidence,
    token_margin,
    token_vote_entropy,
)
from hfal.functional.spaces import EuclideanSpace, GradientSpace, sketch_products
from hfal.functional.typicality import typicality, typiclust
from hfal.functional.uncertainty import entropy, least_confidence, margin, variation_ratio

__all__ = [
    "EuclideanSpace",
    "GradientSpace",
    "Legal",
    "Ragged",
    "all_but",
    "badge",
    "bait",
    "bald",
    "ball_radius",
    "batchbald",
    "bleu_variance",
    "both_ends",
    "boundary_distance",
    "boundary_step",
    "class_quota",
    "consensus_kl",
    "contrast",
    "cosine",
    "coverage_greedy",
    "dictionary",
    "easiest",
    "entropy",
    "epig",
    "expected_gradient_length",
    "expected_log_likelihoods",
    "falling_threshold",
    "frank_wolfe",
    "gumbel_top_k",
    "idds",
    "kcenter_blocks",
    "kcenter_greedy",
    "kcenter_outliers",
    "kmeans",
    "kmeans_pick",
    "kmeans_pp",
    "label_pairs",
    "labelled_radius",
    "latent_entropy",
    "latent_variance",
    "lazy_greedy",
    "lcmd",
    "least_confidence",
    "linked_clusters",
    "margin",
    "matching_temperature",
    "mean_cosine",
    "mean_std",
    "mean_words",
    "merge_clusters",
    "mnlp",
    "n_best",
    "next_best",
    "prob_cover",
    "rbf",
    "reduce_words",
    "round_robin",
    "semantic_entropy",
    "sentence_bleu",
    "sequence_entropy",
    "sketch_products",
    "surest",
    "token_bald",
    "token_consensus_kl",
    "token_disagreement",
    "token_entropy",
    "token_gradient_length",
    "token_least_confidence",
    "token_margin",
    "token_vote_entropy",
    "top_k",
    "typicality",
    "typiclust",
    "variation_ratio",
    "viterbi",
    "vote_entropy",
]
