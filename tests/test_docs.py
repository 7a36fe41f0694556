"""The code that the documents show runs as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import Dataset

import hfal
from hfal import ActiveLearner, FrozenHead, Pool, TextClassification, TrainingConfig
from hfal.config import RunConfig
from hfal.strategies import entries
from hfal.strategies.base import _REGISTRY
from tests.conftest import NAMES, make_rows, save_tiny_model

ROOT = Path(__file__).parent.parent
BRIEF = {"num_train_epochs": 1, "min_steps": 10, "max_cycles": 1}


def python_blocks(document):
    return re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)


@pytest.mark.slow
def test_the_readme_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    data = make_rows(640)
    sentiments = ["negative", "neutral", "positive"]
    labels = [sentiments[label] for label in data["label"]]
    Dataset.from_dict({"text": data["text"][:], "label": labels}).to_csv(tmp_path / "tweets.csv", index=False)
    save_tiny_model(tmp_path / "distilbert" / "distilbert-base-uncased")  # a small model where the name points
    monkeypatch.chdir(tmp_path)

    def brief(**settings):  # how well it learns is not asked here
        return TrainingConfig(**settings).model_copy(update=BRIEF)

    monkeypatch.setattr(hfal, "TrainingConfig", brief)
    (code,) = python_blocks("README.md")
    exec(compile(code, "README.md", "exec"), {})
    lines = capsys.readouterr().out.strip().splitlines()
    assert [int(line.split()[0]) for line in lines] == list(range(50, 501, 50))
    assert (tmp_path / "my-model" / "model.safetensors").exists()
    assert (tmp_path / "runs" / "tweets" / "rounds" / "0009" / "round.json").exists()


def test_the_strategy_of_the_docs_runs_and_is_short(rows, test_rows, tiny_model):
    (code,) = python_blocks("docs/strategies.md")
    assert len(code.splitlines()) <= 30
    try:
        exec(compile(code, "strategies.md", "exec"), {})
        pool = Pool.from_dataset(rows, TextClassification(label_names=NAMES))
        for spec in ("novel_margin", "novel_margin>kmeans(prefilter=3)"):
            active = ActiveLearner(pool.copy(), FrozenHead(tiny_model), spec, test=test_rows, budget=20, batch_size=10)
            assert [r.labeled for r in active] == [10, 20]
    finally:
        _REGISTRY.pop("novel_margin", None)


def test_every_strategy_stands_in_the_docs():
    text = (ROOT / "docs" / "strategies.md").read_text()
    for entry in entries():
        assert f"`{entry.name}" in text, entry.name


def test_every_key_of_the_config_stands_in_the_docs():
    text = (ROOT / "docs" / "configuration.md").read_text()

    def keys(model, prefix=""):
        for name, field in model.model_fields.items():
            yield f"{prefix}{field.alias or name}"

    for key in keys(RunConfig):
        assert f"`{key}`" in text, key


def test_links_between_documents_lead_somewhere():
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!http)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert "FewLabels" in (tmp_path / "site" / "api" / "index.html").read_text()
