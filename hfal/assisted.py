"""Rounds that a model labels, a share of them checked by people; who said what is never mixed up."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
from tqdm.auto import tqdm

from hfal.annotators import Annotator
from hfal.answers import Answer, Answers, Current, now
from hfal.compute import is_main
from hfal.errors import HfalError
from hfal.people import People
from hfal.pool import Pool
from hfal.rounds import Ledger

logger = logging.getLogger("hfal")

MODEL = "model"
"""Source of its answers, the folder of those that people check, and how its name begins."""
TOGETHER = 16
"""Rows that are asked before what was said is on disk: what a kill can cost at most."""


def is_model(annotator: str) -> bool:
    """Whether an answer is a model's."""
    return annotator.startswith(f"{MODEL}:")


class Assisted(People):
    """A model labels each round; people label the audited rows, and a share of the others as a check.

    What the model says of rows that people check is kept beside the round, so that it can be compared and is never a
    label. Where a person has labelled a row, the model's label of it does not count.

    Args:
        annotator: the model.
        share: of the rows that people check; which they are follows from their ids.
    """

    source = MODEL

    def __init__(self, annotator: Annotator, share: float, **people: Any) -> None:
        super().__init__(**people)
        self.annotator = annotator
        self.share = share

    def check(self, pool: Pool) -> None:
        """The model can label this task."""
        self.annotator.check()

    @property
    def name(self) -> str:
        """By which the model's answers are known."""
        return f"{MODEL}:{self.annotator.model.name}"[-80:] if len(self.annotator.model.name) < 74 else f"{MODEL}:local"

    def to_check(self, row: str) -> bool:
        """Whether people check a row."""
        digest = hashlib.blake2b(f"check:{row}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little") / 2**64 < self.share

    def collect(self, pool: Pool, ledger: Ledger, number: int, chosen: pa.Table) -> pa.Table | None:
        """See `People.collect`; first the model answers what it has not answered yet."""
        if ledger.folder is None:
            raise HfalError("labels of a model need a run folder: give output_dir")
        if is_main():
            self._ask(pool, ledger, number, chosen.to_pylist())
        return super().collect(pool, ledger, number, chosen)

    def _ask(self, pool: Pool, ledger: Ledger, number: int, chosen: Sequence[dict[str, Any]]) -> None:
        labels, checks = Answers(ledger.path(number)), Answers(ledger.path(number) / MODEL)
        done = {row for answers in (labels, checks) for row, people in answers.current().items() if self.name in people}
        people = {row for row, said in labels.current().items() if any(not is_model(who) for who in said)}
        waiting = [row for row in chosen if row["id"] not in done | people]
        with tqdm(total=len(waiting), desc="the model labels", unit="row", leave=False, delay=1, disable=None) as bar:
            for start in range(0, len(waiting), TOGETHER):
                part = waiting[start : start + TOGETHER]
                answers = [
                    self._answer(pool, row, *said) for row, said in zip(part, self.annotator.ask(part), strict=True)
                ]
                kept = [row["audit"] or self.to_check(row["id"]) for row in part]
                for to_check, where in ((False, labels), (True, checks)):
                    mine = [answer for answer, is_kept in zip(answers, kept, strict=True) if is_kept == to_check]
                    where.add(mine, MODEL)
                bar.update(len(part))

    def _answer(self, pool: Pool, row: dict[str, Any], label: Any, said: Any) -> Answer:
        task = pool.task
        if label is not None:
            inputs = {name: row[name] for name in task.inputs}
            try:
                label = task.decode(task.encode(label, f"the model's answer to row {row['id']}", inputs))
            except HfalError as error:  # it is paid for and does not help: people may answer
                logger.warning("skipped: %s", error)
                label = None
        return Answer(row["id"], self.name, label, time=now(), source=MODEL, skipped=label is None, price=said.price)

    def _answers(self, ledger: Ledger, number: int) -> list[Current]:
        """A person's label of a row stands for the model's."""
        return [{row: _people_first(said) for row, said in round.items()} for round in super()._answers(ledger, number)]


def _people_first(said: dict[str, Answer]) -> dict[str, Answer]:
    people = {who: answer for who, answer in said.items() if not is_model(who)}
    return people or said


def checked(folder: Any, numbers: Sequence[int]) -> list[tuple[Answer, list[Answer]]]:
    """Of the rows that both have answered: what the model said, and what people said."""
    ledger, found = Ledger(folder), []
    for number in numbers:
        people = Answers(ledger.path(number)).current()
        for row, said in Answers(ledger.path(number) / MODEL).current().items():
            theirs = [answer for who, answer in people.get(row, {}).items() if not is_model(who) and not answer.skipped]
            found += [(replace(answer), theirs) for answer in said.values() if theirs]
    return found


def spent_on_model(folder: Any, numbers: Sequence[int]) -> tuple[int, float]:
    """How many rows a model has answered, checked ones among them, and what that cost."""
    ledger, answers = Ledger(folder), list[Answer]()
    for number in numbers:
        for place in (ledger.path(number), ledger.path(number) / MODEL):
            answers += [
                a for people in Answers(place).current().values() for a in people.values() if is_model(a.annotator)
            ]
    return len(answers), sum(answer.price or 0.0 for answer in answers)
