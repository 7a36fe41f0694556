"""Labels from people: a round waits until its answers are in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from hfal.agreement import Resolve, labels_of, resolved
from hfal.answers import Answer, Answers, Current
from hfal.errors import HfalError, count
from hfal.pool import Pool
from hfal.rounds import Ledger, label_table


class People:
    """Annotators, who answer on the label page, through the Hub or by a file.

    Args:
        overlap: how many people answer each row.
        resolve: how their labels become one: "majority" or "dawid_skene".
        accept_partial: go on with the rows that have an answer; the others return to the pool.
        ahead: choose each round while the one before is being labelled, with a model that is one round older.
    """

    source = "people"

    def __init__(
        self,
        *,
        overlap: int = 1,
        resolve: Resolve = "majority",
        accept_partial: bool = False,
        ahead: bool = False,
    ) -> None:
        if overlap < 1:
            raise HfalError(f"people.overlap must be at least 1, got {overlap}")
        self.overlap = overlap
        self.resolve = resolve
        self.accept_partial = accept_partial
        self.ahead = ahead

    def check(self, pool: Pool) -> None:
        """People can label any pool."""

    def label(self, pool: Pool, positions: Any) -> list[Any]:
        """People take their time: their labels come by `collect`."""
        raise HfalError("labels of people are collected from a run folder: give output_dir")

    def _answers(self, ledger: Ledger, number: int) -> list[Current]:
        """What was said in each round up to this one."""
        return [Answers(ledger.path(earlier)).current() for earlier in range(number + 1)]

    def collect(self, pool: Pool, ledger: Ledger, number: int, chosen: pa.Table) -> pa.Table | None:
        """The labels of a round, one a row; None while answers are missing.

        What people said of rows of earlier rounds since those were closed (late answers, corrections) comes with
        them, so that nothing that anyone said is lost.

        Raises:
            HfalError: a partial round is accepted that has no answer.
        """
        if ledger.folder is None:
            raise HfalError("labels of people need a run folder: give output_dir")
        answers = self._answers(ledger, number)
        asked = chosen["id"].to_pylist()
        done = [row for row in asked if len(answers[number].get(row, {})) >= self.overlap]
        if self.accept_partial:
            done = [row for row in asked if row in answers[number]]
            self.accept_partial = False  # of the round that waits, not of those to come
            if not done:
                raise HfalError(f"round {number}: nobody has answered a row yet: there is nothing to accept")
        elif len(done) < len(asked):
            return None
        wanted = {row: answers[number][row] for row in done}
        wanted = _since(ledger, answers[:number]) | wanted  # a row that returned to the pool may be asked again
        everything: Current = {}
        for people in answers:
            everything |= people
        labels = resolved(labels_of(everything | wanted), pool.task, self.resolve)
        return label_table([_row(row, people, labels.get(row)) for row, people in wanted.items()], pool.task)


def waiting(chosen: Iterable[str], answers: Current, overlap: int) -> list[str]:
    """Rows that still lack an answer."""
    return [row for row in chosen if len(answers.get(row, {})) < overlap]


def _since(ledger: Ledger, answers: list[Current]) -> Current:
    """Rows of earlier rounds of which people have said something else since their labels were taken."""
    taken: dict[str, set[str]] = {}
    for number in range(len(answers)):
        table = ledger.labels(number)
        for row in [] if table is None else table.select(["id", "answers"]).to_pylist():
            taken[row["id"]] = {_said(answer) for answer in row["answers"] or ()}
    found: Current = {}
    for people in answers:
        for row, said in people.items():
            if {_said(vars(answer)) for answer in said.values()} != taken.get(row):
                found[row] = said
    return found


def _said(answer: dict[str, Any]) -> str:
    return repr([answer[key] for key in ("annotator", "label", "skipped", "flagged")])


def _row(name: str, people: dict[str, Answer], label: Any) -> dict[str, Any]:
    seconds = [a.seconds for a in people.values() if a.seconds is not None]
    return {
        "id": name,
        "label": label,
        "annotator": ", ".join(people),
        "seconds": sum(seconds) if seconds else None,
        "source": ", ".join(dict.fromkeys(a.source for a in people.values())),
        "time": max(a.time for a in people.values()),
        "skipped": label is None,
        "flagged": any(a.flagged for a in people.values()),
        "answers": [vars(a) for a in people.values()],
    }


def progress(asked: int, missing: int) -> str:
    """`12 of 50 rows are labelled`."""
    return f"{asked - missing} of {count(asked, 'row')} labelled"
