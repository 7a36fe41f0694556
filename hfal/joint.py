"""One round for two kinds of labels: the same sentences are asked for their entities and for their relations.

Each kind has a model and a score of its own; a sentence is wanted by the sum of its ranks under both (Reichart et al.
2008, "Multi-task active learning for linguistic annotations"; of medical concepts and relations Maldonado and
Harabagiu 2019 add the scores of one joint network).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hfal.compute import generator_for
from hfal.errors import HfalError
from hfal.functional import top_k
from hfal.loop import ActiveLearner
from hfal.pool import Positions
from hfal.rounds import Round

SENTENCE = "sentence"
"""The column by which rows of the second kind say which sentence they are from."""


class Joint:
    """Two loops over the same sentences. Iterate over it to run it: each item is a round of both.

    Both keep a run folder of their own, which can be labelled, shared and resumed like any other; a round is chosen
    when both have it. The first decides how many sentences a round has (its batch) and how the seed set is chosen; the
    run ends when the budget of either is spent.

    Args:
        sentences: a loop with one row for each sentence, as for entities; its ids are the sentences'.
        parts: a loop with any number of rows for each sentence, as for relations; its data has a column that names the
            sentence of each row.
        weight: of the second against the first, from 0 to 1.
        column: by which rows of the second name their sentence.

    Raises:
        HfalError: a row names a sentence that the first does not have, or a strategy gives no scores.
    """

    def __init__(
        self, sentences: ActiveLearner, parts: ActiveLearner, *, weight: float = 0.5, column: str = SENTENCE
    ) -> None:
        if column not in parts.pool.dataset.column_names:
            raise HfalError(f"the second loop's data has no column {column!r} that names the sentence of each row")
        if not 0 <= weight <= 1:
            raise HfalError(f"weight must be from 0 to 1, got {weight!r}")
        if sentences.batch.unit != "rows":
            raise HfalError("the batch of the first loop counts sentences: give it in rows")
        self.sentences, self.parts, self.weight = sentences, parts, weight
        named = [str(name) for name in parts.pool.dataset[column]]
        known = set(sentences.pool.ids(np.arange(len(sentences.pool))))
        lost = next((at for at, name in enumerate(named) if name not in known), None)
        if lost is not None:
            raise HfalError(
                f"row {lost} of the second loop names sentence {named[lost]!r}, which the first does not have"
            )
        self._sentence_of = np.array(named, dtype=object)

    def __iter__(self) -> Iterator[tuple[Round, Round]]:
        first, second = self.sentences, self.parts
        yield from zip(list(first.ledger.rounds), list(second.ledger.rounds), strict=False)
        try:
            while True:
                done = min(len(first.ledger.rounds), len(second.ledger.rounds))
                if not self._choose(done):
                    return
                for loop in (first, second):
                    if len(loop.ledger.rounds) == done and loop.next() is None:
                        return  # it waits for people
                yield first.ledger.rounds[done], second.ledger.rounds[done]
        finally:
            first.ledger.close()
            second.ledger.close()

    def run(self) -> list[tuple[Round, Round]]:
        """All rounds that there are sentences and budget for."""
        return list(self)

    def _choose(self, number: int) -> bool:
        """Have both loops ask the same sentences in a round; False where nothing is left to ask or to spend."""
        first, second = self.sentences, self.parts
        asked = first.ledger.selection(number)
        if asked is not None:
            rows = first.pool.positions(asked["id"].to_pylist())
        elif number == 0:
            rows = first.choose_first()
        else:
            rows = self._wanted(number)
            if not len(rows):
                return False
        if second.ledger.selection(number) is None:
            theirs = self._rows_of(set(first.pool.ids(rows)))
            if not len(theirs):
                raise HfalError(f"round {number}: none of its sentences has a row of the second kind left to ask")
            second.ask(number, theirs, np.arange(len(theirs), 0, -1, dtype=np.float32), "joint")
        return True

    def _wanted(self, number: int) -> Positions:
        """The sentences that are wanted most by both ranks together, written down as the first loop's round."""
        first, second = self.sentences, self.parts
        if not (len(first.pool.unlabeled) and len(second.pool.unlabeled)):
            return np.empty(0, dtype=np.int64)
        rows, scores = first.scores(number)
        others, their_scores = second.scores(number)
        best: dict[str, float] = {}
        for name, score in zip(self._sentence_of[others], their_scores.tolist(), strict=True):
            best[name] = max(score, best.get(name, -np.inf))
        names = first.pool.ids(rows)
        both = np.array([name in best for name in names], dtype=bool)
        left = [first.budget.amount - first.spent, second.budget.amount - second.spent]
        size = int(min(first.batch.amount, left[0] if first.budget.unit == "rows" else np.inf, both.sum()))
        if size < 1 or min(left) <= 0:
            return np.empty(0, dtype=np.int64)
        rows, mine = rows[both], scores[torch.from_numpy(both)]
        theirs = torch.tensor([best[name] for name, is_both in zip(names, both, strict=True) if is_both])
        together = (1 - self.weight) * ranks(mine) + self.weight * ranks(theirs)
        picks = top_k(together, size, generator_for("joint", first.seed, number))
        first.ask(number, rows[picks.numpy()], together[picks].numpy(), "joint")
        wanted: Positions = rows[picks.numpy()]
        return wanted

    def _rows_of(self, sentences: set[str]) -> NDArray[np.int64]:
        """The rows of the second kind that can be asked of these sentences."""
        free = self.parts.pool.canonical(self.parts.pool.unlabeled)
        chosen: NDArray[np.int64] = free[np.array([name in sentences for name in self._sentence_of[free]], dtype=bool)]
        return chosen


def ranks(scores: Tensor) -> Tensor:
    """[N] ranks from 0 (least wanted) to 1; equal scores share the mean of their ranks."""
    from scipy.stats import rankdata

    if len(scores) < 2:
        return torch.ones(len(scores))
    found = torch.from_numpy(rankdata(scores.double().numpy()))
    return ((found - 1) / (len(scores) - 1)).float()
