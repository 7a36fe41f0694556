"""Runs that wait for people, on a tiny model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import Dataset

from hfal.config import load_config
from hfal.labeling import open_work
from hfal.running import run_config
from tests.conftest import NAMES, TAGS, make_rows, make_tagged

Waiting = Callable[..., Path]


def truth_of(kind: str) -> dict[str, Any]:
    """text, or words joined -> label, as names."""
    if kind == "words":
        rows = make_tagged(120)
        return {" ".join(row["tokens"]): [TAGS[tag] for tag in row["ner_tags"]] for row in rows}
    labels = {row["text"]: NAMES[row["label"]] for row in make_rows(120)}
    return {text: [name, "fine"] if kind == "multi" else name for text, name in labels.items()}


def write_project(folder: Path, model: str, kind: str, changes: dict[str, Any]) -> Path:
    """Rows without labels and a config for them."""
    if kind == "words":
        make_tagged(120).remove_columns("ner_tags").to_json(folder / "rows.jsonl")
        task: dict[str, Any] = {"type": "token_classification", "label_names": TAGS}
    else:
        Dataset.from_dict({"text": make_rows(120)["text"][:]}).to_json(folder / "rows.jsonl")
        task = {"type": "text_classification", "label_names": NAMES, "multi_label": kind == "multi"}
    config = {
        "output_dir": str(folder / "run"),
        "pool": {"source": str(folder / "rows.jsonl")},
        "task": task,
        "learner": {"type": "frozen_head", "model": model},
        "oracle": "people",
        "start": {"strategy": "random"},
        "budget": {"rows": 36},
        "batch": {"rows": 12},
        **changes,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> Callable[[str], Path]:
    """Projects of each kind, run until the first round waits."""
    found: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in found:
            found[kind] = tmp_path_factory.mktemp(kind)
            path = write_project(found[kind], tiny_model, kind, {})
            run_config(load_config(path), lambda part, done: None)
        return found[kind]

    return make


@pytest.fixture
def waiting(made: Callable[[str], Path], tmp_path: Path) -> Waiting:
    """A copy of a run folder in which round 0 waits; `people` changes that section of its config."""

    def make(kind: str = "text", **people: Any) -> Path:
        folder = tmp_path / kind
        shutil.copytree(made(kind) / "run", folder)
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config["people"] = {"overlap": 1, "resolve": "majority", "suggest": True} | people
        config["output_dir"] = str(folder)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        return folder

    return make


def text_of(row: dict[str, Any]) -> str:
    return " ".join(row["tokens"]) if "tokens" in row else row["text"]


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """The rows that wait, in order of choice."""
    return list(open_work(folder).rows.values())


def answer_all(folder: Path, kind: str = "text", who: str = "ann", rows: list[dict[str, Any]] | None = None) -> Path:
    """What people who know the truth would say of the rows that wait (or of these), in a file."""
    truth, path = truth_of(kind), folder.parent / "labels.jsonl"
    lines = [
        {"id": row["id"], "label": truth[text_of(row)], "annotator": who, "seconds": 2.5}
        for row in (rows_of(folder) if rows is None else rows)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path
