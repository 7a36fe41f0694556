"""Rows whose label is most worth asking again."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from hfal.agreement import Labels, alike, labels_of
from hfal.compute import generator_for
from hfal.errors import HfalError
from hfal.files import write_text
from hfal.functional.ragged import Ragged, offsets_of
from hfal.labeling.work import Row
from hfal.learners.base import outputs_of
from hfal.pictures import shown
from hfal.pool import with_labels
from hfal.report.together import answers_of
from hfal.report.view import RunView, open_run, task_of
from hfal.tasks import Task

logger = logging.getLogger("hfal")

FOLDS = 5


@dataclass(frozen=True)
class Doubt:
    """A labelled row, and what speaks against its label.

    Attributes:
        row: with its inputs.
        label: that is trained on.
        model: what the model says of it, not having been trained on it (where it can be trained without it).
        probability: that the model gives the label; for words the lowest of the row.
        agree: share of the people's answers that say the same.
        flagged: someone wanted it looked at again.
        inputs: the columns that people read.
    """

    row: Row
    label: Any
    model: Any
    probability: float
    agree: float
    flagged: bool
    inputs: tuple[str, ...]

    @property
    def worth(self) -> float:
        """Larger is more worth asking again: flagged rows first, then those that model and people doubt most."""
        return float(self.flagged) + 1 - self.probability * self.agree


def doubts(folder: str | Path) -> list[Doubt]:
    """The labelled rows of a run, the most doubtful first.

    A model is trained on four fifths of the labels and asked about the others (Northcutt et al. 2021 call its
    probability of the label self-confidence); what cannot be trained so often answers with the model in use, which has
    seen the labels that it judges.

    Raises:
        HfalError: nothing is labelled yet.
    """
    run = open_run(folder)
    task, answers = task_of(run), answers_of(run)
    rows, labels = _labelled(run)
    if len(rows) < 2:
        raise HfalError(f"{folder}: no finished round has labels that could be looked at again")
    encoded = [task.encode(label, f"row {row['id']}", row) for row, label in zip(rows, labels, strict=True)]
    inputs = task.prepare(Dataset.from_dict({name: [row[name] for row in rows] for name in task.inputs}))
    logits = _out_of_sample(run, task, inputs, encoded)
    guesses = [task.decode(one) for one in task.predict(logits)[0]]
    said = labels_of(answers)
    found = [
        Doubt(
            row,
            label,
            guess,
            probability,
            _agree(task, said.get(row["id"], {}), label),
            any(answer.flagged for answer in answers.get(row["id"], {}).values()),
            task.inputs,
        )
        for row, label, guess, probability in zip(rows, labels, guesses, _given(task, logits, encoded), strict=True)
    ]
    return sorted(found, key=lambda doubt: -doubt.worth)


def write_doubts(path: Path, found: list[Doubt]) -> None:
    """Rows as JSON lines, as `hfal import` takes them back once their `label` is filled in."""
    lines = [
        {"id": doubt.row["id"], **{name: shown(doubt.row[name]) for name in doubt.inputs}, "label": None}
        | {"label_now": doubt.label, "model": doubt.model, "probability": round(doubt.probability, 4)}
        for doubt in found
    ]
    write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def _labelled(run: RunView) -> tuple[list[Row], list[Any]]:
    """Labelled rows of finished rounds with the labels that hold."""
    asked: dict[str, Row] = {}
    labels: dict[str, Any] = {}
    for number in range(len(run.rounds)):
        for row in run.asked(number):
            asked[row["id"]] = row
        table = run.ledger.labels(number)
        if table is not None:
            labels.update(zip(table["id"].to_pylist(), table["label"].to_pylist(), strict=True))
    known = [name for name in asked if labels.get(name) is not None]
    return [asked[name] for name in known], [labels[name] for name in known]


def _out_of_sample(run: RunView, task: Task, inputs: Dataset, encoded: list[Any]) -> Any:
    config = run.settings
    learner = config.learner.build()
    learner.bind(task, config.seed, run.folder / "cache")
    trial = getattr(learner, "trial", None)
    if trial is None or len(inputs) < 2 * FOLDS:
        folder = run.ledger.model(len(run.rounds) - 1)
        if folder is None:
            raise HfalError(f"{run.folder}: its model is not there any more: `hfal run` on it trains it again")
        logger.warning("the model has been trained on the labels that it is asked about: it will doubt few of them")
        learner.load(folder)
        return outputs_of(learner, task, inputs).outputs
    order = torch.randperm(len(inputs), generator=generator_for("relabel", config.seed)).numpy()
    parts, places = [], []
    for fold in range(FOLDS):
        out = np.sort(order[fold::FOLDS])
        rest = np.setdiff1d(np.arange(len(inputs)), out)
        train = with_labels(inputs.select(rest), [encoded[at] for at in rest])
        parts.append(trial(train, inputs.select(out)))
        places.append(out)
    back = torch.from_numpy(np.argsort(np.concatenate(places)))
    return _joined(parts)[back] if isinstance(parts[0], torch.Tensor) else _joined(parts).take(back)


def _joined(parts: list[Any]) -> Any:
    if isinstance(parts[0], torch.Tensor):
        return torch.cat(parts)
    lengths = torch.cat([part.lengths for part in parts])
    return Ragged(torch.cat([part.values for part in parts]), offsets_of(lengths))


def _given(task: Task, logits: Any, encoded: list[Any]) -> list[float]:
    """The model's probability of each label."""
    if task.per_word:
        found = torch.softmax(logits.values.float(), -1)
        ends = logits.offsets.tolist()
        return [
            float(found[start:end][torch.arange(end - start), torch.tensor(label)].min()) if end > start else 1.0
            for start, end, label in zip(ends[:-1], ends[1:], encoded, strict=True)
        ]
    if task.asks == "text":  # how near the model comes to it
        return [float(near) for near in task.tally(logits, encoded)[:, 0]]
    targets = task.targets(encoded)
    if targets.ndim == 2 and not task.multi_label:  # several right answers
        return [float(p) for p in (torch.softmax(logits.float(), -1) * (targets > 0)).sum(-1)]
    if task.multi_label:
        yes = torch.sigmoid(logits.float())
        return [float(p) for p in torch.where(targets > 0, yes, 1 - yes).amin(-1)]
    return [float(p) for p in torch.softmax(logits.float(), -1)[torch.arange(len(encoded)), targets]]


def _agree(task: Task, people: Labels | dict[str, Any], label: Any) -> float:
    """Share of what people said that is what the label says."""
    if not people:
        return 1.0
    return float(np.mean([alike(task, one, label) for one in people.values()]))
