"""What the people of a run say, all rounds together."""

from __future__ import annotations

from typing import Any

from hfal.agreement import agreement, labels_of
from hfal.answers import Answers, Current
from hfal.report.view import RunView, task_of


def agreement_of(run: RunView) -> dict[str, Any]:
    """How far the people of a run agree, over all rounds; empty where no row has two answers."""
    if run.config.get("oracle") != "people":
        return {}
    everything: Current = {}
    for number in range(len(run.rounds) + 1):
        everything |= Answers(run.ledger.path(number)).current()
    return agreement(labels_of(everything), task_of(run))
