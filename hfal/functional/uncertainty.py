"""Uncertainty of one prediction: `[..., C]` logits in, `[...]` scores out, larger = less sure."""

from __future__ import annotations

import torch
from torch import Tensor

from hfal.functional.checks import check_logits


def entropy(logits: Tensor) -> Tensor:
    """Shannon entropy of the predicted distribution, in nats.

    `-sum_c p_c log p_c` (Shannon 1948; Settles 2009, section 3.1).

    Args:
        logits: [..., C] unnormalised scores, C >= 2.

    Returns:
        [...] float32 in [0, log C].

    Raises:
        ValueError: fewer than two classes, or a value that is not finite.
    """
    log_p = torch.log_softmax(check_logits(logits), -1)
    return -(log_p.exp() * log_p).sum(-1)


def margin(logits: Tensor) -> Tensor:
    """One minus the gap between the two most likely classes.

    `1 - (p_1 - p_2)`, so that larger means less sure (Scheffer et al. 2001, there as the gap itself).

    Args:
        logits: [..., C] unnormalised scores, C >= 2.

    Returns:
        [...] float32 in [0, 1].

    Raises:
        ValueError: fewer than two classes, or a value that is not finite.
    """
    best = torch.softmax(check_logits(logits), -1).topk(2, -1).values
    return 1 - (best[..., 0] - best[..., 1])


def least_confidence(logits: Tensor) -> Tensor:
    """One minus the probability of the most likely class (Lewis and Gale 1994; Culotta and McCallum 2005).

    Args:
        logits: [..., C] unnormalised scores, C >= 2.

    Returns:
        [...] float32 in [0, 1 - 1/C].

    Raises:
        ValueError: fewer than two classes, or a value that is not finite.
    """
    return 1 - torch.softmax(check_logits(logits), -1).amax(-1)


def variation_ratio(mc_logits: Tensor) -> Tensor:
    """Share of the samples that do not vote for the most voted class.

    `1 - f_m / K` with f_m the votes of the mode (Freeman 1965; Gal et al. 2017, section 4). A sample whose
    best classes tie votes for the first of them.

    Args:
        mc_logits: [K, N, C] logits of K stochastic passes, C >= 2.

    Returns:
        [N] float32 in [0, 1 - 1/C].

    Raises:
        ValueError: wrong shape, fewer than two classes, or a value that is not finite.
    """
    mc_logits = check_logits(mc_logits, samples=True)
    classes = mc_logits.shape[-1]
    votes = torch.nn.functional.one_hot(mc_logits.argmax(-1), classes).sum(0)
    return 1 - votes.amax(-1).float() / len(mc_logits)
