"""What may be learned beyond the labels, and in which order: pure rules of training on few of them."""

from __future__ import annotations

import torch
from torch import Tensor


def falling_threshold(start: float, fall: float, floor: float, labels: int) -> float:
    """How sure a model must be of a row that it teaches itself: less so as labels grow (CEAL; Wang et al. 2017).

    The paper lets the threshold fall by a fixed amount in each round (its section III-C); here it falls for every
    hundred labels, so that it follows from what is labelled alone.

    Args:
        start: the threshold without labels.
        fall: taken off for each hundred labels.
        floor: it never falls below.
        labels: how many rows are labelled.
    """
    return max(floor, start - fall * labels / 100)


def surest(probabilities: Tensor, threshold: float, most: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of whose class a model is sure, the surest first, at most so many of each class.

    Args:
        probabilities: [N, C].
        threshold: least probability of the likeliest class.
        most: [C] rows that each class may have.

    Returns:
        [k] rows, by class and then by falling probability, and [k] their classes. Of equals the first comes first.
    """
    highest, predicted = probabilities.max(1)
    found = []
    for name, limit in enumerate(most.tolist()):
        rows = torch.nonzero((predicted == name) & (highest >= threshold)).squeeze(1)
        order = torch.sort(highest[rows], descending=True, stable=True).indices
        found.append(rows[order[: int(limit)]])
    rows = torch.cat(found) if found else torch.empty(0, dtype=torch.int64)
    return rows, predicted[rows]


def easiest(losses: Tensor, share: float) -> Tensor:
    """Which outputs are learned from while a model paces itself (Kumar et al. 2010; DASL, Wang et al. 2018).

    Args:
        losses: [B].
        share: of them that count: those with the smallest loss, and at least one.

    Returns:
        [B] of 1 and 0.
    """
    count = max(1, round(share * len(losses)))
    kept = torch.zeros_like(losses)
    kept[torch.sort(losses.detach(), stable=True).indices[:count]] = 1
    return kept


def label_pairs(labels: Tensor, each: int, most: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of rows, of one class and of two, to learn from labels by comparing (SetFit; Tunstall et al. 2022, sec. 3).

    Args:
        labels: [N] classes.
        each: pairs of either kind that each row begins.
        most: pairs in all; every row begins about as many.
        generator: draws the other row.

    Returns:
        [P] first rows, [P] second rows, [P] float 1 where both have one class, else 0. A row that has no other of its
        class begins no pair of one class, and where all are of one class there are none of two.
    """
    size = len(labels)
    turns = max(1, min(each, most // max(1, 2 * size)))
    order = torch.randperm(size, generator=generator)[: max(1, min(size, most // 2))]
    first, second, same = [], [], []
    for row in order.repeat(turns).tolist():
        alike = labels == labels[row]
        for wanted, mask in ((1.0, alike.clone()), (0.0, ~alike)):
            mask[row] = False
            others = torch.nonzero(mask).squeeze(1)
            if len(others):
                first.append(row)
                second.append(int(others[torch.randint(len(others), (1,), generator=generator)]))
                same.append(wanted)
    return torch.tensor(first, dtype=torch.int64), torch.tensor(second, dtype=torch.int64), torch.tensor(same)
