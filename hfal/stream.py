"""Rows that come one at a time: each is asked or passed at once, within a budget, and what was decided is on disk."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from hfal.errors import HfalError, listing
from hfal.files import disk_errors, read_json, write_json
from hfal.learners.base import Learner
from hfal.pool import content_keys
from hfal.strategies import Scored, Strategy, check_units, make
from hfal.tasks import Task

TOLERANCE = 50
"""Rows over which the share asked may be behind or ahead of the rate."""


class Threshold:
    """When a score is high enough: among the highest of the last scores, and with budget at hand.

    The threshold is the quantile of the last `window` scores that leaves `rate` of them above it, lowered while fewer
    rows were asked than the rate allows and raised while more (balanced incremental quantile filter; Kottke, Krempl and
    Spiliopoulou 2015). It follows scores that drift, whatever their scale.

    Args:
        rate: share of the rows that may be asked, above 0 and at most 1.
        window: scores that count.
    """

    def __init__(self, rate: float, window: int = 1000) -> None:
        if not 0 < rate <= 1:
            raise HfalError(f"rate must be above 0 and at most 1, got {rate!r}")
        self.rate = rate
        self.scores: deque[float] = deque(maxlen=window)
        self.seen = 0
        self.asked = 0

    def wants(self, score: float) -> bool:
        """Whether a row of this score is asked; it counts as seen, and as asked where it is."""
        self.scores.append(score)
        self.seen += 1
        left = self.rate * self.seen - self.asked
        known = np.fromiter(self.scores, float)
        spread = float(known.max() - known.min())
        at = float(np.quantile(known, 1 - self.rate)) - spread * left / TOLERANCE
        wanted = left >= self.rate if spread == 0 else score >= at
        self.asked += wanted
        return bool(wanted)


@dataclass(frozen=True)
class Decision:
    """A row that came, and whether it is asked."""

    row: dict[str, Any]
    score: float
    asked: bool


class Stream:
    """Decides row by row with a trained model and a strategy that scores rows.

    State is in `folder`: `state.json` and `asked.jsonl`, the rows that are asked with their scores. A stream that is
    opened again goes on where it was: a row is asked once, whatever came between.

    Args:
        learner: trained.
        task: says what a row's inputs are.
        folder: of the state.
        strategy: one that gives each row a score (margin, entropy, bald, mnlp, ...).
        rate: share of the rows that may be asked.
        budget: rows that may be asked in all; no bound where it is not given.
        window: scores that the threshold looks back on.

    Raises:
        HfalError: the strategy needs more than one row, or the folder holds another stream's state.
    """

    def __init__(
        self,
        learner: Learner,
        task: Task,
        folder: Path,
        strategy: str | Strategy = "margin",
        rate: float = 0.1,
        budget: int | None = None,
        window: int = 1000,
    ) -> None:
        made = make(strategy)
        if not isinstance(made, Scored):
            raise HfalError(
                f"strategy {strategy} chooses among many rows: a stream needs one that scores each (margin, …)"
            )
        check_units(made, task.yields, task.name, str(strategy))
        self.learner, self.task, self.strategy, self.budget = learner, task, made, budget
        self.folder = Path(folder)
        self.threshold = Threshold(rate, window)
        self._settings = {"strategy": str(strategy), "rate": rate, "window": window}
        self._known: set[bytes] = set()
        self._bytes = 0
        self._open()

    @property
    def seen(self) -> int:
        """Rows that came so far."""
        return self.threshold.seen

    @property
    def asked(self) -> int:
        """Rows of them that are asked."""
        return self.threshold.asked

    @property
    def spent(self) -> bool:
        """Whether the budget is spent."""
        return self.budget is not None and self.asked >= self.budget

    def _open(self) -> None:
        path = self.folder / "state.json"
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            return
        state = read_json(path)
        for name, value in self._settings.items():
            if state[name] != value:
                raise HfalError(
                    f"{path}: this stream was begun with {name} {state[name]}, not {value}: give that or another folder"
                )
        self.threshold.scores.extend(state["scores"])
        self.threshold.seen, self.threshold.asked = state["seen"], state["asked"]
        self._bytes = state["bytes"]
        asked = self.folder / "asked.jsonl"
        if asked.exists():
            with disk_errors(asked), open(asked, "r+b") as handle:
                handle.truncate(self._bytes)  # what was written of a block that was never finished
            rows = [json.loads(line) for line in asked.read_text(encoding="utf-8").splitlines()]
            if rows:
                self._known = set(self._keys(self._inputs(rows)))

    def _inputs(self, rows: Sequence[dict[str, Any]]) -> Dataset:
        return self.task.prepare(Dataset.from_dict({name: [row[name] for row in rows] for name in self.task.inputs}))

    def _keys(self, inputs: Dataset) -> list[bytes]:
        return [bytes(key) for key in content_keys(inputs, self.task)]

    def offer(self, rows: Sequence[dict[str, Any]]) -> list[Decision]:
        """Decide on a block of rows, in their order, and write down what was decided.

        A row that was asked before is passed, and does not count.

        Raises:
            HfalError: a row lacks an input (it is named); nothing of the block is decided then.
        """
        for number, row in enumerate(rows):
            missing = [name for name in self.task.inputs if row.get(name) in (None, "", [])]
            if missing:
                raise HfalError(f"row {self.seen + number + 1} of the stream has no {listing(missing)}")
        if not rows:
            return []
        inputs = self._inputs(rows)
        signals = self.learner.signals(inputs, self.strategy.needs)
        scores = signals.reduced[repr(self.strategy)].tolist()
        decisions = []
        for row, key, score in zip(rows, self._keys(inputs), scores, strict=True):
            asked = key not in self._known and not self.spent and self.threshold.wants(score)
            if asked:
                self._known.add(key)
            decisions.append(Decision(dict(row), score, asked))
        self._write([decision for decision in decisions if decision.asked])
        return decisions

    def _write(self, asked: Sequence[Decision]) -> None:
        path = self.folder / "asked.jsonl"
        lines = "".join(json.dumps(d.row | {"score": round(d.score, 6)}, ensure_ascii=False) + "\n" for d in asked)
        if lines:
            with disk_errors(path), open(path, "ab") as handle:
                handle.write(lines.encode())
                handle.flush()
                os.fsync(handle.fileno())
            self._bytes += len(lines.encode())
        state = {"seen": self.seen, "asked": self.asked, "bytes": self._bytes, "scores": list(self.threshold.scores)}
        write_json(self.folder / "state.json", self._settings | state)


def blocks(lines: Iterable[str], size: int, name: str) -> Iterator[list[dict[str, Any]]]:
    """Rows of JSON lines, `size` at a time; empty lines are passed over.

    Raises:
        HfalError: a line that is not a JSON object (it is named).
    """

    def rows() -> Iterator[dict[str, Any]]:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise HfalError(f"{name}, line {number}: not JSON ({error.msg} at column {error.colno})") from None
            if not isinstance(row, dict):
                raise HfalError(f'{name}, line {number}: a row is an object such as {{"text": "..."}}')
            yield row

    source = rows()
    while block := list(islice(source, size)):
        yield block
