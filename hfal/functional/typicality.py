"""Typical rows: where embeddings are dense."""

from __future__ import annotations

import torch
from torch import Tensor

from hfal.functional.checks import check_matrix, check_size, check_weights, generator_or_default, squared_norms
from hfal.functional.diversity import assign, kmeans
from hfal.functional.select import top_k

LARGEST_CLUSTER = 8192
"""Typical rows of a larger cluster are looked for among so many of it, drawn at random."""


def typicality(embeddings: Tensor, neighbours: int = 20) -> Tensor:
    """Inverse of the mean distance to the nearest neighbours (Hacohen et al. 2022, eq. 4).

    Args:
        embeddings: [N, D].
        neighbours: how many (at most N - 1), the row itself left out.

    Returns:
        [N] float32 > 0; rows whose neighbours all coincide with them get 1e6. A single row gets 1.

    Raises:
        ValueError: wrong shape, or a value that is not finite.
    """
    norms = squared_norms(embeddings)
    neighbours = min(neighbours, len(embeddings) - 1)
    if neighbours < 1:
        return torch.ones(len(embeddings))
    points = embeddings.float()
    result = torch.empty(len(points))
    step = max(1, 2**23 // len(points))
    for start in range(0, len(points), step):
        chunk = slice(start, min(start + step, len(points)))
        squared = torch.addmm(norms, points[chunk], points.T, alpha=-2).add_(norms[chunk, None]).clamp_min_(0)
        rows = torch.arange(len(squared))
        squared[rows, rows + start] = torch.inf
        closest = squared.topk(neighbours, largest=False).values
        result[chunk] = closest.sqrt_().mean(1)
    return 1 / result.clamp_min(1e-6)


def typiclust(
    embeddings: Tensor,
    size: int,
    labeled: Tensor | None = None,
    generator: torch.Generator | None = None,
    *,
    neighbours: int = 20,
    max_clusters: int = 500,
    min_cluster_size: int = 5,
    weights: Tensor | None = None,
) -> Tensor:
    """The most typical row of each of the largest uncovered clusters (TypiClust; Hacohen et al. 2022).

    Everything, labelled rows included, is clustered into `labelled + size` clusters (at most
    `max_clusters`). Clusters with the fewest labelled rows come first, the larger of them first; those
    under `min_cluster_size` come last (the paper leaves them out). From each the most typical row is taken.

    Args:
        embeddings: [N, D] unlabelled rows.
        size: rows wanted; all N where there are fewer.
        labeled: [L, D] labelled rows, if any.
        generator: draws the clustering and breaks ties.
        neighbours: at most, for the typicality within a cluster.
        max_clusters: bound on the number of clusters.
        min_cluster_size: smaller clusters are used only when no other is left.
        weights: [N] above 0, by which typicality is multiplied.

    Returns:
        [min(size, N)] int64 positions in order of choice, without repeats.

    Raises:
        ValueError: wrong shapes, or a value that is not finite.
    """
    squared_norms(embeddings)
    generator = generator_or_default(generator)
    total = len(embeddings)
    size = min(check_size(size), total)
    if size == 0:
        return torch.empty(0, dtype=torch.int64)
    covered = 0 if labeled is None else len(labeled)
    clusters = min(covered + size, max_clusters, total)
    centroids, assigned = kmeans(embeddings, clusters, generator)
    picked = torch.zeros(clusters, dtype=torch.int64)
    if labeled is not None and covered:
        picked += torch.bincount(assign(check_matrix(labeled, "labeled"), centroids)[0], minlength=clusters)
    weights = check_weights(weights, total)
    return _typical_rows(embeddings, assigned, picked, size, neighbours, min_cluster_size, generator, weights)


def _typical_rows(
    embeddings: Tensor,
    assigned: Tensor,
    picked: Tensor,
    size: int,
    neighbours: int,
    min_cluster_size: int,
    generator: torch.Generator,
    weights: Tensor | None,
) -> Tensor:
    members = {c: (assigned == c).nonzero().flatten() for c in range(len(picked)) if bool((assigned == c).any())}
    ranked: dict[int, list[int]] = {}  # the rows of a cluster, most typical first, once it is asked for
    labelled = {cluster: int(picked[cluster]) for cluster in members}
    sizes = {cluster: len(rows) for cluster, rows in members.items()}
    picks: list[int] = []
    while len(picks) < size:
        cluster = min(sizes, key=lambda c: (sizes[c] < min_cluster_size, labelled[c], -sizes[c], c))
        if cluster not in ranked:
            rows = members[cluster]
            most = max(LARGEST_CLUSTER, size + 1)
            if len(rows) > most:  # typicality is quadratic: a sample shows the density too
                rows = rows[torch.randperm(len(rows), generator=generator)[:most].sort().values]
            scores = typicality(embeddings[rows], neighbours)
            if weights is not None:
                scores = scores * weights[rows]
            ranked[cluster] = rows[top_k(scores, len(rows), generator)].tolist()[: size + 1]
        picks.append(ranked[cluster].pop(0))
        labelled[cluster] += 1
        sizes[cluster] -= 1
        if not sizes[cluster]:
            del sizes[cluster]
    return torch.tensor(picks, dtype=torch.int64)
