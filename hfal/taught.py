"""The model of each round: trained, loaded as it was saved, or trained again as it was."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset

from hfal.clock import Clock
from hfal.errors import HfalError, listing
from hfal.learners.base import Learner, fit, prepare
from hfal.pool import Pool
from hfal.rounds import Ledger, Round
from hfal.tasks.base import TYPED
from hfal.training_config import GUESS, converged

logger = logging.getLogger("hfal")

WANTING = "training has not converged"


class Taught:
    """What a learner has learned in which round of a run.

    Args:
        learner: bound to the pool's task.
        validation: rows for early stopping.
        ledger: where models and reports of training are.
    """

    def __init__(self, learner: Learner, validation: Dataset | None, ledger: Ledger) -> None:
        self.learner, self.validation, self.ledger = learner, validation, ledger
        self.continues = bool(getattr(learner, "continues", False))
        self._before: dict[str, Any] = {}
        self._clock = Clock()
        self._round: int | None = None

    def prepare(self, pool: Pool) -> None:
        """Let the learner read the pool before anything is labelled."""
        with self._clock("adapt"):
            self._before = prepare(self.learner, pool)

    def clock(self, number: int) -> Clock:
        """Of a round: the first has what was done before it."""
        return self._clock if number == 0 and self._before else Clock()

    def fit(self, pool: Pool, number: int, clock: Clock) -> dict[str, Any]:
        """Train on what is labelled in a round; what is told of it.

        Raises:
            HfalError: there is no label, or the learner cannot; the round is named.
        """
        if not len(pool.labeled):
            raise HfalError(f"round {number}: no row has a label to train on: all were skipped or audited")
        if self.continues:
            known = self.ledger.training(number)
            if known is not None:  # trained before an interruption, from the model that it has replaced
                self.ready(pool, number)
                return known
            self.ready(pool, number - 1)
        with clock("train"):
            try:
                report = fit(self.learner, pool, self.validation)
            except HfalError as error:
                kept = "" if number == 0 else f"; the model of round {number - 1} is kept"
                raise HfalError(f"round {number}: {error}{kept}") from error
        self._round = number
        before = self._before if number == 0 else {}
        return {"steps": report.steps, "loss": report.loss, **report.details, **before}

    def ready(self, pool: Pool, number: int) -> None:
        """Have the model that was trained in this round.

        Raises:
            HfalError: a learner that goes on from it lacks it.
        """
        if number < 0 or self._round == number:
            return
        folder = self.ledger.model(number)
        if folder is not None:
            self.learner.load(folder)
            self._round = number
        elif self.continues and self.ledger.folder is not None:
            raise HfalError(
                f"the model of round {number} is not in {self.ledger.folder}: learner.incremental goes on from it. "
                "Put it back, or begin a run in another folder"
            )
        else:
            self.fit(pool, number, Clock())


def unknown_classes(pool: Pool) -> list[str]:
    """What to say of classes that no labelled row has."""
    seen = {name for label in pool.labels(pool.labeled) for name in pool.task.mentions(label)}
    missing = [] if pool.task.asks in TYPED else [name for name in pool.task.classes if name not in seen]
    return _told(f"the seed set has no row of {listing(missing)}: the model cannot know it yet") if missing else []


def unconverged(training: Mapping[str, Any], rounds: Sequence[Round]) -> list[str]:
    """What to say of a training that ended too soon: such a model does not want more labels most. Said once a run.

    Args:
        training: what is told of this round's.
        rounds: those before.
    """
    guess = training.get(GUESS)
    if guess is None or converged(training["loss"], guess):
        return []
    if any(note.startswith(WANTING) for done in rounds for note in done.notes):
        return []
    return _told(
        f"{WANTING}: its loss ended at {training['loss']:.2f}, that of a guess is {guess:.2f}; "
        "try a higher learner.training.learning_rate, or more min_steps"
    )


def _told(note: str) -> list[str]:
    """The notes of a round, of which the user hears at once."""
    logger.warning(note)
    return [note]
