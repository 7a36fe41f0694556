"""Tables that users get: as CSV, JSON lines or Parquet, by the name of the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
from datasets import Dataset

from hfal.errors import HfalError
from hfal.files import write_file


def check_kind(path: Path) -> None:
    """Refuse a name that does not say how to write, before any work."""
    if path.suffix not in WRITERS:
        raise HfalError(f"cannot write {path}: its name must end in {', '.join(WRITERS)}")


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table, whole or not at all."""
    check_kind(path)
    write_file(path, lambda temporary: WRITERS[path.suffix](Dataset(table), temporary))


def without_pictures(table: pa.Table) -> pa.Table:
    """The same with the names of pictures in place of their content."""
    for place, field in enumerate(table.schema):
        kind = field.type
        if pa.types.is_struct(kind) and {kind.field(i).name for i in range(kind.num_fields)} == {"bytes", "path"}:
            names = table[field.name].combine_chunks()
            parts = [names.chunk(i) for i in range(names.num_chunks)] if isinstance(names, pa.ChunkedArray) else [names]
            table = table.set_column(place, field.name, pa.chunked_array([part.field("path") for part in parts]))
    return table


def _to_csv(rows: Dataset, path: Path) -> None:
    """Lists as JSON, which is what a cell can hold."""
    table = rows.data.table
    for place, field in enumerate(table.schema):
        if pa.types.is_list(field.type) or pa.types.is_large_list(field.type):
            cells = [json.dumps(value, ensure_ascii=False) for value in table[field.name].to_pylist()]
            table = table.set_column(place, field.name, pa.array(cells, pa.string()))
    Dataset(table).to_csv(path)


def _to_jsonl(rows: Dataset, path: Path) -> None:
    rows.to_json(path, force_ascii=False)


def _to_parquet(rows: Dataset, path: Path) -> None:
    rows.to_parquet(path)


WRITERS: dict[str, Callable[[Dataset, Path], None]] = {".csv": _to_csv, ".jsonl": _to_jsonl, ".parquet": _to_parquet}
