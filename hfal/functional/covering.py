"""Balls that cover a pool: `[N, D]` embeddings in, positions out. Distances are Euclidean; no `[N, N]` is held."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hfal.functional.checks import check_size, check_weights, generator_or_default, parts, squared_norms
from hfal.functional.diversity import fill, kmeans
from hfal.functional.select import top_k

EDGES = 100_000_000
"""Neighbours that are held in all."""
SAMPLE = 4096
"""Rows among which a robust cover is looked for; of more, so many are drawn."""


def ball_radius(
    embeddings: Tensor,
    clusters: int,
    purity: float = 0.95,
    generator: torch.Generator | None = None,
    sample: int = 4096,
) -> float:
    """The largest radius at which balls around rows hold one kind of row only (Yehuda et al. 2022, section 4.1).

    Kinds are clusters of k-means, as many as there are classes. A ball is pure while it is smaller than the distance
    to the nearest row of another cluster, so the share of pure balls is a distribution function, and the radius one of
    its quantiles; the paper searches for it.

    Args:
        embeddings: [N, D].
        clusters: classes.
        purity: share of the balls that must be pure, in (0, 1).
        generator: draws the clustering and the sample.
        sample: rows whose balls are looked at; all where there are fewer.

    Returns:
        The radius, 0 or more. Where every row is in one cluster, the largest distance met.

    Raises:
        ValueError: wrong shape, a value that is not finite, or purity out of range.
    """
    norms = squared_norms(embeddings)
    if not 0 < purity < 1:
        raise ValueError(f"purity must be between 0 and 1, got {purity}")
    generator = generator_or_default(generator)
    kind = kmeans(embeddings, min(clusters, len(embeddings)), generator)[1]
    rows = torch.randperm(len(embeddings), generator=generator)[:sample]
    nearest, farthest = torch.empty(len(rows)), 0.0
    for part in parts(len(rows), len(embeddings)):
        squared = _squared(embeddings, norms, rows[part])
        farthest = max(farthest, float(squared.max()))
        squared.masked_fill_(kind[rows[part], None] == kind, torch.inf)
        nearest[part] = squared.amin(1)
    value = float(torch.quantile(nearest, 1 - purity, interpolation="lower"))
    return math.sqrt(min(value, farthest))


def prob_cover(
    embeddings: Tensor,
    size: int,
    radius: float,
    labeled: Tensor | None = None,
    generator: torch.Generator | None = None,
    *,
    weights: Tensor | None = None,
) -> Tensor:
    """Rows whose balls cover the most of what is not covered yet (ProbCover; Yehuda et al. 2022, algorithm 1).

    Rows within `radius` of a labelled row are covered from the start. Each pick is the row with the most uncovered
    rows within `radius`. How many that is for each row is counted once, and counted down as rows are covered. The graph
    is held as lists of neighbours while these are at most 100 million; beyond, distances are computed a second time
    instead. Once all is covered, the rest are the rows farthest from the picks.

    Args:
        embeddings: [N, D].
        size: rows wanted; all N where there are fewer.
        radius: of the balls; `ball_radius` gives the paper's.
        labeled: [L, D] labelled rows, if any.
        generator: breaks ties.
        weights: [N] above 0, by which the number of rows covered is multiplied.

    Returns:
        [min(size, N)] int64 positions in order of choice, without repeats.

    Raises:
        ValueError: wrong shapes, or a value that is not finite.
    """
    norms = squared_norms(embeddings)
    weights = check_weights(weights, len(embeddings))
    generator = generator_or_default(generator)
    total, reach = len(embeddings), radius**2
    size = min(check_size(size), total)
    covered = torch.zeros(total, dtype=torch.bool)
    if labeled is not None and len(labeled):
        known = squared_norms(labeled, "labeled")
        for part in parts(len(labeled), total):
            covered |= (_squared(embeddings, norms, part, labeled, known) <= reach).any(0)
    balls = _Balls(embeddings, norms, reach)
    could = balls.sizes - balls.count(covered.nonzero().flatten())  # rows that each would newly cover
    picks: list[int] = []
    while len(picks) < size and bool((could > 0).any()):
        scores = could.float() if weights is None else could * weights
        picks.append(int(top_k(scores, 1, generator)))
        ball = balls.of(picks[-1])
        new = ball[~covered[ball]]
        covered[new] = True
        could -= balls.count(new)
        could[picks[-1]] = 0
    return fill(embeddings, picks, size, generator, weights)


class _Balls:
    """Which rows lie within a distance of which: a list for each row, while all lists together are short enough."""

    def __init__(self, embeddings: Tensor, norms: Tensor, reach: float) -> None:
        self.embeddings, self.norms, self.reach = embeddings, norms, reach
        total = len(embeddings)
        self.sizes = torch.zeros(total, dtype=torch.int64)
        lists: list[Tensor] | None = []
        for part in parts(total, total):
            inside = self._inside(part)
            if lists is None:
                self.sizes[part] = inside.sum(1)
                continue
            row, member = inside.nonzero().unbind(1)
            self.sizes[part] = torch.bincount(row, minlength=len(part))
            lists.append(member.int())
            if sum(len(found) for found in lists) > EDGES:
                lists = None
        self.members = None if lists is None or not lists else torch.cat(lists)
        self.starts = torch.cat((torch.zeros(1, dtype=torch.int64), self.sizes.cumsum(0)))

    def _inside(self, rows: Tensor) -> Tensor:
        inside = _squared(self.embeddings, self.norms, rows) <= self.reach
        inside[torch.arange(len(rows)), rows] = True
        return inside

    def of(self, row: int) -> Tensor:
        """The rows in the ball around this one."""
        if self.members is None:
            return self._inside(torch.tensor([row]))[0].nonzero().flatten()
        return self.members[self.starts[row] : self.starts[row + 1]].long()

    def count(self, rows: Tensor) -> Tensor:
        """[N] how many of these rows lie in each row's ball. (Nearness is mutual.)"""
        count = torch.zeros(len(self.sizes), dtype=torch.int64)
        if self.members is not None:
            found = [self.of(row) for row in rows.tolist()]
            return torch.bincount(torch.cat(found), minlength=len(count)) if found else count
        for part in parts(rows, len(count)):
            count += self._inside(part).sum(0)
        return count


def _squared(
    embeddings: Tensor, norms: Tensor, rows: Tensor, of: Tensor | None = None, of_norms: Tensor | None = None
) -> Tensor:
    """[m, N] squared distances from these rows (of another matrix, where one is given) to all."""
    source, lengths = (embeddings, norms) if of is None or of_norms is None else (of, of_norms)
    products = source[rows].float() @ embeddings.float().T
    return products.mul_(-2).add_(norms).add_(lengths[rows, None]).clamp_min_(0)


def kcenter_outliers(
    embeddings: Tensor,
    size: int,
    centers: Tensor | None = None,
    outliers: float = 0.01,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, float]:
    """k-center with a share of the rows left out (the robust variant of Sener and Savarese 2018, eq. 5).

    They solve it as an integer programme; here, for a radius, disks are placed greedily where they hold the most
    uncovered rows, and what lies within three radii is covered (Charikar et al. 2001: the radius found is at most three
    times the smallest possible). The radius is halved in on; disks that cover one radius only are tried too, and the
    cover with the smaller radius is kept.

    Args:
        embeddings: [N, D] rows to choose from; of more than 4,096, so many are drawn.
        size: rows wanted; all N where there are fewer.
        centers: [M, D] rows that cover already.
        outliers: share of the rows that need not be covered, in [0, 1).
        generator: draws the sample and breaks ties.

    Returns:
        [min(size, N)] int64 positions in order of choice, without repeats, and the radius: within it of a pick or a
        centre lie all rows (of the sample) but the share of outliers.

    Raises:
        ValueError: wrong shapes, a share out of range, or a value that is not finite.
    """
    squared_norms(embeddings)
    if not 0 <= outliers < 1:
        raise ValueError(f"outliers must be a share from 0 up to 1, got {outliers}")
    generator = generator_or_default(generator)
    size = min(check_size(size), len(embeddings))
    sample = torch.arange(len(embeddings))
    if len(embeddings) > max(SAMPLE, 2 * size):
        sample = torch.randperm(len(embeddings), generator=generator)[: max(SAMPLE, 2 * size)].sort().values
    points = embeddings[sample].float()
    norms = squared_norms(points)
    distances = _squared(points, norms, torch.arange(len(points))).sqrt_().fill_diagonal_(0)
    before = torch.full((len(points),), torch.inf)
    if centers is not None and len(centers):
        before = _squared(points, norms, torch.arange(len(centers)), centers, squared_norms(centers))
        before = before.amin(0).sqrt_()
    allowed = int(outliers * len(points))
    best: tuple[float, list[int]] = (torch.inf, [])
    for spread in (1.0, 3.0):
        low, high = 0.0, float(torch.minimum(distances.max(), before.max()))
        for _ in range(12):
            radius = (low + high) / 2
            picks, left = _disks(distances, before, size, radius, spread, allowed, generator)
            reached = _radius(distances, before, picks, allowed)
            best = min(best, (reached, picks), key=lambda found: found[0])
            low, high = (low, radius) if left <= allowed else (radius, high)
    chosen = fill(points, best[1], size, generator, skip=_farthest(distances, before, best[1], allowed))
    return sample[chosen], _radius(distances, before, chosen.tolist(), allowed)


def _disks(
    distances: Tensor,
    before: Tensor,
    size: int,
    radius: float,
    spread: float,
    allowed: int,
    generator: torch.Generator,
) -> tuple[list[int], int]:
    """Greedy disks of a radius until no more rows are left than may be, and how many they leave uncovered."""
    uncovered = before > spread * radius
    inside = distances <= radius
    count = inside[:, uncovered].sum(1).float()
    picks: list[int] = []
    while len(picks) < size and int(uncovered.sum()) > allowed:
        pick = int(top_k(count, 1, generator))
        if count[pick] <= 0:
            break
        picks.append(pick)
        gone = uncovered & (distances[pick] <= spread * radius)
        uncovered &= ~gone
        count -= inside[:, gone].sum(1)
    return picks, int(uncovered.sum())


def _nearest(distances: Tensor, before: Tensor, picks: list[int]) -> Tensor:
    return torch.minimum(before, distances[picks].amin(0)) if picks else before


def _radius(distances: Tensor, before: Tensor, picks: list[int], allowed: int) -> float:
    return float(_nearest(distances, before, picks).sort().values[len(before) - 1 - allowed])


def _farthest(distances: Tensor, before: Tensor, picks: list[int], allowed: int) -> Tensor:
    """The rows left out: the farthest from all picks."""
    return torch.topk(_nearest(distances, before, picks), allowed).indices
