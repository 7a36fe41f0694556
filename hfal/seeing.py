"""What a strategy may see, from the learner and the pool as they are now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor

from hfal.kept import Kept
from hfal.learners.base import Learner
from hfal.neighbours import Neighbours
from hfal.pool import Pool, Positions
from hfal.signals import Needs, Signals
from hfal.strategies import Context

Price = Callable[[Positions], Tensor | None]
"""Positions -> what each row costs in the unit of the batch, or None where each costs 1."""


@dataclass(frozen=True)
class Seeing:
    """Makes contexts.

    Attributes:
        learner: passes over the rows.
        kept: what strategies computed once for the whole run.
        source: rows of another set, with labels, that was learned before.
        per_cost: whether scores count by cost.
    """

    learner: Learner
    kept: Kept
    source: Dataset | None
    per_cost: bool

    def context(
        self,
        pool: Pool,
        positions: Positions,
        needs: Needs,
        number: int,
        price: Price,
        generator: torch.Generator,
        aside: Positions | None = None,
    ) -> Context:
        """What may be seen of these rows, of what is labelled, and of the source.

        Args:
            pool: with its labels.
            positions: the rows to choose from.
            needs: what the strategy reads.
            number: of the round.
            price: what rows cost.
            generator: the strategy's.
            aside: the rows that were asked and got no label.
        """
        costs = price(positions)
        answered, labels = self._answered(pool)
        return Context(
            pool=self._unlabelled(pool, positions, needs),
            labeled=self._signals(pool, answered, needs.for_labeled()),
            source=self._source(pool, needs),
            aside=self._signals(pool, pool.canonical(aside), needs.for_aside())
            if needs.aside and aside is not None
            else None,
            labels=labels,
            num_classes=len(pool.task.names),
            round=number,
            generator=generator,
            costs=costs,
            weights=(1 / costs).float() if self.per_cost and costs is not None else None,
            learner=self.learner,
            look=lambda indices, wanted: self.context(
                pool, positions[indices.numpy()], wanted, number, price, generator, aside
            ),
            once=self.kept.once,
            each=self.kept.each,
            index=lambda: self.kept.neighbours(lambda seed: self._indexed(pool, seed)),
        )

    def _answered(self, pool: Pool) -> tuple[Positions, list[Any]]:
        """The labelled rows and their labels; of several answers the one that counts most, if it can be learned."""
        answered = pool.canonical(pool.labeled)
        labels = pool.labels(answered)
        class_of = getattr(pool.task, "class_of", None)
        if class_of is None:
            return answered, labels
        classes = [class_of(label) for label in labels]
        known = np.array([one is not None for one in classes], dtype=bool)
        return answered[known], [one for one in classes if one is not None]

    def _unlabelled(self, pool: Pool, positions: Positions, needs: Needs) -> Signals:
        seen = self._signals(pool, positions, needs)
        if "lengths" in needs.pool:
            seen = replace(seen, lengths=torch.from_numpy(pool.lengths(positions)))
        return seen

    def _signals(self, pool: Pool, positions: Positions, needs: Needs) -> Signals:
        task, of_model = pool.task, needs.of_model()
        if not (of_model.any_pool and len(positions)):
            return Signals(rows=positions, multi_label=task.multi_label, legal=task.legal)
        return replace(self.learner.signals(pool.inputs(positions), of_model), rows=positions)

    def _source(self, pool: Pool, needs: Needs) -> Signals | None:
        if self.source is None or not needs.source:
            return None
        rows = self.source.select_columns(list(pool.task.inputs))
        return self.learner.signals(rows, Needs(pool=needs.source))

    def _indexed(self, pool: Pool, seed: int) -> Neighbours:
        """The neighbours of all rows that are labelled or can be, as the model embeds them when they are asked for."""
        rows = pool.canonical(np.union1d(pool.unlabeled, pool.labeled))
        found = self.learner.signals(pool.inputs(rows), Needs(pool=frozenset({"embeddings"})))
        return Neighbours.build(found.get("embeddings").numpy(), rows, seed)
