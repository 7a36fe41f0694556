"""Spaces in which rows are near or far: of embeddings, and of the last layer's gradients, which are never formed."""

from __future__ import annotations

import torch
from torch import Tensor

from hfal.functional.checks import check_logits, generator_or_default, inner_products, squared_norms


class EuclideanSpace:
    """Distances among rows, computed when they are asked for.

    Args:
        vectors: [N, D].

    Attributes:
        norms: [N] squared lengths.

    Raises:
        ValueError: wrong shape, or a value that is not finite.
    """

    def __init__(self, vectors: Tensor) -> None:
        self.embeddings = vectors
        self.norms = squared_norms(vectors)

    def products(self, other: EuclideanSpace, rows: Tensor) -> Tensor:
        """[m, N] inner products with m rows of another space of the kind."""
        return inner_products(self.embeddings, other.embeddings[rows].float())

    def distances_to(self, rows: Tensor) -> Tensor:
        """[m, N] squared distances of every row to these; rounding may bring them below 0."""
        return self._distances(self, rows)

    def _distances(self, other: EuclideanSpace, rows: Tensor) -> Tensor:
        return self.products(other, rows).mul_(-2).add_(self.norms).add_(other.norms[rows, None])

    def nearest(self, other: EuclideanSpace) -> tuple[Tensor, Tensor]:
        """The squared distance to the nearest row of another space of the kind, and which that is: [N] each."""
        best = torch.full_like(self.norms, torch.inf)
        which = torch.zeros(len(best), dtype=torch.int64)
        for rows in torch.split(torch.arange(len(other.norms)), 32):
            distance, place = self._distances(other, rows).min(0)
            which = torch.where(distance < best, rows[place], which)
            torch.minimum(best, distance, out=best)
        return best, which


class GradientSpace(EuclideanSpace):
    """Distances among the gradients `a h'` of the last layer, under the model's own labels.

    Args:
        embeddings: [N, D] the layer's input h.
        logits: [N, C] its output.
        multi_label: the C outputs are independent yes/no decisions.

    Raises:
        ValueError: shapes that do not fit, one class, or a value that is not finite.
    """

    factors: Tensor

    def __init__(self, embeddings: Tensor, logits: Tensor, *, multi_label: bool = False) -> None:
        super().__init__(embeddings)
        if len(logits) != len(embeddings):
            raise ValueError(f"{len(embeddings)} rows of embeddings but {len(logits)} rows of logits")
        self.factors = gradient_factors(logits, multi_label=multi_label)
        self.norms = squared_norms(self.factors, "logits") * self.norms

    def products(self, other: EuclideanSpace, rows: Tensor) -> Tensor:
        """`(a . b)(h . g)`: the outer products are never formed."""
        assert isinstance(other, GradientSpace)
        return super().products(other, rows).mul_(other.factors[rows] @ self.factors.T)


def sketch_products(left: Tensor, right: Tensor, size: int, generator: torch.Generator | None = None) -> Tensor:
    """[N, size] vectors whose inner products are near to those of the outer products `left x right`.

    `(A l) * (B r) / sqrt(size)` with A and B Gaussian: unbiased, for any two rows (Holzmüller et al. 2023).

    Args:
        left: [N, C].
        right: [N, D].
        size: numbers a row.
        generator: draws A and B.

    Returns:
        [N, size] float32.
    """
    generator = generator_or_default(generator)
    a = torch.randn(left.shape[1], size, generator=generator)
    b = torch.randn(right.shape[1], size, generator=generator)
    return (left.float() @ a).mul_(right.float() @ b).div_(size**0.5)


def gradient_factors(logits: Tensor, *, multi_label: bool = False) -> Tensor:
    """`p - onehot(argmax p)`, [N, C]: the loss gradient in the logits under the model's own label."""
    if multi_label:
        check_logits(torch.stack((torch.zeros_like(logits), logits), -1))
        logits = logits.float()
        return torch.sigmoid(logits) - (logits > 0).float()
    probabilities = torch.softmax(check_logits(logits), -1)
    label = probabilities.argmax(-1, keepdim=True)
    return probabilities.scatter_add(-1, label, torch.full_like(label, -1, dtype=probabilities.dtype))
