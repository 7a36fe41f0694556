"""Batches by the Fisher information of the last layer, in a subspace where nearly all of it lies."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hfal.functional.checks import CHUNK, check_logits, check_size, check_weights, generator_or_default, squared_norms
from hfal.functional.select import next_best, top_k

CLASSES = 12
"""Likeliest classes of a row whose part of its information is kept apart."""


@dataclass(frozen=True)
class _Curvature:
    """Rows' information about the last layer: `(diag(p) - p p') x h h'`; for independent labels `diag(p (1 - p))`."""

    hidden: Tensor  # [N, D]
    p: Tensor  # [N, C]
    multi_label: bool

    def __len__(self) -> int:
        return len(self.p)

    def times(self, matrix: Tensor) -> Tensor:
        """The information of all rows together, times [D, C, r] -> [D, C, r]."""
        dims, classes, rank = matrix.shape
        result = torch.zeros(dims, classes * rank)
        for start in range(0, len(self), CHUNK):
            hidden, p = self.hidden[start : start + CHUNK].float(), self.p[start : start + CHUNK, :, None]
            seen = (hidden @ matrix.flatten(1)).view(-1, classes, rank)
            turned = p * (1 - p) * seen if self.multi_label else p * (seen - (p * seen).sum(1, keepdim=True))
            result += hidden.T @ turned.flatten(1)
        return result.view(dims, classes, rank)

    def factors(self, basis: Tensor) -> Tensor:
        """[N, c, r]: c vectors a row in the subspace, whose outer products sum to the row's information."""
        _, classes, rank = basis.shape
        kept = min(classes, CLASSES)
        result = torch.empty(len(self), kept, rank)
        for start in range(0, len(self), CHUNK):
            hidden, p = self.hidden[start : start + CHUNK].float(), self.p[start : start + CHUNK]
            seen = (hidden @ basis.flatten(1)).view(-1, classes, rank)
            if self.multi_label:
                weight, vectors = (p * (1 - p)).sqrt(), seen
            else:
                weight, vectors = p.sqrt(), seen - (p[:, :, None] * seen).sum(1, keepdim=True)
            best = weight.topk(kept, 1).indices
            chosen = vectors.gather(1, best[:, :, None].expand(-1, -1, rank))
            result[start : start + CHUNK] = weight.gather(1, best)[:, :, None] * chosen
        return result


def bait(
    embeddings: Tensor,
    logits: Tensor,
    size: int,
    labeled: tuple[Tensor, Tensor] | None = None,
    generator: torch.Generator | None = None,
    *,
    rank: int = 128,
    penalty: float = 0.1,
    multi_label: bool = False,
    weights: Tensor | None = None,
) -> Tensor:
    """The batch with which the parameters of the last layer would be known best where the pool is (BAIT).

    Minimises `tr((F_S + penalty I)^-1 F_pool)` over batches S, F being the Fisher information under the model's own
    predictions, labelled rows included in S: twice the batch forward, the best next row each time, then the least
    missed rows are taken out again (Ash et al. 2021, algorithm 1 and section 3.3). F has (C D)^2 entries and is never
    formed: everything happens in the `rank` directions in which the pool's information is largest.

    Args:
        embeddings: [N, D] the last layer's input.
        logits: [N, C] its output, C >= 2 (C >= 1 with `multi_label`).
        size: rows wanted; all N where there are fewer.
        labeled: embeddings [L, D] and logits [L, C] of the labelled rows.
        generator: draws the start of the search for the directions, and breaks ties.
        rank: directions; C D (nothing is left out) where that is less.
        penalty: lambda, the prior's precision, relative to the mean squared length of the embeddings.
        multi_label: the C outputs are independent yes/no decisions.
        weights: [N] above 0, by which gains and losses are multiplied.

    Returns:
        [min(size, N)] int64 positions in the order of choice, without repeats.

    Raises:
        ValueError: shapes that do not fit, one class, or a value that is not finite.
    """
    pool = _curvature(embeddings, logits, multi_label)
    known = None if labeled is None or not len(labeled[0]) else _curvature(*labeled, multi_label)
    generator = generator_or_default(generator)
    total, weights = len(pool), check_weights(weights, len(pool))
    size = min(check_size(size), total)
    if size in (0, total):
        return torch.randperm(total, generator=generator)[:size]
    basis = _directions(pool, min(rank, pool.p.shape[1] * pool.hidden.shape[1]), generator)
    factors = pool.factors(basis)
    start = penalty * max(float(squared_norms(embeddings).mean()), 1e-12) * torch.eye(basis.shape[2])
    if known is not None:
        start += _information(known.factors(basis))
    search = _Search(factors, start, _information(factors) / total)
    picks: list[int] = []
    while len(picks) < min(2 * size, total):
        gains = search.gains()
        if weights is not None:
            gains = gains * weights
        picks.append(next_best(gains, picks, generator))
        search.change(picks[-1], 1.0)
    while len(picks) > size:
        losses = search.losses(torch.tensor(picks))
        if weights is not None:
            losses = losses * weights[picks]
        missed_least = int(top_k(-losses, 1, generator))
        search.change(picks.pop(missed_least), -1.0)
    return torch.tensor(picks, dtype=torch.int64)


def _curvature(embeddings: Tensor, logits: Tensor, multi_label: bool) -> _Curvature:
    squared_norms(embeddings)
    if len(logits) != len(embeddings):
        raise ValueError(f"{len(embeddings)} rows of embeddings but {len(logits)} rows of logits")
    if multi_label:
        check_logits(torch.stack((torch.zeros_like(logits), logits), -1))
        return _Curvature(embeddings, torch.sigmoid(logits.float()), True)
    return _Curvature(embeddings, torch.softmax(check_logits(logits), -1), False)


def _directions(pool: _Curvature, rank: int, generator: torch.Generator) -> Tensor:
    """[D, C, r] orthonormal: where the information of the pool is largest (Halko et al. 2011, algorithm 4.4)."""
    dims, classes = pool.hidden.shape[1], pool.p.shape[1]
    if rank == dims * classes:
        return torch.eye(rank).view(dims, classes, rank)
    wide = min(rank + 16, dims * classes)
    basis = torch.randn(dims * classes, wide, generator=generator)
    for _ in range(3):
        basis = torch.linalg.qr(pool.times(basis.view(dims, classes, wide)).flatten(0, 1)).Q
    inside = basis.T @ pool.times(basis.view(dims, classes, wide)).flatten(0, 1)
    largest = torch.linalg.eigh((inside + inside.T) / 2).eigenvectors[:, -rank:]
    found: Tensor = (basis @ largest).view(dims, classes, rank)
    return found


def _information(factors: Tensor) -> Tensor:
    """[N, c, r] -> [r, r] sum of outer products."""
    flat = factors.flatten(0, 1)
    return flat.T @ flat


class _Search:
    """Keeps, for each row, what adding it or taking it out does to `tr(A^-1 F)`.

    With U the row's factors [c, r] these are `P = U A^-1 U'` and `Q = U A^-1 F A^-1 U'`, [c, c] a row: adding it lowers
    the trace by `tr(Q (I + P)^-1)`, taking it out raises it by `tr(Q (I - P)^-1)` (Woodbury).
    """

    def __init__(self, factors: Tensor, start: Tensor, wanted: Tensor) -> None:
        self.factors = factors
        self.inverse = torch.linalg.inv(start)
        self.wanted = wanted
        self.p = torch.empty(*factors.shape[:2], factors.shape[1])
        self.q = torch.empty_like(self.p)
        middle = self.inverse @ wanted @ self.inverse
        for start_ in range(0, len(factors), CHUNK):
            part = factors[start_ : start_ + CHUNK]
            self.p[start_ : start_ + CHUNK] = part @ self.inverse @ part.mT
            self.q[start_ : start_ + CHUNK] = part @ middle @ part.mT
        self.eye = torch.eye(factors.shape[1])

    def gains(self) -> Tensor:
        """[N] how far the trace falls when a row is added."""
        return self._traces(self.eye + self.p, self.q)

    def losses(self, rows: Tensor) -> Tensor:
        """[m] how far the trace rises when one of these rows is taken out."""
        return self._traces(self.eye - self.p[rows], self.q[rows])

    @staticmethod
    def _traces(left: Tensor, right: Tensor) -> Tensor:
        solved: Tensor = torch.linalg.solve(left, right)
        return solved.diagonal(dim1=1, dim2=2).sum(1)

    def change(self, row: int, sign: float) -> None:
        """Add a row (1), or take it out (-1)."""
        own = self.factors[row]
        towards = self.inverse @ own.T  # [r, c]
        mixed = sign * torch.linalg.inv(self.eye + sign * own @ towards)
        beyond = self.inverse @ (self.wanted @ towards)
        ends = towards.T @ self.wanted @ towards
        classes = len(own)
        seen = self.factors.flatten(0, 1) @ torch.cat((towards, beyond), 1)
        seen = seen.view(len(self.factors), classes, 2 * classes)
        near, far = seen[:, :, :classes], seen[:, :, classes:]
        turned = near @ mixed
        cross = turned @ far.mT
        self.p -= turned @ near.mT
        self.q += turned @ ends @ turned.mT - cross - cross.mT
        self.inverse = self.inverse - towards @ mixed @ towards.T
