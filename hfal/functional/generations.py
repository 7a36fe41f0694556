"""Uncertainty and choice for generated texts: their samples, and how sources lie among each other."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from hfal.functional.checks import check_matrix, check_size, generator_or_default
from hfal.functional.select import next_best

ORDER = 4
"""Longest n-grams of BLEU."""


def sentence_bleu(text: Sequence[str], reference: Sequence[str]) -> float:
    """BLEU of one sequence of words against another (Papineni et al. 2002), from 0 to 1.

    Orders that the text is too short for are left out; of those without a match the n-th counts as 1 / 2^n matches
    ("exp" smoothing; Chen and Cherry 2014, method 3), as sacrebleu's sentence BLEU has it.
    """
    if not text or not reference:
        return float(not text and not reference)
    logs, smooth = [], 1.0
    for order in range(1, ORDER + 1):
        total = len(text) - order + 1
        if total < 1:
            break
        ours, theirs = (_grams(words, order) for words in (text, reference))
        right: float = sum(min(n, theirs[gram]) for gram, n in ours.items())
        if not right:
            smooth *= 2
            right = 1 / smooth
        logs.append(math.log(right / total))
    brevity = min(0.0, 1 - len(reference) / len(text))
    return math.exp(brevity + sum(logs) / len(logs))


def _grams(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[at : at + order]) for at in range(len(words) - order + 1))


def bleu_variance(samples: Sequence[Sequence[str]]) -> float:
    """`mean over i != j of (1 - BLEU(y_i, y_j))^2` (Gidiotis and Tsoumakas 2022, eq. 2).

    Args:
        samples: K sequences of words. With fewer than two, or all alike, it is 0.
    """
    count = len(samples)
    if count < 2:
        return 0.0
    known: dict[tuple[tuple[str, ...], tuple[str, ...]], float] = {}
    total = 0.0
    keys = [tuple(sample) for sample in samples]
    for i, one in enumerate(keys):
        for j, other in enumerate(keys):
            if i != j and one != other:
                if (one, other) not in known:
                    known[one, other] = (1 - sentence_bleu(one, other)) ** 2
                total += known[one, other]
    return total / (count * (count - 1))


def semantic_entropy(samples: Tensor, alike: float = 0.8) -> Tensor:
    """Entropy over clusters of samples that mean the same, in nats (Kuhn et al. 2023; by counts, Farquhar et al. 2024).

    Samples are of one meaning where a chain of them leads from one to the other, neighbours having a cosine of at least
    `alike`; the authors ask a model of entailment instead.

    Args:
        samples: [K, N, D] sentence embeddings of K samples of each row.
        alike: cosine.

    Returns:
        [N] float32 in [0, log K].

    Raises:
        ValueError: wrong shape, or a value that is not finite.
    """
    if samples.ndim != 3 or not samples.shape[0]:
        raise ValueError(f"samples must be [K, N, D] with K of at least 1, got {list(samples.shape)}")
    check_matrix(samples.flatten(0, 1), "samples")
    unit = torch.nn.functional.normalize(samples.float().transpose(0, 1), dim=-1)  # [N, K, D]
    near = unit @ unit.transpose(1, 2) >= alike
    near |= torch.eye(near.shape[1], dtype=torch.bool)
    cluster = torch.arange(near.shape[1]).expand(len(near), -1).clone()
    for _ in range(near.shape[1]):  # the lowest number that can be reached
        reached = torch.where(near, cluster[:, None, :], near.shape[1]).amin(-1)
        if bool((reached == cluster).all()):
            break
        cluster = reached
    shares = torch.nn.functional.one_hot(cluster, near.shape[1]).float().mean(1)
    return -torch.where(shares > 0, shares * torch.log(shares.clamp_min(1e-12)), 0.0).sum(-1)


def idds(
    pool: Tensor,
    labeled: Tensor,
    size: int,
    generator: torch.Generator | None = None,
    *,
    weight: float = 0.67,
) -> tuple[Tensor, Tensor]:
    """Rows that are near the pool and far from what is labelled, one after the other (Tsvigun et al. 2022, eq. 1).

    `IDDS(x) = w mean_u s(x, u) - (1 - w) mean_l s(x, l)` over the unlabelled u and the labelled l, s the cosine; each
    pick counts as labelled for the next.

    Args:
        pool: [N, D] embeddings of the unlabelled rows.
        labeled: [L, D] of the labelled; may be empty.
        size: k.
        generator: breaks ties.
        weight: w, the paper's 0.67.

    Returns:
        [min(k, N)] int64 indices in order of choice, and the score that each had when it was chosen.
    """
    generator = generator_or_default(generator)
    unit = torch.nn.functional.normalize(check_matrix(pool, "pool"), dim=-1)
    known = torch.nn.functional.normalize(check_matrix(labeled, "labeled"), dim=-1)
    near, far, labels = unit @ unit.mean(0), unit @ known.sum(0), len(known)
    picks: list[int] = []
    scores: list[float] = []
    for _ in range(min(check_size(size), len(unit))):
        value = weight * near - (1 - weight) * far / max(1, labels)
        picks.append(next_best(value, picks, generator))
        scores.append(float(value[picks[-1]]))
        far, labels = far + unit @ unit[picks[-1]], labels + 1
    return torch.tensor(picks, dtype=torch.int64), torch.tensor(scores)
