"""The run folder: what is in it is the truth. See docs/file-formats.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from filelock import FileLock

from hfal.compute import barrier, from_main, is_main
from hfal.errors import HfalError
from hfal.files import disk_errors, read_json, taken, write_folder, write_json, write_parquet, write_yaml
from hfal.tasks.base import Task

ON_POOL = "pool_"
"""How the names of scores begin that are estimated from audited rows."""
MAY_GROW = "budget."
"""What the key begins with that may be raised on a run that exists."""
MAY_CHANGE = ("output_dir", "stop.")
"""How keys begin that may be changed: they decide nothing that is chosen or trained."""


@dataclass(frozen=True)
class Round:
    """One turn of the loop: what was asked, and how good the model is with it.

    Attributes:
        number: 0 for the seed set.
        strategy: what chose the rows.
        asked: rows labelled in this round.
        labeled: rows labelled so far, all rounds together and what the data had from the start.
        spent: what was spent so far, in the unit of the budget.
        words: words of the rows asked so far.
        metrics: scores on the test rows (empty without any).
        seconds: time by stage: score, select, label, train, evaluate, save.
        notes: what the user should know of this round.
        training: steps, final loss and the like.
        audit: what the audited rows say of the model (`hfal.evaluation.audit`).
        saving: what chance would have had to spend for it (`hfal.evaluation.meter`).
        stopping: how much the predictions changed since the round before (`hfal.evaluation.stopping`).
    """

    number: int
    strategy: str
    asked: int
    labeled: int
    spent: float
    words: int = 0
    metrics: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    training: dict[str, Any] = field(default_factory=dict)
    audit: dict[str, Any] = field(default_factory=dict)
    saving: dict[str, Any] = field(default_factory=dict)
    stopping: dict[str, Any] = field(default_factory=dict)

    @property
    def scores(self) -> dict[str, float]:
        """Single numbers that say how good the model is: on the test rows, or without any on the audited ones."""
        if not self.metrics and "value" in self.audit:
            return {f"{ON_POOL}{self.audit['metric']}": self.audit["value"]}
        return {name: value for name, value in self.metrics.items() if isinstance(value, float)}


class Ledger:
    """The rounds of a run, on disk or (without a folder) in memory.

    `round.json` is written last and makes a round count; selection and labels of a round that was
    interrupted are used again. Only the main process writes.
    """

    def __init__(self, folder: str | Path | None) -> None:
        self.folder = None if folder is None else Path(folder)
        self.rounds: list[Round] = []
        self._selections: dict[int, pa.Table] = {}
        self._labels: dict[int, pa.Table] = {}
        self._predictions: dict[int, pa.Table] = {}
        self._lock: FileLock | None = None
        self._agree: Callable[[Any], Any] = lambda seen: seen

    def open(self, config: Mapping[str, Any], pool: Mapping[str, Any]) -> None:
        """Take the folder for this process, check that it is a run of this config and pool, read its rounds.

        Raises:
            HfalError: another process has it, or it holds another run (the key that differs is named).
        """
        if self.folder is None:
            return
        if is_main():
            self._acquire()
            _check_same(self.folder / "config.yaml", config, self.folder)
            _check_pool(self.folder / "pool.json", pool, self.folder)
            write_yaml(self.folder / "config.yaml", config)
            write_json(self.folder / "pool.json", pool)
        barrier()
        self._agree = from_main  # what the main process reads holds for all: files may be half-way to the others
        self.read()

    def read(self) -> list[Round]:
        """The rounds that count, from disk."""
        if self.folder is not None:
            found: list[Round] = []
            while (path := self.path(len(found)) / "round.json").exists():
                found.append(Round(**read_json(path)))
            self.rounds = self._agree(found)
        return self.rounds

    def close(self) -> None:
        """Let go of the folder."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _acquire(self) -> None:
        assert self.folder is not None
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            other = f"another process is working in {self.folder}: wait for it, or choose another output_dir"
            self._lock = taken(self.folder / ".lock", other)

    def path(self, number: int) -> Path:
        """The folder of a round."""
        assert self.folder is not None
        return self.folder / "rounds" / f"{number:04d}"

    def selection(self, number: int) -> pa.Table | None:
        """What was chosen in a round, or None."""
        return self._table(number, "selection.parquet", self._selections)

    def has_selection(self, number: int) -> bool:
        """Whether a round was chosen, as this process sees the folder."""
        return (self.path(number) / "selection.parquet").exists()

    def chosen(self) -> range:
        """The rounds that were chosen, finished or not, as this process sees the folder."""
        number = 0
        while self.has_selection(number):
            number += 1
        return range(number)

    def labels(self, number: int) -> pa.Table | None:
        """The labels of a round, or None."""
        return self._table(number, "labels.parquet", self._labels)

    def _table(self, number: int, name: str, memory: dict[int, pa.Table]) -> pa.Table | None:
        if self.folder is None:
            return memory.get(number)
        path = self.path(number) / name
        seen: pa.Table | None = self._agree(pq.read_table(path) if path.exists() else None)
        return seen

    def write_selection(self, number: int, table: pa.Table) -> None:
        """Record what was chosen, before anyone is asked."""
        self._selections[number] = table
        if self.folder is not None and is_main():
            write_parquet(self.path(number) / "selection.parquet", table)

    def write_labels(self, number: int, table: pa.Table) -> None:
        """Record labels (`label_table`) the moment they are there."""
        self._labels[number] = table
        if self.folder is not None and is_main():
            write_parquet(self.path(number) / "labels.parquet", table)

    def write_predictions(self, number: int, rows: Sequence[str], predicted: Sequence[Any]) -> None:
        """Record what the model of a round says of rows that no model is trained on."""
        table = pa.table({"id": list(rows), "predicted": list(predicted)})
        self._predictions[number] = table
        if self.folder is not None and is_main():
            write_parquet(self.path(number) / "predictions.parquet", table)

    def predictions(self, number: int) -> dict[str, Any]:
        """id -> what the model of a round said of it."""
        table = None if number < 0 else self._table(number, "predictions.parquet", self._predictions)
        return (
            {} if table is None else dict(zip(*(table[name].to_pylist() for name in ("id", "predicted")), strict=True))
        )

    def write_round(self, finished: Round) -> None:
        """Make a round count."""
        self.rounds.append(finished)
        if self.folder is not None and is_main():
            write_json(self.path(finished.number) / "metrics.json", finished.metrics)
            write_json(self.path(finished.number) / "round.json", asdict(finished))
        barrier()

    def write_model(self, number: int, save: Callable[[Path], None], training: dict[str, Any]) -> None:
        """Put the model of a round in the place of the one before, with how its training went."""
        if self.folder is not None and is_main():

            def write(folder: Path) -> None:
                save(folder)
                write_json(folder / "hfal.json", {"round": number, "training": training})

            write_folder(self.folder / "model", write)

    def model(self, number: int) -> Path | None:
        """The folder of the model trained in this round, where it is still there."""
        if self.folder is None:
            return None
        marker = self.folder / "model" / "hfal.json"
        there = self._agree(marker.exists() and read_json(marker)["round"] == number)
        return marker.parent if there else None

    def training(self, number: int) -> dict[str, Any] | None:
        """How the training of this round went, where its model is there."""
        folder = self.model(number)
        found: dict[str, Any] | None = None if folder is None else read_json(folder / "hfal.json").get("training")
        return found

    @property
    def cache(self) -> Path | None:
        """A folder that may be deleted at any time."""
        return None if self.folder is None else self.folder / "cache"


def label_table(rows: Sequence[Mapping[str, Any]], task: Task) -> pa.Table:
    """Labels as `labels.parquet` holds them; what a row does not say is null, but the time is now.

    Args:
        rows: with `id`, `label` (names; None where it was skipped) and what else is known.
        task: of the labels.
    """
    said = [
        ("annotator", pa.string()),
        ("label", task.arrow_label),
        ("seconds", pa.float32()),
        ("source", pa.string()),
        ("time", pa.timestamp("ms", tz="UTC")),
        ("skipped", pa.bool_()),
        ("flagged", pa.bool_()),
    ]
    schema = pa.schema([("id", pa.string()), *said, ("answers", pa.list_(pa.struct(said)))])
    usual = {"time": datetime.now(UTC), "skipped": False, "flagged": False}
    return pa.Table.from_pylist([_timed({**usual, **row}) for row in rows], schema)


def _timed(row: dict[str, Any]) -> dict[str, Any]:
    """Times as arrow takes them; answers too."""
    if isinstance(row["time"], str):
        row = {**row, "time": datetime.fromisoformat(row["time"])}
    if row.get("answers") is not None:
        row["answers"] = [_timed(dict(answer)) for answer in row["answers"]]
    return row


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` -> `{"a.b": 1}`."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _check_same(path: Path, config: Mapping[str, Any], folder: Path) -> None:
    if not path.exists():
        return
    before, now = flatten(yaml.safe_load(path.read_text(encoding="utf-8")) or {}), flatten(config)
    for key in [*before, *(key for key in now if key not in before)]:
        old, new = before.get(key), now.get(key)
        grown = key.startswith(MAY_GROW) and None not in (old, new) and float(new or 0) > float(old or 0)
        unknown_then = key not in before and not new  # a key of a later version, as it always was
        if old == new or key.startswith(MAY_CHANGE) or grown or unknown_then:
            continue
        raise HfalError(
            f"{folder} holds a run of another config: {key} is {old!r} there and {new!r} now; choose another "
            "output_dir, or put the key back"
        )


def _check_pool(path: Path, pool: Mapping[str, Any], folder: Path) -> None:
    if not path.exists():
        return
    before = read_json(path)
    for key in ("label_names", "rows", "fingerprint"):
        if before.get(key) != pool.get(key):
            raise HfalError(
                f"{folder} holds a run over another pool: {key} is {before.get(key)!r} there and "
                f"{pool.get(key)!r} now; choose another output_dir"
            )
