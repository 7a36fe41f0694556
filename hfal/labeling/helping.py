"""The model beside the label page: it proposes texts, and learns from each that a person writes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from hfal.answers import Answers
from hfal.config import OnlineSection
from hfal.errors import HfalError
from hfal.labeling.work import Row, open_work
from hfal.learners.generate import Generate
from hfal.online import OnlineWriter, Turn
from hfal.report.view import task_of

logger = logging.getLogger("hfal")


class WritingHelper:
    """An `OnlineWriter` over a run: the run's last model, and all turns of the round that waits, taken again.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: str | Path) -> None:
        work = open_work(folder)
        run, settings = work.run, work.run.settings
        learner = settings.learner.build()
        assert isinstance(learner, Generate)
        task = task_of(run)
        learner.bind(task, settings.seed, run.folder / "cache")
        model = run.ledger.model(len(run.rounds) - 1) if run.rounds else None
        if model is not None:
            learner.load(model)
        self.column = task.inputs[-1]
        asked = settings.online or OnlineSection()
        self.writer = OnlineWriter(learner, seed=settings.seed, **asked.model_dump())
        for number in range(len(run.rounds)):
            rows = {row["id"]: row for row in run.asked(number) if not row["audit"]}
            known = (
                (row, said)
                for row, people in Answers(run.ledger.path(number)).current().items()
                for said in people.values()
            )
            self.writer.remember(
                Turn(row, rows[row][self.column], said.label[0]) for row, said in known if said.label and row in rows
            )
        for answer in work.answers.read():
            row = work.rows.get(answer.id)
            if row is not None and answer.label and not answer.withdrawn and not row["audit"]:
                self.learn(row, answer.label)
        self._proposed: dict[str, list[str]] = {}

    def propose(self, row: Row) -> list[str]:
        """Texts for a row; the same again until the person goes on."""
        if row["id"] not in self._proposed:
            self._proposed = {row["id"]: self.writer.propose(row["id"], row[self.column])}
        return self._proposed[row["id"]]

    def learn(self, row: Row, label: Any) -> None:
        """One step on what was written; a step that fails is told, and loses nothing that was written."""
        try:
            self.writer.learn(Turn(row["id"], row[self.column], label[0]))
        except HfalError as error:
            logger.warning("%s", error)


def helper_for(folder: str | Path) -> WritingHelper | None:
    """The model beside the page, where a run is `mode: online`."""
    return WritingHelper(folder) if open_work(folder).run.settings.mode == "online" else None
