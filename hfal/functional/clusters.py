"""Picks cluster by cluster."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hfal.functional.checks import all_but, check_scores, check_size, check_weights, generator_or_default, squared_norms
from hfal.functional.diversity import kmeans
from hfal.functional.select import top_k

ONE_BY_ONE = 1000
"""Rows that are linked one by one."""


def lcmd(
    norms: Tensor,
    distances_to: Callable[[Tensor], Tensor],
    size: int,
    nearest: Tensor | None = None,
    cluster: Tensor | None = None,
    generator: torch.Generator | None = None,
    *,
    weights: Tensor | None = None,
) -> Tensor:
    """Largest cluster, maximum distance (LCMD; Holzmüller et al. 2023, section 3.4).

    Rows belong to the nearest labelled row or pick. A cluster is as large as its squared distances sum to; each pick is
    the farthest row of the largest cluster. Without a labelled row the first pick is the longest vector.

    Args:
        norms: [N] squared lengths.
        distances_to: positions [m] -> [m, N] squared distances of every row to them; rounding below 0 is forgiven.
        size: rows wanted; all N where there are fewer.
        nearest: [N] squared distance of each row to the nearest labelled row.
        cluster: [N] int64, which labelled row that is.
        generator: breaks ties.
        weights: [N] above 0, by which the distances within the largest cluster are multiplied.

    Returns:
        [min(size, N)] int64 positions in order of choice, without repeats.
    """
    generator = generator_or_default(generator)
    weights = check_weights(weights, len(norms))
    size = min(check_size(size), len(norms))
    picks: list[int] = []
    if size and (nearest is None or cluster is None):
        picks = [int(top_k(norms if weights is None else norms * weights, 1, generator))]
        nearest, cluster = distances_to(torch.tensor(picks))[0].clamp_min(0), torch.zeros(len(norms), dtype=torch.int64)
    if nearest is None or cluster is None:
        return torch.empty(0, dtype=torch.int64)
    nearest, cluster = nearest.clamp_min(0), cluster.clone()
    centers = int(cluster.max()) + 1
    picked = torch.zeros(len(norms), dtype=torch.bool)
    while True:
        picked[picks] = True
        nearest[picks] = 0
        if len(picks) >= size:
            return torch.tensor(picks, dtype=torch.int64)
        sizes = torch.zeros(centers, dtype=torch.float64).index_add_(0, cluster, nearest.double())
        largest = int(top_k(sizes, 1, generator))
        inside = (~picked & (cluster == largest)).nonzero().flatten() if sizes[largest] > 0 else torch.empty(0).long()
        if not len(inside):  # nothing but copies of what is known is left
            inside = (~picked).nonzero().flatten()
        reach = nearest[inside] if weights is None else nearest[inside] * weights[inside]
        picks.append(int(inside[top_k(reach, 1, generator)]))
        distance = distances_to(torch.tensor(picks[-1:]))[0].clamp_min(0)
        closer = distance < nearest
        nearest = torch.where(closer, distance, nearest)
        cluster = torch.where(closer, centers, cluster)
        cluster[picks[-1]] = centers
        centers += 1


def round_robin(scores: Tensor, clusters: Tensor, size: int, generator: torch.Generator | None = None) -> Tensor:
    """The best of each cluster in turn, small clusters first (Citovsky et al. 2021, algorithm 2).

    Args:
        scores: [N] larger = more wanted.
        clusters: [N] int64.
        size: rows wanted; all N where there are fewer.
        generator: breaks ties between rows and between clusters of one size.

    Returns:
        [min(size, N)] int64 positions in order of choice, without repeats.
    """
    scores = check_scores(scores)
    generator = generator_or_default(generator)
    size = min(check_size(size), len(scores))
    if not size:
        return torch.empty(0, dtype=torch.int64)
    names, own, counts = torch.unique(clusters, return_inverse=True, return_counts=True)
    turn = torch.empty(len(names), dtype=torch.int64)
    turn[top_k(-counts.float(), len(names), generator)] = torch.arange(len(names))
    best_first = top_k(scores, len(scores), generator)
    by_cluster = best_first[torch.argsort(turn[own[best_first]], stable=True)]
    sizes = counts[torch.argsort(turn)]
    rank = torch.arange(len(scores)) - torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)
    order = torch.argsort(rank, stable=True)  # everyone's best, then everyone's second, ...
    return by_cluster[order][:size]


def linked_clusters(embeddings: Tensor, clusters: int, generator: torch.Generator | None = None) -> Tensor:
    """Average-linkage clusters of rows (as Citovsky et al. 2021 use); of groups of rows where there are many.

    Args:
        embeddings: [N, D].
        clusters: how many, at most N.
        generator: draws the groups: more than 1,000 rows are first put into the smaller of N and four groups a cluster
            by k-means, and groups are linked by the distance of their centroids.

    Returns:
        [N] int64, numbered from 0.

    Raises:
        ValueError: wrong shape, a value that is not finite, or more clusters than rows.
    """
    squared_norms(embeddings)
    groups = len(embeddings) if len(embeddings) <= ONE_BY_ONE else min(len(embeddings), max(ONE_BY_ONE, 4 * clusters))
    if groups == len(embeddings):
        return merge_clusters(embeddings, torch.ones(groups), clusters)
    centroids, own = kmeans(embeddings, groups, generator, iterations=10)
    sizes = torch.bincount(own, minlength=groups)
    filled = sizes > 0
    place = filled.cumsum(0) - 1
    return merge_clusters(centroids[filled], sizes[filled], clusters)[place[own]]


def merge_clusters(centroids: Tensor, sizes: Tensor, clusters: int) -> Tensor:
    """Average-linkage clustering of groups of rows: which cluster each belongs to.

    Args:
        centroids: [M, D] of the groups.
        sizes: [M] rows in each; a large group counts for as many rows.
        clusters: how many are to be left.

    Returns:
        [M] int64, numbered from 0.
    """
    points = centroids.double()
    apart = torch.cdist(points, points).fill_diagonal_(torch.inf)
    count = sizes.double().clone()
    name = torch.arange(len(points))
    nearest = apart.min(1)
    best, other = nearest.values.clone(), nearest.indices.clone()
    for _ in range(len(points) - max(1, clusters)):
        a = int(best.argmin())
        b = int(other[a])
        total = count[a] + count[b]
        merged = (apart[a] * count[a] + apart[b] * count[b]) / total
        merged[[a, b]] = torch.inf
        apart[a], apart[:, a] = merged, merged
        apart[b], apart[:, b] = torch.inf, torch.inf
        count[a] = total
        name[name == b] = a
        best[b] = torch.inf
        stale = ((other == a) | (other == b)).nonzero().flatten()
        stale = torch.unique(torch.cat((stale, torch.tensor([a]))))
        again = apart[stale].min(1)
        best[stale], other[stale] = again.values, again.indices
        nearer = merged < best
        best[nearer], other[nearer] = merged[nearer], a
        best[b] = torch.inf
    numbered: Tensor = torch.unique(name, return_inverse=True)[1]
    return numbered


def class_quota(
    scores: Tensor, predicted: Tensor, size: int, classes: int, generator: torch.Generator | None = None
) -> Tensor:
    """The most wanted rows of each predicted class, in number as the class is unsure (Lv et al. 2020, section 3.2).

    A class's share of the batch is its rows' mean score over the sum of these means; what a class is too small for goes
    to the others in the same proportion.

    Args:
        scores: [N] 0 or more, larger = less sure.
        predicted: [N] int64 class.
        size: rows wanted; all N where there are fewer.
        classes: C.
        generator: breaks ties.

    Returns:
        [min(size, N)] int64 positions, highest scores first within the batch, without repeats.
    """
    scores = check_scores(scores)
    generator = generator_or_default(generator)
    size = min(check_size(size), len(scores))
    counts = torch.bincount(predicted, minlength=classes)
    mean = torch.bincount(predicted, scores.double(), minlength=classes) / counts.clamp_min(1)
    return _by_quota(scores, predicted, shares(size, mean.clamp_min(0) + 1e-9, counts), generator)


def both_ends(
    scores: Tensor,
    predicted: Tensor,
    size: int,
    classes: int,
    generator: torch.Generator | None = None,
    confident: float = 0.5,
) -> Tensor:
    """Rows that are least sure and rows that are most sure, both balanced over predicted classes (Kasai et al. 2019).

    Args:
        scores: [N] larger = less sure.
        predicted: [N] int64 class.
        size: rows wanted; all N where there are fewer.
        classes: C.
        generator: breaks ties.
        confident: share of the batch that is taken from the sure end.

    Returns:
        [min(size, N)] int64 positions, the unsure ones first, without repeats.
    """
    scores = check_scores(scores)
    generator = generator_or_default(generator)
    size = min(check_size(size), len(scores))
    even = torch.ones(classes, dtype=torch.float64)
    sure = round(confident * size)
    counts = torch.bincount(predicted, minlength=classes)
    first = _by_quota(scores, predicted, shares(size - sure, even, counts), generator)
    left = all_but(len(scores), first)
    counts = torch.bincount(predicted[left], minlength=classes)
    second = _by_quota(-scores[left], predicted[left], shares(sure, even, counts), generator)
    return torch.cat((first, left[second]))


def shares(size: int, wanted: Tensor, room: Tensor) -> Tensor:
    """[C] whole numbers that sum to `size`, as near to proportional to `wanted` as their `room` allows.

    What a class has no room for goes to the others in proportion; fractions are rounded, the largest of them up.
    """
    wanted, size = wanted.double(), min(size, int(room.sum()))
    full = torch.zeros(len(wanted), dtype=torch.bool)
    while True:
        left = size - int(room[full].sum())
        part = torch.where(full, room.double(), wanted / wanted[~full].sum().clamp_min(1e-300) * left)
        over = ~full & (part > room)
        if not bool(over.any()):
            break
        full |= over
    given = part.floor().long()
    more = torch.where(given < room, part - given, -1.0)
    given[torch.topk(more, size - int(given.sum())).indices] += 1
    return given


def _by_quota(scores: Tensor, groups: Tensor, quotas: Tensor, generator: torch.Generator) -> Tensor:
    picks = []
    for group, quota in enumerate(quotas.tolist()):
        members = (groups == group).nonzero().flatten()
        picks.append(members[top_k(scores[members], quota, generator)])
    chosen = torch.cat(picks) if picks else torch.empty(0, dtype=torch.int64)
    return chosen[torch.argsort(scores[chosen], descending=True, stable=True)]
