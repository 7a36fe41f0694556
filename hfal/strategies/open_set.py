"""Pools in which some rows belong to no class: people flag them, and what is like them is passed by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hfal.linear import fit_logistic
from hfal.signals import Needs
from hfal.strategies.base import Context, Selection, Strategy, check_then, check_whole, later, register

C = 10.0
"""Inverse strength of the filter's penalty, as of a frozen head."""
ROOM = 3
"""Batches that are left to choose from, however many rows look as if they were of no class."""


@register("passing_by", paper="after LfOSA; Ning et al. 2022")
@dataclass(frozen=True)
class PassingBy:
    """Any strategy, among the rows that do not look like those that were set aside: for pools with rows of no class.

    A logistic regression on the embeddings tells rows that were set aside (flagged as of no class, or skipped) from
    those that are labelled; `then` chooses among the rows that it takes for the latter. `least` rows of either kind
    are needed before it says anything.
    """

    then: Strategy
    least: int = 3

    def __post_init__(self) -> None:
        check_then(self.then)
        check_whole("least", self.least)

    @property
    def needs(self) -> Needs:
        """What `then` needs, and embeddings of all rows, also of those set aside."""
        embeddings = frozenset({"embeddings"})
        return self.then.needs | Needs(pool=embeddings, labeled=embeddings, aside=embeddings)

    @property
    def later(self) -> Needs:
        """What `then` needs in closer looks."""
        return later(self.then)

    def select(self, context: Context, size: int) -> Selection:
        """What `then` chooses among what is left."""
        known, aside = context.labeled.embeddings, None if context.aside is None else context.aside.embeddings
        if known is None or aside is None or min(len(known), len(aside)) < self.least:
            return self.then.select(context, size)
        doubt = likely_aside(context.pool.get("embeddings"), known, aside)
        kept = max(int((doubt < 0.5).sum()), min(ROOM * size, len(doubt)))
        order = torch.sort(doubt, stable=True).indices[:kept]
        return self.then.select(context.restrict(order.sort().values), size)


def likely_aside(pool: Tensor, known: Tensor, aside: Tensor) -> Tensor:
    """[N] probability that a row is like those set aside [A, D], not like those that have a label [L, D]."""
    both = torch.nn.functional.normalize(torch.cat((known, aside)).double(), dim=1)
    kinds = np.repeat(np.arange(2), (len(known), len(aside)))
    weight, bias, _ = fit_logistic(both.numpy(), kinds, 2, C, 1.0)
    unit = torch.nn.functional.normalize(pool.double(), dim=1)
    logits = unit @ torch.from_numpy(weight[1] - weight[0]) + float(bias[1] - bias[0])
    return logits.sigmoid()
