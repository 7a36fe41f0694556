"""What a row's neighbours say of it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from hfal.functional.checks import CHUNK, check_logits, check_size, parts, squared_norms


def mean_cosine(embeddings: Tensor) -> Tensor:
    """The mean cosine of each row with all rows, itself included: a density (Settles and Craven 2008, eq. 10).

    The mean of inner products is the inner product with the mean, so no [N, N] is needed.

    Args:
        embeddings: [N, D]; a row of zeros has cosine 0 with all.

    Returns:
        [N] float32 in [-1, 1].

    Raises:
        ValueError: wrong shape, or a value that is not finite.
    """
    squared_norms(embeddings)
    total = torch.zeros(embeddings.shape[1], dtype=torch.float64)
    for chunk in torch.split(embeddings, CHUNK):
        total += normalize(chunk.float(), dim=1).sum(0).double()
    mean = (total / max(1, len(embeddings))).float()
    found = [normalize(chunk.float(), dim=1) @ mean for chunk in torch.split(embeddings, CHUNK)]
    return torch.cat(found) if found else torch.zeros(0)


def contrast(
    embeddings: Tensor,
    logits: Tensor,
    labeled: Tensor,
    labeled_logits: Tensor,
    neighbours: int = 10,
) -> Tensor:
    """How far a row's prediction is from those of the labelled rows next to it (CAL; Margatina et al. 2021, eq. 2).

    `mean over its nearest labelled rows l of KL(p_l || p)`.

    Args:
        embeddings: [N, D].
        logits: [N, C], or [N, L, C] for L decisions a row, whose divergences are averaged.
        labeled: [M, D], at least one row.
        labeled_logits: [M, C] or [M, L, C].
        neighbours: labelled rows that are looked at; all where there are fewer.

    Returns:
        [N] float32, 0 or more.

    Raises:
        ValueError: shapes that do not fit, or a value that is not finite.
    """
    norms, known = squared_norms(embeddings), squared_norms(labeled, "labeled")
    log_p, log_q = (torch.log_softmax(check_logits(z), -1) for z in (logits, labeled_logits))
    if log_p.shape[1:] != log_q.shape[1:] or len(log_p) != len(embeddings) or len(log_q) != len(labeled):
        raise ValueError(
            f"logits {list(logits.shape)} and {list(labeled_logits.shape)} do not go with "
            f"{len(embeddings)} and {len(labeled)} rows"
        )
    nearest = min(check_size(neighbours, "neighbours"), len(labeled))
    if nearest < 1:
        raise ValueError("contrast needs at least one labelled row and one neighbour")
    negentropy = (log_q.exp() * log_q).sum(-1)
    scores = torch.empty(len(embeddings))
    for rows in parts(len(embeddings), len(labeled)):
        squared = torch.addmm(known, embeddings[rows].float(), labeled.float().T, alpha=-2).add_(norms[rows, None])
        near = squared.topk(nearest, largest=False).indices
        cross = (log_q.exp()[near] * log_p[rows, None]).sum(-1)
        divergence = (negentropy[near] - cross).clamp_min_(0)
        scores[rows] = divergence.flatten(1).mean(1)
    return scores
