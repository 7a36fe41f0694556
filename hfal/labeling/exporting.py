"""The rows of a round as files to label elsewhere."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hfal.errors import HfalError, listing
from hfal.files import write_file, write_text
from hfal.labeling import label_studio
from hfal.labeling.work import Row, Work

UNKNOWN = "?"
"""The tag of words that nobody has labelled yet, in CoNLL files."""
DANGEROUS = ("=", "+", "-", "@", "\t", "\r")
"""How cells begin that spreadsheets would run as formulas."""


def export_round(work: Work, kind: str, path: Path, *, everything: bool = False) -> tuple[int, list[Path]]:
    """Write the rows that wait for labels.

    Args:
        work: the round.
        kind: "label_studio", "conll", "jsonl" or "csv".
        path: the file; Label Studio's config goes beside it, as .xml.
        everything: also the rows that have their answers.

    Returns:
        How many rows they are, and the files written.

    Raises:
        HfalError: a kind that the task has no place in, nothing to export.
    """
    if kind not in WRITERS:
        raise HfalError(f"--to {kind}: known are {listing(WRITERS)}")
    if kind == "conll" and not work.task.per_word:
        raise HfalError("CoNLL files hold words and their tags: this task labels whole rows")
    names = list(work.rows) if everything else work.missing()
    if not names:
        raise HfalError(f"round {work.number} has all its labels: there is nothing to export (--all exports them)")
    return len(names), WRITERS[kind](work, [work.rows[name] for name in names], path)


def words_in(work: Work, row: Row) -> list[str]:
    """The words of a row as CoNLL files can hold them."""
    task: Any = work.task
    (words,) = task.words({name: [row[name]] for name in task.inputs})
    return [" ".join(word.split()) for word in words]


def _defused(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(DANGEROUS) else cell


def _asked(work: Work, row: Row) -> dict[str, Any]:
    """What a person needs: the row, room for the label, what the model thinks."""
    suggestion = work.suggestion(row)
    return {"id": row["id"], **work.shown(row), "label": None, "suggestion": suggestion, "annotator": None}


def _to_jsonl(work: Work, rows: list[Row], path: Path) -> list[Path]:
    write_text(path, "".join(json.dumps(_asked(work, row), ensure_ascii=False) + "\n" for row in rows))
    return [path]


def _to_csv(work: Work, rows: list[Row], path: Path) -> list[Path]:
    def write(target: Path) -> None:
        with open(target, "w", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle)
            for at, row in enumerate(rows):
                asked = _asked(work, row)
                if at == 0:
                    writer.writerow(asked)
                cells = [json.dumps(v, ensure_ascii=False) if isinstance(v, list) else v for v in asked.values()]
                writer.writerow([cells[0], *(_defused(cell) for cell in cells[1:])])

    write_file(path, write)
    return [path]


def _to_conll(work: Work, rows: list[Row], path: Path) -> list[Path]:
    parts = []
    for row in rows:
        lines = [f"# id = {row['id']}", *(f"{word}\t{UNKNOWN}" for word in words_in(work, row))]
        parts.append("\n".join(lines) + "\n")
    write_text(path, "\n".join(parts))
    return [path]


def _to_label_studio(work: Work, rows: list[Row], path: Path) -> list[Path]:
    beside = path.with_suffix(".xml")
    write_text(path, json.dumps(label_studio.tasks(work, rows), ensure_ascii=False, indent=1) + "\n")
    write_text(beside, label_studio.config(work))
    return [path, beside]


WRITERS: dict[str, Callable[[Work, list[Row], Path], list[Path]]] = {
    "label_studio": _to_label_studio,
    "conll": _to_conll,
    "jsonl": _to_jsonl,
    "csv": _to_csv,
}
