"""A Hub on loopback, and runs to share."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from hfal.config import load_config
from hfal.hub import repo
from hfal.labeling import open_work
from hfal.labeling.importing import import_file
from hfal.running import run_config
from tests.hub.server import TOKEN, Hub, running
from tests.labeling.conftest import answer_all, write_project


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """The clients of this process, and those that it starts, speak to it."""
    with running() as server:
        environment = {
            "HF_ENDPOINT": server.url,
            "HF_TOKEN": TOKEN,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0",
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        constants = huggingface_hub.constants
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, server.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
        monkeypatch.setattr(repo, "sleep", lambda seconds: None)
        huggingface_hub.utils.close_session()
        yield server
        huggingface_hub.utils.close_session()


def label_round(folder: Path, kind: str = "text", who: str = "ann") -> None:
    """Answer the round that waits as someone who knows the truth."""
    import_file(folder, answer_all(folder, kind, who))


def go_on(folder: Path) -> None:
    run_config(load_config(folder), lambda part, done: None)


@pytest.fixture(scope="session")
def made_run(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> Callable[[str], Path]:
    """A run of each kind with two finished rounds and one that waits."""
    found: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in found:
            base = tmp_path_factory.mktemp(f"shared-{kind}")
            run_config(load_config(write_project(base, tiny_model, kind, {})), lambda part, done: None)
            for _ in range(2):
                label_round(base / "run", kind)
                go_on(base / "run")
            found[kind] = base
        return found[kind]

    return make


@pytest.fixture
def shared(made_run: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    """A copy of such a run."""

    def make(kind: str = "text", name: str = "mine") -> Path:
        folder = tmp_path / name
        shutil.copytree(made_run(kind) / "run", folder)
        return folder

    return make


def answers_in(folder: Path) -> dict[str, Any]:
    return open_work(folder).answers.current()
