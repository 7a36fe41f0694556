"""Who labels which row next: the label page without its pixels."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from hfal.answers import Answer, Answers, Current, check_annotator, now
from hfal.errors import HfalError
from hfal.labeling.gold import Gold
from hfal.labeling.words import entities, label_from, marks_words, text_and_bounds
from hfal.labeling.work import Row, Work, asked_in, open_work
from hfal.pictures import is_picture, shown
from hfal.rounds import Ledger
from hfal.tasks import Relations
from hfal.tasks.base import TYPED

LEASE = 600.0
"""Seconds for which a row that someone looks at is not shown to others."""
PACE = 20
"""Answers from which a person's pace is told."""
SLOWEST = 3600.0
PICTURE = 960
"""Pixels of the longest side of a picture on the page."""


class Helper(Protocol):
    """A model beside the page."""

    def propose(self, row: Row) -> list[str]:
        """Answers for a row, to be picked or changed."""
        ...

    def learn(self, row: Row, label: Any) -> None:
        """What a person answered."""
        ...


class Desk:
    """Hands the rows of the round that waits to people, and takes their answers; for any number of threads.

    An answer is on disk when `answer` returns. When a round has all its answers, the desk goes on with the next one
    that waits, if there is one.

    Args:
        folder: of the run.
        clock: seconds; for tests.
        helper: proposes answers and learns from those that are given (`mode: online`).
    """

    def __init__(
        self, folder: str | Path, clock: Callable[[], float] = time.monotonic, helper: Helper | None = None
    ) -> None:
        self.folder = Path(folder)
        self._clock = clock
        self._helper = helper
        self._lock = threading.RLock()
        self._leases: dict[str, dict[str, float]] = {}  # row -> person -> since when
        self._history: dict[str, list[str]] = {}  # person -> rows in the order in which they answered them
        self._pace: dict[str, deque[float]] = {}
        self._nonces: dict[str, str] = {}
        work = open_work(folder)
        self.gold = Gold(work.run)
        if self.gold.rows:
            self.gold.answers.open()
        self._gold: Current = self.gold.answers.current()
        self._take(work)

    def _take(self, work: Work) -> None:
        self.work = work
        self.work.answers.open()
        self._files = work.answers.files()
        self._current: Current = work.answers.current()
        earlier = [Answers(work.run.ledger.path(number)).current() for number in range(work.number)]
        self._before = Counter(who for current in earlier for people in current.values() for who in people)
        self._leases.clear()
        self._history.clear()
        for answer in work.answers.read():
            if not answer.withdrawn and answer.source == "page":
                self._note(answer)

    def _note(self, answer: Answer) -> None:
        history = self._history.setdefault(answer.annotator, [])
        if answer.id in history:
            history.remove(answer.id)
        history.append(answer.id)
        if answer.seconds is not None:
            self._pace.setdefault(answer.annotator, deque(maxlen=PACE)).append(answer.seconds)

    def close(self) -> None:
        """Let go of the round's file."""
        self.work.answers.close()
        self.gold.answers.close()

    def start(self, who: Any) -> dict[str, Any]:
        """What a page needs to know before the first row, and that row."""
        name = check_annotator(who)
        task = self.work.task
        return {
            "classes": list(task.classes if marks_words(task) else task.names),
            "name": name,
            "kind": "words" if marks_words(task) else task.asks,
            "single": task.asks == "span",
            **self.next(name),
        }

    def next(self, who: Any) -> dict[str, Any]:
        """The next row for a person, and how far the round is."""
        name = check_annotator(who)
        with self._lock:
            self._go_on()
            found = self._free(name)
            if found is not None:
                self._leases.setdefault(found, {})[name] = self._clock()
            return {"row": None if found is None else self._view(found), **self._progress(name)}

    def answer(self, who: Any, said: Any) -> dict[str, Any]:
        """Take an answer; the next row.

        Args:
            who: the person.
            said: `id`, `label` (a name, names, or spans of words `[first, end, type]`), `seconds`, `skipped`,
                `flagged`, and `nonce`, by which an answer that was sent twice is known.

        Raises:
            HfalError: the row was not asked, or the label does not fit it.
        """
        name = check_annotator(who)
        if not isinstance(said, dict) or not isinstance(said.get("id"), str):
            raise HfalError("an answer has an id")
        with self._lock:
            if said.get("nonce") is None or self._nonces.get(name) != said["nonce"]:
                self._record(name, said)
                self._nonces[name] = str(said.get("nonce"))
            self._leases.get(said["id"], {}).pop(name, None)
            return self.next(name)

    def undo(self, who: Any) -> dict[str, Any]:
        """Withdraw a person's last answer and show its row again."""
        name = check_annotator(who)
        with self._lock:
            history = self._history.get(name, [])
            if not history:
                return self.next(name) | {"note": "nothing to undo"}
            row = history.pop()
            held = self._said_of(row).get(name)
            self._keep(Answer(row, name, time=now(), source="page", withdrawn=True))
            for leases in self._leases.values():
                leases.pop(name, None)
            self._leases.setdefault(row, {})[name] = self._clock()
            view = self._view(row) | {"before": None if held is None else self._shown(row, held.label)}
            return {"row": view, **self._progress(name)}

    def _record(self, name: str, said: dict[str, Any]) -> None:
        work, row = self.work, self._row(said["id"])
        if row is None:
            work, row = self._earlier(said["id"])
        seconds = said.get("seconds")
        timed = isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and seconds >= 0
        skipped = said.get("skipped") is True
        answer = work.answer(
            row,
            name,
            None if skipped else self._label(row, said.get("label")),
            skipped=skipped,
            flagged=said.get("flagged") is True,
            seconds=round(min(float(seconds), SLOWEST), 3) if timed else None,  # type: ignore[arg-type]
            source="page",
            time=now(),
        )
        if work is self.work:
            self._keep(answer)
            self._note(answer)
            if self._helper is not None and answer.label and not row.get("audit"):
                self._helper.learn(row, answer.label)
        else:
            work.answers.add([answer], "page")

    def _earlier(self, row: str) -> tuple[Work, Row]:
        """A row of a round that has gone on meanwhile: its answer comes with the next as a correction."""
        number = asked_in(self.work.run).get(row)
        if number is None:
            raise HfalError(f"row {row[:80]!r} was not asked in this run")
        work = open_work(self.folder, number)
        return work, work.rows[row]

    def _row(self, name: str) -> Row | None:
        """A row of this round, or of the gold set."""
        return self.gold.rows.get(name) or self.work.rows.get(name)

    def _said_of(self, name: str) -> dict[str, Answer]:
        """What people said of a row of this round, or of the gold set."""
        return (self._gold if name in self.gold.rows else self._current).setdefault(name, {})

    def _keep(self, answer: Answer) -> None:
        (self.gold if answer.id in self.gold.rows else self.work).answers.append(answer)
        people = self._said_of(answer.id)
        if answer.withdrawn:
            people.pop(answer.annotator, None)
        else:
            people[answer.annotator] = answer

    def _label(self, row: Row, label: Any) -> Any:
        if not marks_words(self.work.task):
            return label
        size = len(text_and_bounds(self.work, row)[1])
        try:
            found = sorted((int(first), int(end), str(kind)) for first, end, kind in label)
        except (TypeError, ValueError):
            raise HfalError("a label of words is a list of spans [first, end, type]") from None
        last = 0
        for first, end, kind in found:
            if not last <= first < end <= size or kind not in self.work.task.classes:
                raise HfalError(f"span {first} to {end} ({kind}) does not fit a row of {size} words")
            last = end
        return label_from(self.work, found, row)

    def _go_on(self) -> None:
        """See what came in by other ways; take up the next round, when this has its answers and that was chosen."""
        files = self.work.answers.files()
        if files != self._files:
            self._files, self._current = files, self.work.answers.current()
        if self._missing() or not Ledger(self.folder).has_selection(self.work.number + 1):
            return
        following = open_work(self.folder, self.work.number + 1)
        self.work.answers.close()
        self._take(following)

    def _missing(self) -> list[str]:
        return self.work.missing(self._current)

    def _free(self, name: str) -> str | None:
        """A gold row, if it is time for one; the first row that this person looks at, or that nobody else does."""
        mine = sum(name in people for people in self._current.values())
        gold = self.gold.next({row for row, people in self._gold.items() if name in people}, self._before[name] + mine)
        return gold or self._unanswered(name)

    def _unanswered(self, name: str) -> str | None:
        overlap, moment = self.work.people.overlap, self._clock()
        mine = [row for row in self._missing() if name not in self._current.get(row, {})]
        for row in mine:
            if name in self._leases.get(row, {}):
                return row
        for row in mine:
            others = sum(moment - since < LEASE for who, since in self._leases.get(row, {}).items() if who != name)
            if len(self._current.get(row, {})) + others < overlap:
                return row
        return None

    def _view(self, name: str) -> dict[str, Any]:
        """A row as the page shows it. Plain text only."""
        row, work = self._row(name), self.work
        assert row is not None
        found: dict[str, Any] = {"id": name, "why": self._why(row)}
        if self._helper is not None and not row.get("audit"):
            found["candidates"] = self._helper.propose(row)
        suggestion = work.suggestion(row)
        found["suggestion"] = None if suggestion is None else self._shown(name, suggestion)
        if suggestion is not None and row.get("probability") is not None:
            found["sure"] = round(float(row["probability"]), 3)
        cells = work.inputs(row)
        if marks_words(work.task):
            text, bounds = text_and_bounds(work, row)
            found |= {"text": text, "bounds": [list(pair) for pair in bounds]}
            found["texts"] = [[name, str(cells[name])] for name in work.task.inputs[:-1]]
        else:
            found["pictures"] = [[name, shown(cell, PICTURE)] for name, cell in cells.items() if is_picture(cell)]
            found["texts"] = [[name, str(cell)] for name, cell in cells.items() if not is_picture(cell)]
            if isinstance(work.task, Relations):
                found["segments"] = [list(piece) for piece in work.task.segments(cells[work.task.text])]
        return found

    def _shown(self, row: str, label: Any) -> Any:
        """A label as the page knows it: for words as spans."""
        if label is None or not marks_words(self.work.task):
            return " | ".join(label) if self.work.task.asks in TYPED and isinstance(label, list) else label
        known = self._row(row)
        assert known is not None
        return [list(span) for span in entities(self.work, label, known)]

    def _why(self, row: Row) -> str:
        if row.get("audit"):
            return "asked to measure quality, not chosen"
        if row["strategy"] == "random" or row["score"] is None:
            return f"chosen by {row['strategy']}"
        return f"chosen by {row['strategy']}, score {row['score']:.3g}"

    def _progress(self, name: str) -> dict[str, Any]:
        missing, rows = self._missing(), len(self.work.rows)
        pace = self._pace.get(name, ())
        people = max(1, len({who for row in self._leases.values() for who in row} | {name}))
        still = sum(self.work.people.overlap - len(self._current.get(row, {})) for row in missing)
        done = Counter(who for row in self._current.values() for who in row)
        return {
            "round": self.work.number,
            "done": rows - len(missing),
            "rows": rows,
            "mine": done[name],
            "left": round(sum(pace) / len(pace) * still / people) if pace else None,
        }
