"""Every block of code in the documents: Python is run, YAML is checked, commands are parsed, and a guide's are run."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from datasets import Dataset
from typer.main import get_command
from typer.testing import CliRunner

from hfal import data
from hfal.bench.config import check_bench
from hfal.cli import app
from hfal.config import check_config
from hfal.config_yaml import read_yaml
from tests.conftest import NAMES, make_rows, make_tagged

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
BLOCKS = [
    (page, number, *found) for page in PAGES for number, found in enumerate(FENCE.findall((ROOT / page).read_text()))
]
SHOWN = ("", "text")
"""What is no code: trees, and what a command prints."""
ELSEWHERE = {"README.md", "docs/strategies.md"}
"""Pages whose Python runs in tests/test_docs.py."""


def of(language, pages=PAGES):
    return [
        pytest.param(page, code, id=f"{page}-{number}")
        for page, number, spoken, code in BLOCKS
        if spoken == language and page in pages
    ]


def test_every_block_has_a_test():
    assert {block[2] for block in BLOCKS} <= {"python", "yaml", "bash", *SHOWN}


@pytest.mark.parametrize(("page", "code"), of("yaml"))
def test_what_a_config_shows_is_one(page, code):
    values = read_yaml(code)
    if "sets" in values:
        values["strategies"] = [one for one in values["strategies"] if "my_strategy" not in str(one)]
        check_bench({**values, "imports": []})
        return
    base = {"output_dir": "run", "pool": {"source": "x.csv"}, "test": {"source": "y.csv"}, "budget": 100, "batch": 10}
    if values.get("mode") == "online":
        base |= {"task": {"type": "generation", "source": "s", "target": "t"}, "strategy": "idds"}
        base |= {"learner": {"type": "generate", "model": "m"}}
    check_config({"learner": {"model": "m"}} | base | values)


@pytest.mark.parametrize(("page", "code"), of("bash"))
def test_commands_are_commands(page, code):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = get_command(app).commands
    for line in code.splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        if words[0] == "make":
            assert set(words[1:]) <= targets, line
        elif words[0] == "hfal":
            commands[words[1]].make_context(words[1], words[2:]).close()
        elif words[0] == "python":
            module = Path(words[2].replace(".", "/")) if words[1] == "-m" else Path(words[1])
            assert any((ROOT / path).exists() for path in (module, module.with_suffix(".py"))), line
        else:
            assert words[:2] == ["pip", "install"], line


@pytest.fixture
def small(tmp_path, tiny_model, monkeypatch):
    """A folder of one's own, in which each model is the tiny one."""
    for place in ("hfal.models.locate", "hfal.adapting.locate"):
        monkeypatch.setattr(place, lambda model: model if Path(model).is_dir() else tiny_model)
    whole = data.demo_dataset
    monkeypatch.setattr(data, "demo_dataset", lambda *asked: whole(*asked).select(range(1600)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("page", "code"), of("python", [page for page in PAGES if page not in ELSEWHERE]))
def test_python_runs_as_it_stands(page, code, small, capsys):
    named = [f"s{row}" for row in range(60)]
    marked = [f"<e1>great</e1> and <e2>{text}</e2>" for text in make_rows(60)["text"]]
    given = {
        "sentences": make_tagged(60).add_column("sid", named),
        "marked": Dataset.from_dict({"text": marked, "label": ["Other", "Is-A"] * 30, "sentence": named}),
    }
    if page == "docs/pairs.md":
        code = code.replace("TokenClassification()", 'TokenClassification(illegal="repair")').replace("=500", "=60")
    exec(compile(code, page, "exec"), given)
    assert capsys.readouterr().out.strip()


@pytest.mark.slow
@pytest.mark.parametrize("page", ["docs/index.md", "docs/own-data.md"])
def test_a_guide_can_be_followed(page, small):
    rows = make_rows(120)
    tickets = {"body": rows["text"][:], "topic": [NAMES[label] for label in rows["label"]]}
    Dataset.from_dict(tickets).to_csv("tickets.csv", index=False)
    make_rows(50, seed=2).remove_columns("label").to_csv("texts.csv", index=False)
    for line in "".join(block[3] for block in BLOCKS if block[0] == page and block[2] == "bash").splitlines():
        words = shlex.split(line, comments=True)
        if words and words[0] == "hfal":
            options = ["--set", "budget.rows=100"] if words[1] == "run" else []
            done = CliRunner().invoke(app, [*words[1:], *options])
            assert done.exit_code == 0, (line, done.output, done.exception)
    assert yaml.safe_load(next(iter(small.glob("t*.yaml"))).read_text())["strategy"] == "auto"
