"""A round that waits for people, read from the run folder alone: neither data set nor model is needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hfal.answers import Answer, Answers, Current, check_annotator, now
from hfal.config import PeopleSection
from hfal.errors import HfalError
from hfal.people import waiting
from hfal.pictures import shown
from hfal.report.view import RunView, open_run, task_of
from hfal.tasks import Task

Row = dict[str, Any]


@dataclass(frozen=True)
class Work:
    """The rows of a round and what people have said of them.

    Attributes:
        run: the run.
        number: of the round.
        task: of the run, with label names and scheme.
        rows: id -> what `selection.parquet` says, in order of choice.
        people: how they label.
    """

    run: RunView
    number: int
    task: Task
    rows: dict[str, Row]
    people: PeopleSection

    @cached_property
    def answers(self) -> Answers:
        """What was said in this round."""
        return Answers(self.run.ledger.path(self.number))

    def missing(self, current: Current | None = None) -> list[str]:
        """Rows that lack an answer."""
        return waiting(self.rows, self.answers.current() if current is None else current, self.people.overlap)

    def inputs(self, row: Row) -> Row:
        """What the model reads of a row."""
        return {name: row[name] for name in self.task.inputs}

    def shown(self, row: Row) -> Row:
        """The same as people see it elsewhere: pictures as data URIs."""
        return {name: shown(value) for name, value in self.inputs(row).items()}

    def suggestion(self, row: Row) -> Any:
        """What the model says of a row, as names, where people may see it."""
        return row["predicted"] if self.people.suggest and not row.get("audit") else None

    def check(self, label: Any, row: Row, where: str) -> Any:
        """A label as names.

        Raises:
            HfalError: it is not one of the task, or does not fit the row.
        """
        return self.task.decode(self.task.encode(label, where, self.inputs(row)))

    def answer(
        self,
        row: Row,
        annotator: Any,
        label: Any = None,
        *,
        skipped: bool = False,
        where: str = "this row",
        time: str | None = None,
        seconds: float | None = None,
        **said: Any,
    ) -> Answer:
        """An answer, checked.

        Raises:
            HfalError: the annotator has no name, or the label does not fit.
        """
        name = check_annotator(annotator)
        known = None if skipped or said.get("withdrawn") else self.check(label, row, where)
        return Answer(row["id"], name, known, seconds, time or now(), skipped=skipped, **said)


def open_work(folder: str | Path, number: int | None = None) -> Work:
    """The round of a run that waits for labels, or another that was asked.

    Raises:
        HfalError: no run, no round that waits, or labels that nobody is asked for.
    """
    run = open_run(folder)
    config = run.settings
    if not config.waits:
        raise HfalError(f"{folder}: nobody is asked in this run: its labels are simulated (oracle: people asks)")
    at = len(run.rounds) if number is None else number
    selection = run.ledger.selection(at)
    if selection is None:
        raise HfalError(f"{folder}: no round waits for labels: `hfal run {folder}` chooses the next")
    rows = {row["id"]: row for row in selection.to_pylist()}
    return Work(run, at, task_of(run), rows, config.people or PeopleSection())


def asked_in(run: RunView) -> Mapping[str, int]:
    """id -> the round in which each row of a run was asked last."""
    found: dict[str, int] = {}
    for number in run.ledger.chosen():
        selection = run.ledger.selection(number)
        assert selection is not None
        found.update(dict.fromkeys(selection["id"].to_pylist(), number))
    return found
