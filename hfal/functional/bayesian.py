"""Disagreement among K samples of the model: `[K, N, C]` logits in, `[N]` scores out."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hfal.functional.checks import check_logits


def log_mean_of(log_p: Tensor) -> Tensor:
    """[K, ...] log-probabilities -> [...] log of their mean."""
    return torch.logsumexp(log_p, 0) - math.log(len(log_p))


def bald(mc_logits: Tensor) -> Tensor:
    """Mutual information between the label and the model's parameters, in nats.

    `H[mean_k p_k] - mean_k H[p_k]` (Houlsby et al. 2011, eq. 2; Gal et al. 2017, eq. 4).

    Args:
        mc_logits: [K, N, C] logits of K samples of the model, C >= 2. With K = 1 the score is 0.

    Returns:
        [N] float32 in [0, log C].

    Raises:
        ValueError: wrong shape, fewer than two classes, or a value that is not finite.
    """
    log_p = torch.log_softmax(check_logits(mc_logits, samples=True), -1)
    expected = -(log_p.exp() * log_p).sum(-1).mean(0)
    log_mean = log_mean_of(log_p)
    return (-(log_mean.exp() * log_mean).sum(-1) - expected).clamp_min(0)


def mean_std(mc_logits: Tensor) -> Tensor:
    """Standard deviation of the probability over the samples, averaged over the classes.

    `mean_c sqrt(mean_k p_kc^2 - (mean_k p_kc)^2)` (Kampffmeyer et al. 2016; Gal et al. 2017, section 4).

    Args:
        mc_logits: [K, N, C] logits of K samples of the model, C >= 2. With K = 1 the score is 0.

    Returns:
        [N] float32 in [0, 0.5].

    Raises:
        ValueError: wrong shape, fewer than two classes, or a value that is not finite.
    """
    probabilities = torch.softmax(check_logits(mc_logits, samples=True), -1)
    return probabilities.std(0, correction=0).mean(-1)


def vote_entropy(mc_logits: Tensor) -> Tensor:
    """Entropy of the committee's votes, in nats (Dagan and Engelson 1995; Settles 2009, eq. 5).

    `-sum_c V_c / K log V_c / K` with V_c the members whose likeliest class is c. A member whose best classes tie
    votes for the first of them.

    Args:
        mc_logits: [K, N, C] logits of the K members, C >= 2.

    Returns:
        [N] float32 in [0, log C].

    Raises:
        ValueError: wrong shape, fewer than two classes, or a value that is not finite.
    """
    mc_logits = check_logits(mc_logits, samples=True)
    votes = torch.nn.functional.one_hot(mc_logits.argmax(-1), mc_logits.shape[-1]).float().mean(0)
    entropy: Tensor = torch.special.entr(votes).sum(-1)
    return entropy


def consensus_kl(mc_logits: Tensor) -> Tensor:
    """Mean divergence of the members from their consensus, in nats (McCallum and Nigam 1998, eq. 3).

    `mean_k KL(p_k || mean_k p_k)`. Over members of equal weight this is the mutual information that `bald` computes,
    written the other way round.

    Args:
        mc_logits: [K, N, C] logits of the K members, C >= 2.

    Returns:
        [N] float32 in [0, log C].

    Raises:
        ValueError: wrong shape, fewer than two classes, or a value that is not finite.
    """
    log_p = torch.log_softmax(check_logits(mc_logits, samples=True), -1)
    log_mean = log_mean_of(log_p)
    return (log_p.exp() * (log_p - log_mean)).sum(-1).mean(0).clamp_min(0)
