"""Uncertainty in a hidden space: how far K samples of a row's representation lie apart, [K, N, H] -> [N]."""

from __future__ import annotations

import math

import torch
from torch import Tensor

FLOOR = 1e-6
"""Variance of each direction that the entropy takes for granted: samples that are all alike have a finite one."""


def latent_variance(samples: Tensor) -> Tensor:
    """Mean squared distance of the samples to their mean: the trace of their covariance (Jedoui et al. 2019).

    Args:
        samples: [K, N, H] representations. With K = 1, or samples all alike, the score is 0.

    Returns:
        [N] float32, 0 or more; for vectors of length 1 at most 1.

    Raises:
        ValueError: wrong shape, or a value that is not finite.
    """
    values = _checked(samples).transpose(0, 1)  # [N, K, H], as learners have it in memory
    away = values - values[:, :1]  # so that samples all alike have exactly 0
    squares = torch.linalg.vector_norm(away, dim=(1, 2)).square() / away.shape[1]
    variance: Tensor = squares - away.mean(1).square().sum(-1)
    return variance.clamp_min(0)


def latent_entropy(samples: Tensor, shrinkage: float = 0.1) -> Tensor:
    """Entropy of a Gaussian with the samples' covariance S, in nats: `H/2 log(2 pi e) + 1/2 log det S'`.

    `S' = (1 - a) S + a tr(S)/H I + 1e-6 I` is shrunk towards a sphere (Ledoit and Wolf 2004), since K samples span at
    most K - 1 of the H directions; the determinant is taken of a K x K matrix (Sylvester's identity).

    Args:
        samples: [K, N, H] representations.
        shrinkage: a, from above 0 to 1.

    Returns:
        [N] float32.

    Raises:
        ValueError: wrong shape, a value that is not finite, or a shrinkage outside of (0, 1].
    """
    if not 0 < shrinkage <= 1:
        raise ValueError(f"shrinkage must be above 0 and at most 1, got {shrinkage}")
    values = _checked(samples).double()
    count, _, size = values.shape
    centred = (values - values.mean(0)).transpose(0, 1)  # [N, K, H]
    spread = centred.square().sum((1, 2)) / count / size
    ball = shrinkage * spread + FLOOR  # [N] variance in the directions that no sample spans
    gram = (1 - shrinkage) * centred @ centred.transpose(1, 2) / count
    inside = torch.linalg.slogdet(torch.eye(count, dtype=gram.dtype) + gram / ball[:, None, None]).logabsdet
    entropy: Tensor = 0.5 * (size * (math.log(2 * math.pi * math.e) + torch.log(ball)) + inside)
    return entropy.float()


def _checked(samples: Tensor) -> Tensor:
    if samples.ndim != 3 or not samples.shape[0]:
        raise ValueError(f"samples must be [K, N, H] with K of at least 1, got {list(samples.shape)}")
    if samples.numel() and not bool(torch.isfinite(torch.stack(torch.aminmax(samples))).all()):  # NaN comes through
        raise ValueError("samples must be finite")
    return samples.float()
