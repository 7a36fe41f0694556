"""What labels of several rows would tell together: `[K, N, C]` logits of K samples of the model in.

Sample k must be one and the same model for all rows: labels are independent given the model, and only so.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hfal.functional.checks import check_logits, check_size, generator_or_default, parts
from hfal.functional.greedy import lazy_greedy


def batchbald(
    mc_logits: Tensor,
    size: int,
    generator: torch.Generator | None = None,
    *,
    max_configurations: int = 2**16,
    samples: int = 10_000,
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The batch whose labels together tell most about the parameters, picked greedily.

    Each pick adds most to `I(y_1, ..., y_b; w) = H(y_1, ..., y_b) - sum_i E_k H(y_i | w_k)` (BatchBALD; Kirsch et al.
    2019, eq. 8 and algorithm 1). What a row adds is `E H(y_n | y_1, ..., y_b) - E_k H(y_n | w_k)`, the first
    expectation over the labels of the picks: over all of them while they are at most `max_configurations`, over
    `samples` draws after that. The gain can only shrink (it is submodular), so few rows are looked at again.

    Args:
        mc_logits: [K, N, C] logits of K samples of the model, C >= 2, or [K, N, L, C] where a row has L decisions
            (their information is summed).
        size: rows wanted; all N where there are fewer.
        generator: breaks ties and draws labels.
        max_configurations: labels of the picks that are looked at one by one.
        samples: draws of them where they are more.
        weights: [N] above 0, by which gains are multiplied.

    Returns:
        [min(size, N)] int64 positions in order of choice, and what each added, in nats (per cost, with weights).

    Raises:
        ValueError: wrong shape, or a value that is not finite.
    """
    p = _probabilities(mc_logits)
    generator = generator_or_default(generator)
    certain = _entropy(p).mean((1, 2)) * p.shape[2]  # given the parameters
    joint = _Labels(p.shape[1], max_configurations, samples, generator)
    pay = torch.ones(len(p)) if weights is None else weights

    def gains_of(rows: Tensor) -> Tensor:
        return (joint.entropy_of(p[rows]) - certain[rows]) * pay[rows]

    def take(row: int) -> None:
        for decision in range(p.shape[2]):
            joint.add(p[row, :, decision])

    first = (_entropy(p.mean(1)).sum(1) - certain) * pay
    return lazy_greedy(first, gains_of, take, check_size(size), generator)


class _Labels:
    """Configurations of the labels of the picks: how likely each is, and what it says of the K samples."""

    def __init__(self, models: int, most: int, samples: int, generator: torch.Generator) -> None:
        self.share = torch.ones(1)  # [M] probability of a configuration
        self.models = torch.full((1, models), 1 / models)  # [M, K] posterior over the samples, given it
        self.most = most
        self.samples = samples
        self.generator = generator
        self.drawn = False

    def entropy_of(self, p: Tensor) -> Tensor:
        """[n, K, L, C] -> [n] expected entropy of the labels given the configuration, summed over L."""
        rows, models, decisions, classes = p.shape
        flat = p.transpose(0, 1).reshape(models, -1)  # [K, n L C]
        total = torch.zeros(rows * decisions)
        for part in parts(len(self.share), flat.shape[1]):
            q = (self.models[part] @ flat).view(-1, rows * decisions, classes)
            total += self.share[part] @ _entropy(q)
        return total.view(rows, decisions).sum(1)

    def add(self, p: Tensor) -> None:
        """One more label, with probabilities [K, C]."""
        classes = p.shape[1]
        if not self.drawn and len(self.share) * classes > self.most:
            chosen = torch.multinomial(self.share, self.samples, replacement=True, generator=self.generator)
            self.share, self.models = torch.full((self.samples,), 1 / self.samples), self.models[chosen]
            self.drawn = True
        if self.drawn:
            label = torch.multinomial(self.models @ p, 1, generator=self.generator)[:, 0]
            joint = self.models * p.T[label]
        else:
            joint = (self.models[:, None, :] * p.T).flatten(0, 1)
            likely = joint.sum(1)
            self.share = self.share.repeat_interleave(classes) * likely
            possible = self.share > 0
            self.share, joint = self.share[possible], joint[possible]
        self.models = joint / joint.sum(1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)


def epig(
    mc_logits: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
) -> Tensor:
    """Expected predictive information gain: what a row's label would tell of the labels of other rows.

    `mean over x* of I(y; y*)`, with `p(y, y*) = mean_k p_k(y) p_k(y*)` (Bickford Smith et al. 2023, eq. 7 and 10).

    Args:
        mc_logits: [K, N, C] logits of K samples of the model, C >= 2, or [K, N, L, C] for L decisions a row, of
            which each is compared with the same decision of the others, and the mean taken.
        targets: [K, T, C] (or [K, T, L, C]) of the rows whose labels matter, by the same samples.
        weights: [T] how much each of them matters; all the same where not given.

    Returns:
        [N] float32 in nats, 0 or more.

    Raises:
        ValueError: wrong shapes, no target, or a value that is not finite.
    """
    p, other = _probabilities(mc_logits), _probabilities(targets)
    if p.shape[1:] != other.shape[1:] or not len(other):
        raise ValueError(f"targets of shape {list(targets.shape)} do not go with logits {list(mc_logits.shape)}")
    share = torch.ones(len(other)) if weights is None else weights
    share = share / share.sum()
    scores = [_mutual(p[:, :, d], other[:, :, d], share) for d in range(p.shape[2])]
    return torch.stack(scores).mean(0).clamp_min_(0)


def _mutual(p: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """[N, K, C], [T, K, C] -> [N] mean mutual information."""
    samples, classes = p.shape[1:]
    right = other.transpose(0, 1).reshape(samples, -1) / samples  # [K, T C]
    apart = _entropy(p.mean(1)) + share @ _entropy(other.mean(1))
    together = torch.empty(len(p))
    for rows in parts(len(p), classes * right.shape[1]):
        left = p[rows].transpose(1, 2).reshape(-1, samples)  # [n C, K]
        plogp = _plogp(left @ right).view(len(rows), classes, len(other), classes)
        together[rows] = plogp.sum((1, 3)) @ share
    return apart + together


def _probabilities(mc_logits: Tensor) -> Tensor:
    """[K, N, (L,) C] logits -> [N, K, L, C] probabilities."""
    if isinstance(mc_logits, Tensor) and mc_logits.ndim == 4:
        checked = check_logits(mc_logits.flatten(1, 2), samples=True).view(mc_logits.shape)
    else:
        checked = check_logits(mc_logits, samples=True)[:, :, None]
    return torch.softmax(checked, -1).transpose(0, 1).contiguous()


def _plogp(p: Tensor) -> Tensor:
    """p log p, in place of p; 0 at 0."""
    return p.mul_(p.clamp_min(torch.finfo(torch.float32).tiny).log_())


def _entropy(p: Tensor) -> Tensor:
    """[..., C] -> [...] nats."""
    return -_plogp(p.clone()).sum(-1)
