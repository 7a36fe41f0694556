"""Picks that cover a space: `[N, D]` embeddings in, positions out.

The matrix is read where it lies (a memory map is welcome) and never copied. Distances are squared Euclidean.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hfal.functional.checks import (
    CHUNK,
    all_but,
    check_matrix,
    check_size,
    check_weights,
    generator_or_default,
    randint,
    squared_norms,
)
from hfal.functional.select import top_k
from hfal.functional.spaces import EuclideanSpace

DRAWN_TOGETHER = 8
"""Rows that k-means++ draws at once."""
POINTS_PER_CENTROID = 256
"""k-means fits on at most this many rows per centroid, drawn at random; more add time, not quality."""


def kcenter_greedy(
    embeddings: Tensor,
    size: int,
    centers: Tensor | None = None,
    generator: torch.Generator | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Farthest-first traversal: each pick is the row farthest from all centres and earlier picks.

    The greedy 2-approximation of k-center (Gonzalez 1985; Sener and Savarese 2018, algorithm 1). The picks
    are those of the plain greedy, found with few reads of the matrix: distances only shrink, so while the
    best of a buffer of far rows stays above everything outside it, the rest need not be looked at.

    Args:
        embeddings: [N, D] rows to choose from.
        size: rows wanted; all N where there are fewer.
        centers: [M, D] rows that are covered already. Without any, the first pick is drawn by the generator.
        generator: draws the first pick and breaks ties.
        weights: [N] above 0, by which squared distances are multiplied (1 / cost: the farthest per cost).

    Returns:
        [min(size, N)] int64 positions in order of choice, without repeats.

    Raises:
        ValueError: wrong shapes, or a value that is not finite.
    """
    norms = squared_norms(embeddings)
    weights = check_weights(weights, len(embeddings))
    generator = generator_or_default(generator)
    total = len(embeddings)
    size = min(check_size(size), total)
    nearest = torch.full((total,), torch.inf, device=norms.device)
    picks: list[int] = []
    pending: list[int] = []  # picks whose distances the rows outside the buffer have not seen
    if centers is not None and len(centers):
        check_matrix(centers, "centers")
        if centers.shape[1] != embeddings.shape[1]:
            raise ValueError(f"centers have {centers.shape[1]} dimensions, embeddings {embeddings.shape[1]}")
        _shrink(nearest, embeddings, norms, centers, weights)
    elif size:
        picks = pending = [randint(total, generator)]
    while len(picks) < size:
        if pending:
            _shrink(nearest, embeddings, norms, embeddings[pending], weights)
        nearest[picks] = -1
        buffered = min(total, max(1024, 16 * (size - len(picks))))
        buffer = torch.topk(nearest, buffered).indices
        outside = float(nearest[buffer[-1]]) if buffered < total else -1.0
        inside = nearest[buffer], None if weights is None else weights[buffer]
        found = _walk_buffer(embeddings[buffer].float(), *inside, outside, size - len(picks), generator)
        pending = buffer[found].tolist()
        if not pending:  # a tie that reaches beyond the buffer
            tied = (nearest == nearest.max()).nonzero().flatten()
            pending = [int(tied[randint(len(tied), generator)])]
        picks = picks + pending
    return torch.tensor(picks, dtype=torch.int64)


def _walk_buffer(
    rows: Tensor, nearest: Tensor, weights: Tensor | None, outside: float, size: int, generator: torch.Generator
) -> list[int]:
    """Greedy picks inside the buffer for as long as one lies farther than everything outside it."""
    found: list[int] = []
    while len(found) < size:
        farthest = nearest.max()
        if farthest <= outside:
            break
        tied = (nearest == farthest).nonzero().flatten()
        pick = int(tied[randint(len(tied), generator)]) if len(tied) > 1 else int(tied)
        found.append(pick)
        distance = (rows - rows[pick]).square_().sum(1)
        nearest = torch.minimum(nearest, distance if weights is None else distance.mul_(weights))
        nearest[found] = -1
    return found


def _shrink(nearest: Tensor, embeddings: Tensor, norms: Tensor, centers: Tensor, weights: Tensor | None = None) -> None:
    """nearest = min(nearest, weighted distance to any centre), one read of the matrix, in place."""
    step = max(1, min(CHUNK, 2**23 // len(centers)))
    centers = centers.float()
    center_norms = squared_norms(centers, "centers")
    for start in range(0, len(embeddings), step):
        chunk = slice(start, start + step)
        closest = torch.addmm(center_norms, embeddings[chunk].float(), centers.T, alpha=-2).amin(1)
        closest.add_(norms[chunk]).clamp_min_(0)
        if weights is not None:
            closest.mul_(weights[chunk])
        torch.minimum(nearest[chunk], closest, out=nearest[chunk])


def d2_sampling(
    first: int,
    distances_to: Callable[[Tensor], Tensor],
    size: int,
    generator: torch.Generator | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """k-means++ seeding (Arthur and Vassilvitskii 2007) over any squared distance.

    Several rows are drawn together and their distances found in one read. A row drawn before the last picks were known
    is kept with the probability by which they lessened its distance, and else thrown away: since distances only
    shrink, that is a draw from the distances as they are now.

    Args:
        first: the first pick.
        distances_to: positions [m] -> [m, N] squared distances of every row to them; rounding below 0 is forgiven.
        size: rows wanted, at most N.
        generator: draws each further pick with probability proportional to its squared distance to the
            nearest pick; evenly among the rest once all distances are 0.
        weights: [N] above 0, by which that probability is multiplied.

    Returns:
        [size] int64 positions in order of choice, without repeats.
    """
    generator = generator_or_default(generator)
    picks = [first]
    nearest = distances_to(torch.tensor([first]))[0].clamp_min_(0)
    nearest[first] = 0
    while len(picks) < size:
        mass = torch.cumsum(nearest if weights is None else nearest * weights, 0, dtype=torch.float64)
        if not float(mass[-1]) > 0:
            left = all_but(len(nearest), picks)
            more = left[torch.randperm(len(left), generator=generator)[: size - len(picks)]]
            return torch.cat((torch.tensor(picks, dtype=torch.int64), more))
        drawn = _draw_from(mass, min(DRAWN_TOGETHER, size - len(picks)), generator)
        distances = distances_to(drawn).clamp_min_(0)
        luck = torch.rand(len(drawn), generator=generator) * nearest[drawn]
        for place, pick in enumerate(drawn.tolist()):
            if place == 0 or luck[place] < nearest[pick]:
                picks.append(pick)
                torch.minimum(nearest, distances[place], out=nearest)
                nearest[pick] = 0
    return torch.tensor(picks, dtype=torch.int64)


def _draw(weights: Tensor, generator: torch.Generator) -> int:
    """A position with probability proportional to its weight."""
    return int(_draw_from(torch.cumsum(weights, 0, dtype=torch.float64), 1, generator))


def _draw_from(mass: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """[count] positions from cumulated weights, with replacement."""
    draws = torch.rand(count, generator=generator, dtype=torch.float64).to(mass.device) * mass[-1]
    return torch.searchsorted(mass, draws, right=True).clamp_max_(len(mass) - 1)


def kmeans_pp(
    embeddings: Tensor, size: int, generator: torch.Generator | None = None, weights: Tensor | None = None
) -> Tensor:
    """Rows drawn by k-means++ (Arthur and Vassilvitskii 2007): the first evenly, the others by distance.

    Args:
        embeddings: [N, D].
        size: rows wanted; all N where there are fewer.
        generator: draws the picks.
        weights: [N] above 0, by which the probability of a row is multiplied.

    Returns:
        [min(size, N)] int64 positions in order of choice, without repeats.

    Raises:
        ValueError: wrong shape, or a value that is not finite.
    """
    space = EuclideanSpace(embeddings)
    weights = check_weights(weights, len(embeddings))
    generator = generator_or_default(generator)
    size = min(check_size(size), len(embeddings))
    if size == 0:
        return torch.empty(0, dtype=torch.int64)
    first = randint(len(embeddings), generator) if weights is None else _draw(weights, generator)
    return d2_sampling(first, space.distances_to, size, generator, weights)


def kmeans(
    embeddings: Tensor,
    clusters: int,
    generator: torch.Generator | None = None,
    iterations: int = 25,
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Lloyd's k-means from a k-means++ start (Lloyd 1982; Arthur and Vassilvitskii 2007).

    Args:
        embeddings: [N, D].
        clusters: wanted, at most N.
        generator: draws the start (and, above 256 rows per cluster, the rows that the fit uses).
        iterations: at most this many; fewer where the assignment settles.
        weights: [N] above 0, how much a row pulls its centroid (Zhdanov 2019); all the same where not given.

    Returns:
        centroids [clusters, D] float32 and the cluster of each row, [N] int64. A cluster that loses all its
        rows keeps its centroid.

    Raises:
        ValueError: wrong shape, a value that is not finite, or more clusters than rows.
    """
    check_matrix(embeddings)
    generator = generator_or_default(generator)
    if not 1 <= check_size(clusters, "clusters") <= len(embeddings):
        raise ValueError(f"clusters must be between 1 and the {len(embeddings)} rows; got {clusters}")
    points, weights = embeddings, check_weights(weights, len(embeddings))
    if len(embeddings) > POINTS_PER_CENTROID * clusters:
        sample = torch.randperm(len(embeddings), generator=generator)[: POINTS_PER_CENTROID * clusters]
        sample = sample.sort().values
        points, weights = embeddings[sample], None if weights is None else weights[sample]
    points = points.float()
    pull = points if weights is None else points * weights[:, None]
    centroids = points[kmeans_pp(points, clusters, generator, weights)].clone()
    assigned, distance = assign(points, centroids)
    moved = torch.ones(clusters, dtype=torch.bool)
    for _ in range(iterations):
        sums = torch.zeros_like(centroids).index_add_(0, assigned, pull)
        counts = torch.bincount(assigned, weights, minlength=clusters)
        moved &= counts > 0
        centroids[moved] = sums[moved] / counts[moved, None].float()
        before, (assigned, distance) = assigned, _assign_again(points, centroids, moved, assigned, distance)
        changed = before != assigned
        moved = torch.zeros_like(moved)
        moved[before[changed]] = moved[assigned[changed]] = True
        if not bool(moved.any()):
            break
    return centroids, assigned if points.data_ptr() == embeddings.data_ptr() else assign(embeddings, centroids)[0]


def assign(embeddings: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest centroid of each row [N] and the squared distance to it [N]."""
    squared = centroids.square().sum(1)
    assigned = torch.empty(len(embeddings), dtype=torch.int64, device=embeddings.device)
    distance = torch.empty(len(embeddings), device=embeddings.device)
    step = max(1, min(CHUNK, 2**23 // len(centroids)))
    for start in range(0, len(embeddings), step):
        chunk = embeddings[start : start + step].float()
        closest = torch.addmm(squared, chunk, centroids.T, alpha=-2).min(1)
        assigned[start : start + step] = closest.indices
        distance[start : start + step] = (closest.values + chunk.square().sum(1)).clamp_min_(0)
    return assigned, distance


def _assign_again(
    points: Tensor, centroids: Tensor, moved: Tensor, assigned: Tensor, distance: Tensor
) -> tuple[Tensor, Tensor]:
    """`assign`, given what it found before some of the centroids moved.

    Rows of a centroid that moved look at all of them; the others need to look at those that moved only.
    """
    if bool(moved.all()):
        return assign(points, centroids)
    assigned, distance = assigned.clone(), distance.clone()
    stale = moved[assigned]
    rows, names = stale.nonzero().flatten(), moved.nonzero().flatten()
    assigned[rows], distance[rows] = assign(points[rows], centroids)
    rest = (~stale).nonzero().flatten()
    nearest, closer = assign(points[rest], centroids[names])
    better = closer < distance[rest]
    assigned[rest[better]], distance[rest[better]] = names[nearest[better]], closer[better]
    return assigned, distance


def kmeans_pick(
    embeddings: Tensor, size: int, generator: torch.Generator | None = None, weights: Tensor | None = None
) -> Tensor:
    """The row nearest to each centroid of a k-means with `size` clusters (as in Zhdanov 2019, unweighted).

    Where clusters stay empty or share a row, the rest is filled with the rows farthest from those picked.

    Args:
        embeddings: [N, D].
        size: rows wanted; all N where there are fewer.
        generator: draws the start of k-means and breaks ties.
        weights: [N] above 0, how much a row pulls its centroid.

    Returns:
        [min(size, N)] int64 positions, largest cluster first, without repeats.

    Raises:
        ValueError: wrong shape, or a value that is not finite.
    """
    squared_norms(embeddings)
    generator = generator_or_default(generator)
    size = min(check_size(size), len(embeddings))
    if size == 0:
        return torch.empty(0, dtype=torch.int64)
    centroids, assigned = kmeans(embeddings, size, generator, weights=weights)
    counts = torch.bincount(assigned, minlength=size)
    distance = _distance_to_own_centroid(embeddings, centroids, assigned)
    picks: list[int] = []
    for cluster in torch.argsort(counts, descending=True, stable=True)[: int((counts > 0).sum())].tolist():
        members = (assigned == cluster).nonzero().flatten()
        picks.append(int(members[top_k(-distance[members], 1, generator)]))
    return fill(embeddings, picks, size, generator, weights)


def _distance_to_own_centroid(embeddings: Tensor, centroids: Tensor, assigned: Tensor) -> Tensor:
    distance = torch.empty(len(embeddings))
    for start in range(0, len(embeddings), CHUNK):
        chunk = slice(start, start + CHUNK)
        distance[chunk] = (embeddings[chunk].float() - centroids[assigned[chunk]]).square_().sum(1)
    return distance


def fill(
    embeddings: Tensor,
    picks: list[int],
    size: int,
    generator: torch.Generator,
    weights: Tensor | None = None,
    skip: Tensor | None = None,
) -> Tensor:
    """Picks, brought to `size` with the rows farthest from them; those to skip come last."""
    chosen = torch.tensor(picks, dtype=torch.int64)
    if len(picks) >= size:
        return chosen[:size]
    rest = all_but(len(embeddings), chosen)
    if skip is not None and len(rest) - len(skip) >= size - len(picks):
        rest = all_but(len(embeddings), torch.cat((chosen, skip)))
    left = None if weights is None else weights[rest]
    more = kcenter_greedy(embeddings[rest], size - len(picks), embeddings[chosen], generator, left)
    return torch.cat((chosen, rest[more]))
