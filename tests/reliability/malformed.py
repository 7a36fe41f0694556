"""Malformed rows through import: each is refused with file, line, column and reason, and none is half-applied.

    python -m tests.reliability.malformed [--rows 10000]

Files of a hundred rows, JSON lines and CSV, for one label, several and words; half of the rows are broken in one of
many ways. Without --skip-bad nothing of such a file is taken and the first broken row is named; with it exactly the
broken ones are refused, each with its reason.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import random
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hfal.config import load_config
from hfal.errors import HfalError
from hfal.labeling import open_work
from hfal.labeling.importing import import_file
from hfal.running import run_config
from tests.conftest import save_tiny_model
from tests.labeling.conftest import rows_of, text_of, truth_of, write_project

SIZE = 100
Row = dict[str, Any]
JUNK = [
    "goood",
    "BAD",
    "",
    " ",
    "0x1",
    "null",
    "🙂",
    "<b>good</b>",
    "=1+1",
    "a" * 5000,
    "\u202egood",
    "-1",
]


def _label(row: Row, chance: random.Random) -> None:
    label = row["label"]
    wrong: list[Any] = [17, -1, 2.5, True, {"a": 1}, [[]], ["nothing"], *[junk for junk in JUNK if junk.strip()]]
    if isinstance(label, list) and isinstance(row.get("_words"), int):
        wrong += [label[:-1], [*label, "O"], ["I-bad", *["O"] * (len(label) - 1)] if len(label) > 1 else ["X"], [None]]
    row["label"] = chance.choice(wrong)


BREAK: dict[str, Callable[[Row, random.Random], None]] = {
    "label": _label,
    "no id": lambda row, chance: row.pop("id"),
    "other id": lambda row, chance: row.update(id=chance.choice(["x", "0" * 32, "", 17, None, ["a"], {"b": 1}, True])),
    "annotator": lambda row, chance: row.update(
        annotator=chance.choice(["a\nb", "x" * 200, ["ann"], {"a": 1}, 5, "\x00"])
    ),
    "seconds": lambda row, chance: row.update(seconds=chance.choice(["soon", -1, "nan", 1e30, [1], "inf"])),
    "time": lambda row, chance: row.update(time=chance.choice(["yesterday", "2026-13-01", 5, [1], "25:00"])),
    "skipped": lambda row, chance: row.update(skipped=chance.choice(["maybe", 7, [1], "yess"])),
    "flagged": lambda row, chance: row.update(flagged=chance.choice(["perhaps", -1, {"a": 1}])),
}
LINES = ["{", "[1, 2]", '"text"', "null", "{'id': 1}", '{"id": "x"', "\x00", "[" * 2000, "NaN", "true"]
"""What is no object of JSON at all."""


def write(path: Path, rows: list[Row | str], to_csv: bool) -> list[int]:
    """Write a file; the line where each row begins (a cell may hold a line break)."""
    if not to_csv:
        path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
        return list(range(1, len(rows) + 1))
    columns = ["id", "label", "annotator", "seconds", "time", "skipped", "flagged"]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    starts = []
    for row in rows:
        starts.append(buffer.getvalue().count("\n") + 1)
        if isinstance(row, str):
            writer.writerow(["only", "three", "cells"])
        else:
            cells = (row.get(column) for column in columns)
            writer.writerow([json.dumps(v) if isinstance(v, (list, dict)) else v for v in cells])
    path.write_text(buffer.getvalue())
    return starts


def one_file(folder: Path, kind: str, chance: random.Random, to_csv: bool, ways: Counter[str]) -> int:
    """Break half of the rows of a file; how many were broken."""
    truth, asked = truth_of(kind), rows_of(folder)
    rows: list[Row | str] = []
    broken: set[int] = set()
    for at in range(SIZE):
        row = asked[at % len(asked)]
        label = truth[text_of(row)]
        line: Row | str = {"id": row["id"], "label": label, "annotator": f"ann{at // len(asked)}", "seconds": 1.0}
        if at % 2:
            way = chance.choice([*BREAK, "line"])
            ways[way] += 1
            broken.add(at)
            if way == "line":
                line = chance.choice(LINES)
            else:
                assert isinstance(line, dict)
                BREAK[way](line, chance)
                if to_csv and not isinstance(line.get("annotator"), str):
                    line["annotator"] = "\x00"  # anything printable is a name there
        rows.append(line)
    path = folder.parent / ("rows.csv" if to_csv else "rows.jsonl")
    starts = write(path, rows, to_csv)
    first = starts[min(broken)]
    try:
        import_file(folder, path)
        raise AssertionError("a file with broken rows was taken")
    except HfalError as error:
        assert re.match(rf"{path.name}, line {first}\b", str(error)), error
        assert "Nothing was taken" in str(error)
    assert open_work(folder).answers.read() == [], "half-applied"
    bad = folder.parent / "bad.jsonl"
    taken = import_file(folder, path, skip_bad=bad)
    refused = [json.loads(line) for line in bad.read_text().splitlines()]
    lines = {starts.index(one["line"]) for one in refused}
    assert lines == broken, (
        sorted(broken - lines),
        [rows[at] for at in sorted(broken - lines)][:3],
        sorted(lines - broken),
    )
    assert all(one["reason"] and one["column"] and one["file"] == path.name for one in refused)
    assert taken.new == SIZE - len(broken)
    return len(broken)


def main() -> None:
    """Break and tell."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(run(arguments.rows, arguments.seed))


def run(rows: int, seed: int) -> str:
    """Break so many rows; what came of it."""
    chance, total, ways = random.Random(seed), 0, Counter[str]()
    with tempfile.TemporaryDirectory() as base:
        model = str(save_tiny_model(Path(base) / "tiny"))
        templates = {}
        for kind in ("text", "multi", "words"):
            place = Path(base) / kind
            place.mkdir()
            run_config(load_config(write_project(place, model, kind, {})), lambda part, done: None)
            templates[kind] = place / "run"
        while total < rows:
            kind, to_csv = chance.choice(list(templates)), chance.random() < 0.4
            folder = Path(base) / "work" / "run"
            shutil.rmtree(folder.parent, ignore_errors=True)
            shutil.copytree(templates[kind], folder)
            total += one_file(folder, kind, chance, to_csv, ways)
    return f"{total} malformed rows refused by file, line, column and reason, none half-applied ({dict(ways)})"


if __name__ == "__main__":
    main()
