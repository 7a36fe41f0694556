"""From scores of words to scores of rows: `Ragged` in, `[N]` out, larger = less sure."""

from __future__ import annotations

import torch
from torch import Tensor

from hfal.functional import bayesian, uncertainty
from hfal.functional.decoding import Legal, n_best, viterbi
from hfal.functional.gradients import expected_gradient_length
from hfal.functional.ragged import Ragged, reduce_words


def mnlp(logits: Ragged, legal: Legal | None = None) -> Tensor:
    """Maximum normalised log-probability, negated: how unlikely the best sequence is, per word.

    `-(1/n) max_y sum_t log p(y_t)` (Shen et al. 2017, eq. 4, with the sign turned; words are independent given
    the model, so no beam is needed).

    Args:
        logits: values [T, C].
        legal: sequences allowed.

    Returns:
        [N] float32, 0 or more; 0 for a row without words.
    """
    _, log_p = viterbi(logits, legal)
    return -log_p / logits.lengths.clamp_min(1)


def token_entropy(logits: Ragged, reduce: str = "mean") -> Tensor:
    """Entropy of each word's tag in nats, reduced over the row (Settles and Craven 2008, eq. 3; "sum" is TTE).

    Args:
        logits: values [T, C].
        reduce: "mean", "sum", "max" or "top3".

    Returns:
        [N] float32.
    """
    return reduce_words(logits.like(uncertainty.entropy(logits.values)), reduce)


def token_margin(logits: Ragged, reduce: str = "mean") -> Tensor:
    """`1 - (p_1 - p_2)` of each word's tag, reduced over the row; arguments as for `token_entropy`."""
    return reduce_words(logits.like(uncertainty.margin(logits.values)), reduce)


def token_least_confidence(logits: Ragged, reduce: str = "mean") -> Tensor:
    """`1 - p_1` of each word's tag, reduced over the row; arguments as for `token_entropy`."""
    return reduce_words(logits.like(uncertainty.least_confidence(logits.values)), reduce)


def token_bald(mc_logits: Ragged, reduce: str = "mean") -> Tensor:
    """Mutual information between each word's tag and the parameters, in nats, reduced over the row.

    BALD (Houlsby et al. 2011, eq. 2) word by word.

    Args:
        mc_logits: values [T, K, C], logits of K samples of the model.
        reduce: "mean", "sum", "max" or "top3".

    Returns:
        [N] float32.
    """
    return reduce_words(mc_logits.like(bayesian.bald(mc_logits.values.transpose(0, 1))), reduce)


def token_disagreement(mc_logits: Ragged, reduce: str = "mean") -> Tensor:
    """Share of the samples that deviate from the most voted tag, reduced over the row.

    The form in which Shen et al. 2017 (eq. 5) use BALD for tagging, there with the mean; arguments as for
    `token_bald`.
    """
    return reduce_words(mc_logits.like(uncertainty.variation_ratio(mc_logits.values.transpose(0, 1))), reduce)


def token_vote_entropy(mc_logits: Ragged, reduce: str = "mean") -> Tensor:
    """Entropy of the committee's votes on each word's tag, reduced over the row (Dagan and Engelson 1995).

    Settles and Craven 2008 (eq. 7) have it with the mean; arguments as for `token_bald`.
    """
    return reduce_words(mc_logits.like(bayesian.vote_entropy(mc_logits.values.transpose(0, 1))), reduce)


def token_consensus_kl(mc_logits: Ragged, reduce: str = "mean") -> Tensor:
    """Mean divergence of the members from their mean, word by word (McCallum and Nigam 1998; Settles and Craven 2008,
    eq. 8), reduced over the row; arguments as for `token_bald`.
    """
    return reduce_words(mc_logits.like(bayesian.consensus_kl(mc_logits.values.transpose(0, 1))), reduce)


def token_gradient_length(features: Ragged, logits: Ragged, reduce: str = "mean") -> Tensor:
    """Expected length of the last layer's gradient, word by word (Settles and Craven 2008, section 3.3), reduced.

    They take the gradient of the whole sequence over its n best tag sequences; with words that are independent given
    the model, each word's gradient has a closed form.

    Args:
        features: values [T, D], the last layer's input.
        logits: values [T, C].
        reduce: "mean", "sum", "max" or "top3".

    Returns:
        [N] float32, 0 or more.
    """
    return reduce_words(logits.like(expected_gradient_length(features.values, logits.values)), reduce)


def sequence_entropy(logits: Ragged, paths: int = 5, legal: Legal | None = None) -> Tensor:
    """Entropy over the n best sequences, their probabilities made to sum to 1.

    N-best sequence entropy (Kim et al. 2006; Settles and Craven 2008, eq. 5).

    Args:
        logits: values [T, C].
        paths: n, at least 2.
        legal: sequences allowed.

    Returns:
        [N] float32 in [0, log n].

    Raises:
        ValueError: fewer than two paths, fewer than two tags, or a value that is not finite.
    """
    if paths < 2:
        raise ValueError(f"paths must be at least 2, got {paths}")
    log_p = torch.log_softmax(n_best(logits, paths, legal), -1)
    terms = torch.where(log_p > -torch.inf, log_p.exp() * log_p, torch.zeros(()))
    return (-terms.sum(-1)).nan_to_num(0.0).clamp_min(0)
