"""What people answered in a round: each answer on disk before the next row is shown. See docs/file-formats.md."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from hfal.errors import HfalError
from hfal.files import disk_errors, taken, write_text

PAGE = "page.jsonl"
LONGEST_NAME = 80


@dataclass(frozen=True)
class Answer:
    """What one person said of one row.

    Attributes:
        id: of the row.
        annotator: who.
        label: its name or names; None where the row was skipped or the answer withdrawn.
        seconds: how long it took, where that is known.
        time: when, ISO 8601 in UTC.
        source: where it was given: page, file, hub, model.
        skipped: the person could not tell.
        flagged: the person wants someone to look at the row again.
        withdrawn: an earlier answer of this person to this row no longer holds.
        price: what the answer cost, where a model gave it.
    """

    id: str
    annotator: str
    label: Any = None
    seconds: float | None = None
    time: str = ""
    source: str = "page"
    skipped: bool = False
    flagged: bool = False
    withdrawn: bool = False
    price: float | None = None


Current = dict[str, dict[str, Answer]]
"""id -> annotator -> the answer that holds."""


def now() -> str:
    """The time as answers keep it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def check_annotator(name: Any) -> str:
    """A person's name: some text on one line."""
    if not isinstance(name, str) or not name.strip():
        raise HfalError("the annotator's name is empty")
    if len(name.strip()) > LONGEST_NAME or not name.strip().isprintable():
        raise HfalError(f"the annotator's name must be one line of at most {LONGEST_NAME} characters")
    return name.strip()


class Answers:
    """The answers of one round: `page.jsonl`, which grows line by line, and a file for each import or pull.

    Taking the same answers again changes nothing.

    Args:
        folder: of the round; answers are in `answers/` below it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "answers"
        self._handle: Any = None
        self._lock = threading.Lock()
        self._owner: FileLock | None = None

    def open(self) -> None:
        """Take the page's file for this process.

        Raises:
            HfalError: another page writes it, or the disk cannot be written.
        """
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            other = f"another label page serves {self.folder.parent}: use that one, or stop it"
            self._owner = taken(self.folder / ".page.lock", other)
            path = self.folder / PAGE
            _drop_torn_end(path)
            self._handle = open(path, "ab")  # noqa: SIM115 - kept open: each answer is one write and one flush

    def close(self) -> None:
        """Let go of the page's file."""
        with self._lock:
            if self._handle is not None:
                self._handle.close()
            if self._owner is not None:
                self._owner.release()
            self._handle = self._owner = None

    def append(self, answer: Answer) -> None:
        """Keep one answer of the page; it is on disk when this returns."""
        line = _line(answer).encode()
        with self._lock, disk_errors(self.folder / PAGE):
            if self._handle is None:
                raise HfalError("the label page is closed")
            start = self._handle.tell()
            try:
                self._handle.write(line)
                self._handle.flush()
                os.fsync(self._handle.fileno())
            except OSError:
                self._handle.truncate(start)  # half a line must not stand before the next
                raise

    def add(self, answers: Iterable[Answer], source: str) -> int:
        """Keep the answers of an import or a pull, all or none; how many are new.

        Args:
            answers: checked already.
            source: "file" or "hub", for the file's name.
        """
        recorded = {_line(answer) for answer in self.read()}
        held = {_content(answer) for people in self.current().values() for answer in people.values()}
        fresh = [answer for answer in answers if _content(answer) not in held and _line(answer) not in recorded]
        if fresh:
            text = "".join(_line(answer) for answer in fresh)
            digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
            write_text(self.folder / f"{source}-{digest}.jsonl", text)
        return len(fresh)

    def files(self) -> list[str]:
        """Names of the files there are: imports and pulls bring new ones."""
        return sorted(path.name for path in self.folder.glob("*.jsonl"))

    def read(self) -> list[Answer]:
        """All answers, in order of time.

        Raises:
            HfalError: a file is damaged (the end of the page's file, torn by a crash, is not: nobody was told
                that it was kept).
        """
        found = [answer for path in sorted(self.folder.glob("*.jsonl")) for answer in _read(path)]
        return sorted(found, key=lambda answer: answer.time)

    def current(self) -> Current:
        """The answers that hold: the last of each person for each row, unless it was withdrawn."""
        held: Current = {}
        for answer in self.read():
            held.setdefault(answer.id, {})[answer.annotator] = answer
        alive = {row: {who: a for who, a in people.items() if not a.withdrawn} for row, people in held.items()}
        return {row: people for row, people in alive.items() if people}


def _line(answer: Answer) -> str:
    """One line of JSON, in ASCII: no text can break it."""
    return json.dumps({k: v for k, v in asdict(answer).items() if k != "price" or v is not None}) + "\n"


def _content(answer: Answer) -> str:
    """What makes two answers the same, wherever and whenever they came in."""
    return json.dumps([answer.id, answer.annotator, answer.label, answer.skipped, answer.flagged, answer.withdrawn])


def _read(path: Path) -> Iterator[Answer]:
    known = {field.name for field in fields(Answer)}
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        if not line.endswith(b"\n"):
            return
        try:
            values = json.loads(line)
            yield Answer(**{name: value for name, value in values.items() if name in known})
        except (ValueError, TypeError, AttributeError) as error:
            raise HfalError(f"{path} is damaged in line {number}: {error}") from error


def _drop_torn_end(path: Path) -> None:
    """Cut off half a line that a crash has left: its answer was never confirmed."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with open(path, "r+b") as handle:
            handle.truncate(whole)
