"""What the people of a run say, all rounds together."""

from __future__ import annotations

from typing import Any

from hfal.agreement import agreement, labels_of
from hfal.answers import Answers, Current
from hfal.report.view import RunView, task_of


def answers_of(run: RunView) -> Current:
    """What people said in all rounds; of a row that was asked again, what they said the last time."""
    found: Current = {}
    for number in run.ledger.chosen():
        found |= Answers(run.ledger.path(number)).current()
    return found


def agreement_of(run: RunView) -> dict[str, Any]:
    """How far the people of a run agree, over all rounds; empty where no row has two answers."""
    if not run.waits:
        return {}
    return agreement(labels_of(answers_of(run)), task_of(run))
