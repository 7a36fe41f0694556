"""Checks at the door of every function: one clear error, no surprise later."""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 8192
"""Rows of a large matrix that are looked at together."""


TOGETHER = 2**23
"""Numbers that are computed together."""


def parts(rows: int | Tensor, width: int) -> tuple[Tensor, ...]:
    """Positions (of so many rows, or those given) in parts: with `width` numbers a row, `TOGETHER` at once."""
    places = torch.arange(rows) if isinstance(rows, int) else rows
    found: tuple[Tensor, ...] = torch.split(places, max(1, TOGETHER // max(1, width)))
    return found


def all_but(rows: int, some: Tensor | list[int]) -> Tensor:
    """The positions of so many rows that are not among some of them, ascending."""
    free = torch.ones(rows, dtype=torch.bool)
    free[some] = False
    return free.nonzero().flatten()


def generator_or_default(generator: torch.Generator | None) -> torch.Generator:
    """The caller's generator, or a new one seeded with 0."""
    return torch.Generator().manual_seed(0) if generator is None else generator


def randint(high: int, generator: torch.Generator) -> int:
    """One integer in [0, high), the same on every device."""
    return int(torch.randint(high, (1,), generator=generator))


def check_size(size: int, name: str = "size") -> int:
    """A number of rows to pick: a whole number, at least 0."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise ValueError(f"{name} must be a whole number, 0 or more; got {size!r}")
    return size


def check_logits(logits: Tensor, *, samples: bool = False) -> Tensor:
    """`[..., C]` (with `samples`: `[K, N, C]`) as float32, finite, with C >= 2.

    Raises:
        ValueError: not a tensor, wrong number of dimensions, fewer than two classes, or a value that is not
            finite (the rows are named).
    """
    shape = "[K, N, C]" if samples else "[..., C] with at least 2 dimensions"
    if not isinstance(logits, Tensor):
        raise ValueError(f"logits must be a torch.Tensor, got {type(logits).__name__}")
    if logits.ndim != 3 if samples else logits.ndim < 2:
        raise ValueError(f"logits must have shape {shape}, got {list(logits.shape)}")
    if logits.shape[-1] < 2:
        raise ValueError(f"logits need at least 2 classes, got shape {list(logits.shape)}")
    if samples and logits.shape[0] < 1:
        raise ValueError("logits need at least one sample (K >= 1)")
    logits = logits.float()
    finite = torch.isfinite(logits)
    if not bool(finite.all()):
        bad = ~finite.all(-1)
        rows = (bad.any(0) if samples else bad.flatten(1).any(1) if bad.ndim > 1 else bad).nonzero().flatten()
        raise ValueError(f"logits are not finite in {describe_rows(rows)}")
    return logits


def check_scores(scores: Tensor) -> Tensor:
    """`[N]` as a finite floating-point tensor (float64 is kept)."""
    if not isinstance(scores, Tensor) or scores.ndim != 1:
        got = list(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise ValueError(f"scores must be a tensor of shape [N], got {got}")
    if scores.dtype not in (torch.float32, torch.float64):
        scores = scores.float()
    finite = torch.isfinite(scores)
    if not bool(finite.all()):
        raise ValueError(f"scores are not finite in {describe_rows((~finite).nonzero().flatten())}")
    return scores


def check_matrix(matrix: Tensor, name: str = "embeddings") -> Tensor:
    """`[N, D]`: two dimensions, D >= 1, a floating type. Never copied; values are checked by `squared_norms`."""
    if not isinstance(matrix, Tensor) or matrix.ndim != 2:
        got = list(matrix.shape) if isinstance(matrix, Tensor) else type(matrix).__name__
        raise ValueError(f"{name} must be a tensor of shape [N, D], got {got}")
    if matrix.shape[1] < 1:
        raise ValueError(f"{name} need at least one dimension, got shape {list(matrix.shape)}")
    if not matrix.is_floating_point():
        raise ValueError(f"{name} must be floating point, got {matrix.dtype}")
    return matrix


def check_weights(weights: Tensor | None, rows: int) -> Tensor | None:
    """`[N]` as float32, finite and above 0; None stays None."""
    if weights is None:
        return None
    if not isinstance(weights, Tensor) or weights.shape != (rows,):
        got = list(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__
        raise ValueError(f"weights must be a tensor of shape [{rows}], got {got}")
    bad = ~(torch.isfinite(weights) & (weights > 0))
    if bool(bad.any()):
        raise ValueError(
            f"weights must be finite and above 0; they are not in {describe_rows(bad.nonzero().flatten())}"
        )
    return weights.float()


def squared_norms(matrix: Tensor, name: str = "embeddings") -> Tensor:
    """`[N]` float32 squared lengths of the rows of `[N, D]`, read in chunks.

    Raises:
        ValueError: a row is not finite (or so large that its square is not); the rows are named.
    """
    check_matrix(matrix, name)
    norms = torch.empty(len(matrix), dtype=torch.float32, device=matrix.device)
    for start in range(0, len(matrix), CHUNK):
        chunk = matrix[start : start + CHUNK].float()
        torch.linalg.vecdot(chunk, chunk, out=norms[start : start + CHUNK])
    finite = torch.isfinite(norms)
    if not bool(finite.all()):
        raise ValueError(f"{name} are not finite in {describe_rows((~finite).nonzero().flatten())}")
    return norms


def inner_products(matrix: Tensor, vectors: Tensor) -> Tensor:
    """`[m, N]` float32 inner products of the rows of `[N, D]` with `[m, D]` (or `[N]` with `[D]`), in one read of the
    matrix; half precision is widened in chunks."""
    if matrix.dtype == torch.float32:
        return vectors @ matrix.T if vectors.ndim == 2 and len(vectors) > 1 else _one_by_one(matrix, vectors)
    chunks = [vectors.float() @ matrix[i : i + CHUNK].float().T for i in range(0, len(matrix), CHUNK)]
    return torch.cat(chunks, -1)


def _one_by_one(matrix: Tensor, vectors: Tensor) -> Tensor:
    return torch.mv(matrix, vectors.flatten()).view(*vectors.shape[:-1], len(matrix))


def describe_rows(rows: Tensor, at_most: int = 5) -> str:
    """`row 3`, or `rows 3, 8, 9, … (120 in all)`."""
    shown = ", ".join(str(int(row)) for row in rows[:at_most])
    if len(rows) == 1:
        return f"row {shown}"
    return f"rows {shown}" + (f", … ({len(rows)} in all)" if len(rows) > at_most else "")
