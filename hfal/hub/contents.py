"""The files of a run's data set repo. See docs/file-formats.md."""

from __future__ import annotations

import hashlib
import io
import json
from importlib import metadata
from pathlib import Path, PurePath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from datasets import ClassLabel, Dataset, Features, Image, List, Value

from hfal.answers import Answers
from hfal.errors import HfalError
from hfal.kept import INDEX, KEPT
from hfal.report.view import RunView, task_of
from hfal.tasks.base import TYPED
from hfal.versions import versions

PROVENANCE = "hfal.json"
MIRROR = "run"
"""The run folder's own files, from which `hfal clone` goes on."""


def config_name(number: int) -> str:
    """A round, as `load_dataset` is asked for it."""
    return f"round_{number:04d}"


def split_path(number: int, split: str) -> str:
    """The file of a split, as `datasets` names them."""
    return f"rounds/{number:04d}/{split}-00000-of-00001.parquet"


def label_feature(run: RunView) -> Any:
    """The feature of a label: a class, several, or a tag for each word."""
    task = task_of(run)
    if task.asks in (*TYPED, "span"):
        return _feature(task.arrow_label)
    names = ClassLabel(names=list(run.pool["label_names"]))
    return List(names) if task.per_word or task.multi_label else names


def _feature(kind: pa.DataType) -> Any:
    """The feature of an input column; what `datasets` keeps of an image is one again."""
    if pa.types.is_struct(kind) and {kind.field(i).name for i in range(kind.num_fields)} == {"bytes", "path"}:
        return Image()
    return Features.from_arrow_schema(pa.schema([("x", kind)]))["x"]


def queried(run: RunView, number: int) -> Dataset:
    """The rows of a round as people are asked: what the model says of audited rows is left out."""
    table = _asked(run, number)
    rows = [{**row, "round": number} for row in table.to_pylist()]
    for row in rows:
        if row["audit"]:
            row["predicted"] = row["probability"] = None
    return _dataset(rows, _features(run, table.schema))


def labeled(run: RunView, number: int) -> Dataset:
    """The labels of a round that hold now, corrections of later rounds included; skipped rows are left out."""
    known, table = current_labels(run), _asked(run, number)
    rows = []
    for row in table.to_pylist():
        said = known.get(row["id"])
        if said is None or said["label"] is None:
            continue
        answers = [
            {**answer, "label": json.dumps(answer["label"], ensure_ascii=False)} for answer in said["answers"] or []
        ]
        rows.append(
            {**row, **{key: said[key] for key in _SAID}, "label": said["label"], "round": number, "answers": answers}
        )
    return _dataset(rows, _features(run, table.schema))


_SAID = {
    "annotator": Value("string"),
    "seconds": Value("float32"),
    "time": Value("timestamp[ms, tz=UTC]"),
    "source": Value("string"),
    "flagged": Value("bool"),
}


def _asked(run: RunView, number: int) -> pa.Table:
    table = run.ledger.selection(number)
    assert table is not None
    return table


def _features(run: RunView, schema: pa.Schema) -> Features:
    """The columns of a split: the same in both of a round and in all rounds, as `datasets` wants them."""
    inputs = {name: _feature(schema.field(name).type) for name in run.pool["inputs"]}
    asked = {name: _feature(schema.field(name).type) for name in _ASKED}
    answer = {**_SAID, "label": Value("string"), "skipped": Value("bool")}
    about = {"round": Value("int32"), **asked, **_SAID, "answers": List(answer)}
    return Features({"id": Value("string"), **inputs, "label": label_feature(run), **about})


_ASKED = ("rank", "score", "strategy", "audit", "predicted", "probability", "words", "cost")


def _dataset(rows: list[dict[str, Any]], features: Features) -> Dataset:
    """Rows as a data set, also where there are none."""
    return Dataset.from_dict({name: [row.get(name) for row in rows] for name in features}, features=features)


def current_labels(run: RunView) -> dict[str, dict[str, Any]]:
    """id -> the last line that `labels.parquet` of any round has of it."""
    found: dict[str, dict[str, Any]] = {}
    for number in range(len(run.rounds)):
        table = run.ledger.labels(number)
        if table is not None:
            found.update((row["id"], row) for row in table.to_pylist())
    return found


def as_parquet(rows: Dataset) -> bytes:
    """The rows as Parquet, features included."""
    buffer = io.BytesIO()
    pq.write_table(rows.data.table.replace_schema_metadata(rows.features.arrow_schema.metadata), buffer)
    return buffer.getvalue()


def digest(*parts: object) -> str:
    """What tells one round from another."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def selection_digest(run: RunView, number: int) -> str:
    """Of the rows of a round in order."""
    return digest(_asked(run, number)["id"].to_pylist(), run.pool.get("fingerprint"))


def labels_digest(run: RunView, number: int) -> str | None:
    """Of the labels of a round, when it is finished."""
    if number >= len(run.rounds):
        return None
    table = run.ledger.labels(number)
    return digest(None if table is None else [table[name].to_pylist() for name in ("id", "label", "annotator")])


def shared_config(run: RunView) -> dict[str, Any]:
    """The config as others may see it: names of files, not where they are on this machine."""
    config = run.settings.record()
    config["output_dir"] = PurePath(config["output_dir"]).name
    for part in ("pool", "test", "validation"):
        if config.get(part) and PurePath(config[part]["source"]).is_absolute():
            config[part]["source"] = PurePath(config[part]["source"]).name
    named = config["learner"].get("of") or config["learner"]  # of an ensemble, what its members are
    if PurePath(named.get("model", "")).is_absolute():
        named["model"] = PurePath(named["model"]).name
    return config


def model_named(config: dict[str, Any]) -> str:
    """The model that a config names, or where its own learner comes from."""
    learner = config["learner"].get("of") or config["learner"]
    return str(learner.get("model") or learner["path"])


def provenance(run: RunView, licence: str | None, rounds: dict[str, Any]) -> dict[str, Any]:
    """What `hfal.json` says."""
    return {
        "hfal": metadata.version("hfal"),
        "versions": versions(),
        "licence": licence,
        "config": shared_config(run),
        "pool": {key: value for key, value in run.pool.items() if key != "cheapest"},
        "rounds": rounds,
    }


def mirror(run: RunView, number: int) -> dict[str, bytes]:
    """The run folder's files of a round, by their path in the repo."""
    files = {f"{MIRROR}/config.yaml": yaml.safe_dump(shared_config(run), sort_keys=False, allow_unicode=True).encode()}
    files[f"{MIRROR}/pool.json"] = (run.folder / "pool.json").read_bytes()
    folder = run.ledger.path(number)
    names = ["selection.parquet", "labels.parquet", "metrics.json", "round.json"]
    wanted = [folder / name for name in names] + sorted(Answers(folder).folder.glob("*.jsonl"))
    wanted += [path for path in sorted((run.folder / KEPT).glob("*.parquet")) if path.stem != INDEX]
    for path in wanted:
        if path.exists():
            files[f"{MIRROR}/{path.relative_to(run.folder).as_posix()}"] = path.read_bytes()
    return files


def check_name(path: str) -> Path:
    """A path of the repo's mirror as a path below the run folder; nothing may lead out of it.

    Raises:
        HfalError: it would.
    """
    relative = PurePath(path)
    inside = relative.parts[1:]
    if relative.is_absolute() or relative.parts[:1] != (MIRROR,) or not inside or ".." in inside or "\\" in path:
        raise HfalError(f"the repo has a file that leads out of the run folder: {path!r}")
    return Path(*inside)
