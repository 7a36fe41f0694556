"""Labels from files: JSON lines, CSV, CoNLL and Label Studio's JSON. All of a file is taken, or nothing."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hfal.answers import Answer, check_annotator
from hfal.errors import HfalError, count, listing, nearest
from hfal.files import write_text
from hfal.labeling.exporting import UNKNOWN, words_in
from hfal.labeling.label_studio import label_of, read_tasks
from hfal.labeling.records import Record, Refused, RowError
from hfal.labeling.work import Work, asked_in, open_work
from hfal.report.view import open_run

ANNOTATOR = "import"
"""Who labelled a file that does not say."""
LONGEST_CELL = 10_000_000
MOST_SECONDS = 1e7


@dataclass(frozen=True)
class Taken:
    """What came of an import: answers that are new, that were known, and rows that were refused."""

    new: int
    known: int
    refused: list[Refused]


def import_file(
    folder: Path, path: Path, *, kind: str | None = None, annotator: str | None = None, skip_bad: Path | None = None
) -> Taken:
    """Take the labels of a file into a run.

    Rows of the round that waits are answered; rows of earlier rounds are corrected when the next round trains. Rows
    without a label are left alone.

    Args:
        folder: of the run.
        path: the file.
        kind: "jsonl", "csv", "conll" or "label_studio"; told from the ending where it is not given.
        annotator: who labelled, where the file does not say.
        skip_bad: take the rows that are right, and write the others, with the reasons, to this file.

    Raises:
        HfalError: a row is wrong (file, line, column and reason are named); nothing is taken then.
    """
    return take(folder, path.name, _records(_reader(path, kind), path), annotator=annotator, skip_bad=skip_bad)


def take(
    folder: Path,
    where: str,
    records: Iterable[Record],
    *,
    source: str = "file",
    annotator: str | None = None,
    skip_bad: Path | None = None,
    number: int | None = None,
) -> Taken:
    """Take the labels of records into a run: all, or none and the reason why. See `import_file`.

    Args:
        folder: of the run.
        where: what the records are from, for errors.
        records: as read.
        source: "file" or "hub".
        annotator: who labelled, where a record does not say.
        skip_bad: take the records that are right, and write the others to this file.
        number: the only round whose rows may be among them; any where it is not given.
    """
    rounds, works = asked_in(open_run(folder)), dict[int, Work]()
    good: dict[tuple[str, str], tuple[int, Answer]] = {}
    refused: list[Refused] = []
    for record in records:
        try:
            if record.problem is not None:
                raise record.problem
            name = _id(record, rounds)
            at = rounds[name] if number is None else number  # a row that returned to the pool may be asked again
            if at not in works:
                works[at] = open_work(folder, at)
            if name not in works[at].rows:
                raise RowError("id", f"{name!r} was asked in round {rounds[name]}, not in round {at}")
            answer = _answer(record, works[at], name, annotator or ANNOTATOR, source)
            if answer is not None:
                _only_once(good, answer, at)
        except RowError as bad:
            refused.append(Refused(where, record.line, bad.column, bad.reason, record.shown))
    if refused and skip_bad is None:
        more = f" ({count(len(refused), 'row')} are refused in all)" if len(refused) > 1 else ""
        raise HfalError(f"{refused[0]}{more}. Nothing was taken; --skip-bad FILE takes the others")
    if refused and skip_bad is not None:
        write_text(skip_bad, "".join(json.dumps(asdict(one), ensure_ascii=True) + "\n" for one in refused))
    new = 0
    for at in sorted({at for at, _ in good.values()}):
        answers = [answer for of, answer in good.values() if of == at]
        new += works[at].answers.add(answers, source)
    return Taken(new, len(good) - new, refused)


def _records(reader: Callable[[Path], Iterator[Record]], path: Path) -> Iterator[Record]:
    try:
        yield from reader(path)
    except UnicodeDecodeError as error:
        raise HfalError(f"{path} is not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise HfalError(f"cannot read {path}: {error.strerror}") from None
    except csv.Error as error:
        raise HfalError(f"{path} is not CSV: {error}") from None


def _id(record: Record, rounds: Any) -> str:
    name = record.fields.get("id")
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    if not isinstance(name, str) or not name:
        raise RowError("id", "is missing")
    if name not in rounds:
        raise RowError("id", f"{name[:80]!r} was not asked in this run{nearest(name[:80], list(rounds)[:10_000])}")
    return name


def _answer(record: Record, work: Work, name: str, annotator: str, source: str) -> Answer | None:
    """The answer of a record; None where it has none."""
    said, row = record.fields, work.rows[name]
    skipped, flagged = _flag(said, "skipped"), _flag(said, "flagged")
    if record.words is not None:
        _same_words(record.words, words_in(work, row), name)
    label = None
    if not skipped:
        annotated = record.choices is not None or record.spans is not None
        label = label_of(work, row, record) if annotated else _label(said.get("label"), work)
        if label is None:
            return None
    seconds, time = _seconds(said.get("seconds")), _time(said.get("time"))
    try:
        who = check_annotator(said.get("annotator") or annotator)
    except HfalError as error:
        raise RowError("annotator", str(error)) from None
    try:
        return work.answer(
            row,
            who,
            label,
            skipped=skipped,
            flagged=flagged,
            where=f"row {name}",
            time=time,
            seconds=seconds,
            source=source,
        )
    except HfalError as error:
        raise RowError("label", str(error)) from None


def _seconds(value: Any) -> float | None:
    if value in (None, ""):
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = -1.0
    if isinstance(value, bool) or not 0 <= seconds < MOST_SECONDS:
        raise RowError("seconds", f"{value!r} is not how long a label took")
    return seconds


def _flag(said: dict[str, Any], column: str) -> bool:
    value = said.get(column)
    if value in (None, "", False, "false", "False", "0", 0, "no"):
        return False
    if value in (True, "true", "True", "1", 1, "yes"):
        return True
    raise RowError(column, f"{value!r} is neither true nor false")


def _time(value: Any) -> str | None:
    if value in (None, ""):
        return None
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise RowError("time", f"{value!r} is not a time (ISO 8601)") from None
    return time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC).isoformat(timespec="milliseconds")


def _label(value: Any, work: Work) -> Any:
    """A label as a file says it: cells of CSV hold lists as JSON, or divided by semicolons or blanks."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if not text:
        return None
    if work.task.asks == "span" and text[:1] in "[{":
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise RowError("label", f"{text[:80]!r} is not JSON") from None
    if work.task.per_word or work.task.multi_label:
        if text.startswith("["):
            try:
                return json.loads(text)
            except (ValueError, RecursionError):
                raise RowError("label", f"{text[:80]!r} is not a list in JSON") from None
        return [part.strip() for part in (text.split(";") if work.task.multi_label else text.split()) if part.strip()]
    return value if value in work.task.names else text.removeprefix("'") if text.startswith("'") else text


def _same_words(words: list[str], wanted: list[str], name: str) -> None:
    if words != wanted:
        pairs = enumerate(zip(words, wanted, strict=False))
        at = next((at for at, (one, other) in pairs if one != other), min(len(words), len(wanted)))
        raise RowError("word", f"row {name} has {count(len(wanted), 'word')}, and other ones from word {at} on")


def _only_once(good: dict[tuple[str, str], tuple[int, Answer]], answer: Answer, number: int) -> None:
    before = good.get((answer.id, answer.annotator))
    if before is not None and (before[1].label, before[1].skipped) != (answer.label, answer.skipped):
        raise RowError("label", f"row {answer.id} was labelled {before[1].label!r} by {answer.annotator} further up")
    good[answer.id, answer.annotator] = (number, answer)


def _reader(path: Path, kind: str | None) -> Callable[[Path], Iterator[Record]]:
    if kind is None:
        kind = {".jsonl": "jsonl", ".csv": "csv", ".conll": "conll", ".json": "label_studio"}.get(path.suffix.lower())
    if kind not in READERS:
        raise HfalError(f"{path}: say --from {' or '.join(READERS)}" + (f", not {kind}" if kind else ""))
    return READERS[kind]


def _read_jsonl(path: Path) -> Iterator[Record]:
    with open(path, encoding="utf-8-sig", newline="\n") as handle:
        for number, line in enumerate(handle, 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield Record(number, {}, line, problem=RowError("-", f"is not JSON: {str(error)[:120]}"))
                continue
            wrong = None if isinstance(value, dict) else RowError("-", "is not an object with keys id and label")
            yield Record(number, value if wrong is None else {}, line, problem=wrong)


def _read_csv(path: Path) -> Iterator[Record]:
    csv.field_size_limit(LONGEST_CELL)
    with open(path, encoding="utf-8-sig", newline="") as handle:
        reader = csv.reader(handle)
        header = next(reader, [])
        missing = [name for name in ("id", "label") if name not in header]
        if missing:
            raise HfalError(f"{path}, line 1: no column {missing[0]!r}; it has: {listing(header)}")
        before = reader.line_num
        for cells in reader:
            line, before = before + 1, reader.line_num
            if not cells:
                continue
            wrong = None
            if len(cells) != len(header):
                wrong = RowError("-", f"{count(len(cells), 'cell')}, but the header has {len(header)}")
            yield Record(line, dict(zip(header, cells, strict=False)), ",".join(cells), problem=wrong)


def _read_conll(path: Path) -> Iterator[Record]:
    """Sentences under `# id = …`; a word, a tab and its tag a line. Sentences whose tags are all ? are not labelled."""
    fields: dict[str, Any] = {}
    words: list[str] = []
    tags: list[str] = []
    first, wrong = 1, None

    def done() -> Iterator[Record]:
        if words or fields:
            label = None if all(tag == UNKNOWN for tag in tags) else tags
            yield Record(first, fields | {"label": label}, " ".join(words)[:200], problem=wrong, words=words)

    with open(path, encoding="utf-8-sig", newline="\n") as handle:
        for number, raw in enumerate(handle, 1):
            line = raw.rstrip("\r\n")
            if not line.strip():
                yield from done()
                fields, words, tags, wrong = {}, [], [], None
                continue
            if not words and not fields:
                first = number
            if "\t" not in line and line.startswith("#"):
                key, _, value = line[1:].partition("=")
                fields[key.strip()] = value.strip()
                continue
            parts = line.split("\t")
            if len(parts) < 2 or not parts[-1].strip():
                wrong = wrong or RowError("tag", f"line {number} is not a word, a tab and a tag: {line[:80]!r}")
                continue
            words.append(parts[0])
            tags.append(parts[-1].strip())
        yield from done()


READERS: dict[str, Callable[[Path], Iterator[Record]]] = {
    "jsonl": _read_jsonl,
    "csv": _read_csv,
    "conll": _read_conll,
    "label_studio": read_tasks,
}
