"""Imports go one way: functional <- strategies <- loop; signals <- inference <- learners <- loop; cli on top."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "hfal"
LAYERS = [
    {"errors", "functional", "clock", "quiet", "bringing", "versions"},
    {"signals", "compute", "files", "pictures", "tables", "conll", "config_errors", "config_yaml"},
    {"neighbours", "nets", "linear", "folds"},
    {"strategies", "demo", "demo_writing"},
    {"tasks", "answers"},
    {"pool", "dropout", "agreement", "few"},
    {"tokens", "oracles", "rounds", "budget", "auditing", "kept"},
    {"alignment", "people", "asking"},
    {"inference", "models"},
    {"looks", "frozen", "probe", "shards", "embeddings", "sides", "marks", "fusion", "pixels"},
    {"training_config"},
    {"examples"},
    {"training"},
    {"beside"},
    {
        "learners",
        "aligning",
        "consistency",
        "adapting",
        "visual",
        "reading",
        "generating",
        "spans_read",
        "seen_writing",
    },
    {"evaluation"},
    {"measuring", "seeing", "purse", "apart", "taught"},
    {"loop", "online"},
    {"joint"},
    {"config", "config_tasks", "config_learners"},
    {"data", "report"},
    {"annotators", "assisted"},
    {"running"},
    {"labeling", "bench"},
    {"hub"},
    {"output", "predicting", "starting", "analysis", "stream", "catalog", "candidates"},
    {"cli"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def runtime_imports(path):
    """Modules of hfal that a file imports when it runs (what only type checkers see is left out)."""
    tree = ast.parse(path.read_text())
    typing_only = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node not in typing_only and (node.module or "").startswith("hfal."):
            yield node.module.split(".")[1]


def area(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


FILES = [path for path in sorted(ROOT.rglob("*.py")) if area(path) not in ("__init__", "__main__")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_from_below(path):
    here = area(path)
    for imported in runtime_imports(path):
        assert imported == here or LEVEL[imported] <= LEVEL[here], f"{here} imports {imported}"


def test_every_area_has_a_layer():
    assert {area(path) for path in FILES} == set(LEVEL)


def test_functional_stands_alone():
    for path in (ROOT / "functional").glob("*.py"):
        assert set(runtime_imports(path)) <= {"functional"}
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert {name.split(".")[0] for name in names} <= {
                "torch",
                "numpy",
                "hfal",
                "__future__",
                "collections",
                "dataclasses",
                "math",
                "typing",
            }


def test_help_does_not_wait_for_torch():
    code = "import sys, hfal.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def third_party(path):
    """Top names of what a file imports from outside the standard library and hfal, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
        yield from {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"hfal"}


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(project):
    """Names of the distributions that pyproject asks for: of the core, and of any extra."""
    extras = [each for group in project["optional-dependencies"].values() for each in group]
    return tuple(
        {canonical(re.match(r"[\w.-]+", each)[0]) for each in asked} for asked in (project["dependencies"], extras)
    )


def test_what_is_imported_is_asked_for_by_name():
    """A module that came only with something else is gone the day that the other drops it (as httpx did)."""
    core, extras = declared(tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["project"])
    of_module = packages_distributions()
    for path in ROOT.rglob("*.py"):
        for module in third_party(path):
            owners = {canonical(each) for each in of_module.get(module, [module])}
            assert owners & (core | extras), f"{path.relative_to(ROOT)} imports {module}, which pyproject does not name"
