"""Rows from wherever they are: files, folders, the Hub, demo assets."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, DatasetDict, Value, load_dataset, load_from_disk

from hfal.compute import generator_for
from hfal.config import RunConfig, Source
from hfal.conll import read_conll
from hfal.demo import demo_dataset
from hfal.errors import HfalError, count, listing, nearest
from hfal.pool import Pool, content_keys, drop_empty, labelled
from hfal.tasks import Task

logger = logging.getLogger("hfal")

READERS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".parquet": "parquet",
    ".txt": "text",
    ".conll": "conll",
    ".conll2003": "conll",
    ".bio": "conll",
    ".iob": "conll",
    ".iob2": "conll",
}


EXACT = 2**53
"""From here on fractions do not hold each whole number."""


def load_source(source: Source) -> Dataset:
    """The rows of a source, columns renamed, in their own order.

    Raises:
        HfalError: it cannot be found or read, or it is empty.
    """
    path = Path(source.source).expanduser()
    try:
        if source.source.startswith("demo/"):
            rows = demo_dataset(source.source, source.split)
        elif path.is_dir():
            rows = _from_folder(path, source)
        elif path.is_file():
            rows = _from_files([path], source)
        elif path.suffix in READERS or source.source.startswith((".", "/", "~")):
            raise HfalError(f"there is no file or folder {source.source}")
        else:
            rows = load_dataset(source.source, source.name, split=source.split, revision=source.revision)
    except HfalError:
        raise
    except Exception as error:  # datasets wraps what readers raise in many ways
        if "corresponds to no data" in str(error):
            raise HfalError(f"{source.source} has no rows") from None
        root = _root(error)
        if isinstance(root, UnicodeDecodeError):
            raise HfalError(
                f"{source.source} is not {source.encoding} text (byte {root.start}): name its encoding, as in "
                "encoding: latin-1"
            ) from error
        text = str(root).strip().split("\n")[0]
        raise HfalError(f"cannot read {source.source}: {type(root).__name__}: {text}") from error
    if len(rows) == 0:
        raise HfalError(f"{source.source} has no rows")
    return _rename(_whole(rows), source)


def _whole(rows: Dataset) -> Dataset:
    """The same rows, where whole numbers beside gaps are whole again: readers take such columns for fractions."""
    for name, feature in rows.features.items():
        if getattr(feature, "dtype", None) not in ("float32", "float64"):
            continue
        values = rows.select_columns([name]).with_format("arrow")[:][name].to_numpy()
        gaps = np.isnan(values)
        there = values[~gaps]
        if len(there) and gaps.any() and (np.abs(there) < EXACT).all() and (there == np.round(there)).all():
            whole = [None if gap else int(value) for value, gap in zip(values, gaps, strict=True)]
            rows = rows.remove_columns(name).add_column(name, whole, feature=Value("int64"))
    return rows


def _from_folder(path: Path, source: Source) -> Dataset:
    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        loaded = load_from_disk(str(path))
        return _split(loaded, source) if isinstance(loaded, DatasetDict) else loaded
    files = sorted(file for file in path.rglob("*") if file.suffix in READERS and file.is_file())
    if not files:
        raise HfalError(f"{path} holds no data: expected {listing(READERS)} or a folder of save_to_disk")
    named = [file for file in files if source.split in file.stem]
    return _from_files(named or files, source)


def _split(loaded: DatasetDict, source: Source) -> Dataset:
    if source.split not in loaded:
        hint = nearest(source.split, loaded)
        raise HfalError(f"{source.source} has no split {source.split!r}{hint}; it has: {listing(loaded)}")
    return loaded[source.split]


def _from_files(files: list[Path], source: Source) -> Dataset:
    kinds = {source.format or READERS.get(file.suffix.lower()) for file in files}
    if len(kinds) > 1:
        raise HfalError(f"{source.source} holds files of different kinds: {listing(sorted(map(str, kinds)))}")
    kind = kinds.pop()
    if kind is None:
        raise HfalError(f"{files[0]}: files of this kind cannot be read; known: {listing(READERS)}")
    if all(file.stat().st_size == 0 for file in files):
        raise HfalError(f"{files[0]} is empty")
    if kind == "conll":
        return read_conll(files, source.encoding)
    options: dict[str, Any] = {}
    if kind in ("csv", "text", "json") and source.encoding.lower() not in ("utf-8", "utf8"):
        options["encoding"] = source.encoding
    if kind == "csv":
        options["sep"] = "\t" if files[0].suffix == ".tsv" else ","
    return load_dataset(kind, data_files=[str(file) for file in files], split="train", **options)


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _rename(rows: Dataset, source: Source) -> Dataset:
    for wanted, found in source.columns.items():
        if found not in rows.column_names:
            hint = nearest(found, rows.column_names)
            raise HfalError(f"no column {found!r}{hint}; {source.source} has: {listing(rows.column_names)}")
        if wanted != found:
            if wanted in rows.column_names:
                rows = rows.remove_columns(wanted)
            rows = rows.rename_column(found, wanted)
    return rows


def shuffled(rows: Dataset, seed: int) -> Dataset:
    """The rows in an order drawn from the seed."""
    return rows.select(torch.randperm(len(rows), generator=generator_for("shuffle", seed)).numpy())


def build_data(config: RunConfig, task: Task) -> tuple[Pool, Dataset | None, Dataset | None]:
    """Pool, test and validation rows of a config, without a text in common.

    Rows of one source are dealt out in the order test, validation, pool, so that the test rows do not depend
    on the size of the pool.

    Returns:
        The pool; test and validation rows with the task's inputs and encoded `labels`, where asked for.
    """
    loaded: dict[str, Dataset] = {}
    parts: dict[str, Dataset] = {}
    taken: list[Any] = []
    for what in ("test", "validation", "pool"):
        source: Source | None = getattr(config, what)
        if source is None:
            continue
        key = repr((source.source, source.split, source.name, source.revision, source.columns))
        shared = sum(
            other is not None and other.source == source.source and other.split == source.split
            for other in (config.test, config.validation, config.pool)
        )
        if shared > 1 and what != "pool" and source.rows is None:
            raise HfalError(f"{what}.rows is needed: the pool is drawn from {source.source} too")
        if key not in loaded:
            rows = task.prepare(load_source(source))
            loaded[key] = shuffled(rows, config.seed) if shared > 1 or source.rows else rows
        resolved = task.resolve(loaded[key])
        skip = source.skip_empty or task.skips_empty
        rows = drop_empty(loaded[key], resolved, what) if skip else loaded[key]
        keys = content_keys(rows, resolved)
        free = ~np.isin(keys, np.concatenate(taken)) if taken else np.ones(len(rows), dtype=bool)
        if what == "pool" and shared <= 1 and (~free).any():
            logger.warning(
                "pool: %s left out: the text is also in test or validation", count(int((~free).sum()), "row")
            )
        chosen = np.flatnonzero(free)[: source.rows]
        parts[what] = rows if len(chosen) == len(rows) else rows.select(chosen)
        taken.append(keys[chosen])
    known = task.resolve(parts["pool"])
    for what in sorted(parts.keys() - {"pool"}):
        known = known.joined(task.resolve(parts[what]), what)
    pool = Pool.from_dataset(parts["pool"], known, config.pool.id_column, seed_labels=config.pool.seed_labels)
    test, validation = (
        None if what not in parts else labelled(parts[what], pool.task, what) for what in ("test", "validation")
    )
    return pool, test, validation


def load_labelled(source: Source, task: Task, seed: int, what: str) -> Dataset:
    """The rows of a source with the task's inputs and encoded `labels`, by the task's names.

    Raises:
        HfalError: it cannot be read, or a label is not one of the task's.
    """
    rows = task.prepare(load_source(source))
    known = task.resolve(rows)
    if source.skip_empty or task.skips_empty:
        rows = drop_empty(rows, known, what)
    if source.rows is not None:
        rows = shuffled(rows, seed).select(range(min(source.rows, len(rows))))
    return labelled(rows, known, what)
