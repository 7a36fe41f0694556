"""Files that are whole or absent: written beside their place, flushed, then renamed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from filelock import FileLock, Timeout

from hfal.errors import HfalError


def taken(path: Path, otherwise: str) -> FileLock:
    """A lock on a file, for this process alone.

    Raises:
        HfalError: another process has it: `otherwise`.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise HfalError(otherwise) from None
    return lock


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system says of a full or read-only disk into one clear line."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise HfalError(
            f"cannot write {path}: {reason}. Nothing that was written before is lost: put this right and run "
            "the same command again"
        ) from error


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, flush it to disk and give it its name."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with disk_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(temporary)
            with open(temporary, "rb") as handle:
                os.fsync(handle.fileno())
            os.replace(temporary, path)
            _flush_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """UTF-8 text, whole or not at all."""
    write_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_yaml(path: Path, value: Any) -> None:
    """YAML in the order of the keys, whole or not at all."""
    write_text(path, yaml.safe_dump(value, sort_keys=False, allow_unicode=True))


def write_parquet(path: Path, table: pa.Table) -> None:
    """A Parquet file, whole or not at all."""
    write_file(path, lambda temporary: pq.write_table(table, temporary))


def write_folder(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary folder, then put it in the place of `path`."""
    temporary = path.with_name(f".{path.name}.tmp")
    old = path.with_name(f".{path.name}.old")
    with disk_errors(path):
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
        temporary.mkdir(parents=True)
        write(temporary)
        if path.exists():
            os.replace(path, old)
        os.replace(temporary, path)
        shutil.rmtree(old, ignore_errors=True)


def read_json(path: Path) -> Any:
    """The value in a JSON file; a damaged file is an error that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise HfalError(f"{path} is damaged: {error}") from error


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
