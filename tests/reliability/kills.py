"""SIGKILL at random moments: nothing lost, nothing doubled, the same picks.

    python -m tests.reliability.kills [--kills 200] [--seed 0]

A process that has everything imported forks children, which run, label, import, push and pull for real, and kills each
at a random moment of its work. Then the same command is run to its end, and what is on disk is held against what
must be there.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hfal.answers import Answers
from hfal.config import load_config
from hfal.hub import pull, push
from hfal.labeling import open_work
from hfal.labeling.desk import Desk
from hfal.labeling.importing import import_file
from hfal.running import run_config
from tests.conftest import save_tiny_model
from tests.hub.conftest import go_on, label_round
from tests.hub.server import TOKEN
from tests.labeling.conftest import answer_all, truth_of, write_project
from tests.test_cli import selections

NAME = "team/run"


class Scene:
    """A run whose first round is labelled and whose second waits, to be copied for each kill."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.truth = truth_of("text")
        model = str(save_tiny_model(base / "tiny"))
        run_config(load_config(write_project(base, model, "text", {})), lambda part, done: None)
        self.template = base / "run"
        label_round(self.template)
        go_on(self.template)
        self.copies = 0

    def copy(self) -> Path:
        self.copies += 1
        folder = self.base / f"copy-{self.copies}"
        shutil.copytree(self.template, folder)
        return folder

    def drop(self, folder: Path) -> None:
        shutil.rmtree(folder)


MIDDLE: list[bool] = []
"""Of each kill, whether it came before the work had ended."""


def killed(work: Callable[[Callable[[Any], None]], None], after: float) -> list[Any]:
    """What a child has told before it was killed (or had ended)."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        try:
            work(lambda value: os.write(writer, (json.dumps(value) + "\n").encode()) and None)
        finally:
            os._exit(0)
    os.close(writer)
    end, told = time.monotonic() + after, b""
    while (left := end - time.monotonic()) > 0:
        ready, _, _ = select.select([reader], [], [], left)
        if ready:
            part = os.read(reader, 65536)
            if not part:
                break
            told += part
    MIDDLE.append(end <= time.monotonic())
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while part := os.read(reader, 65536):
        told += part
    os.close(reader)
    return [json.loads(line) for line in told.splitlines(keepends=True) if line.endswith(b"\n")]


def lines_of(folder: Path) -> list[dict[str, Any]]:
    found = []
    for path in folder.glob("rounds/*/answers/*.jsonl"):
        found += [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    return found


def kill_run(scene: Scene, after: float) -> None:
    """`hfal run` over a labelled round: afterwards the same rounds with the same picks."""
    folder = scene.copy()
    label_round(folder)
    killed(lambda tell: go_on(folder), after)
    go_on(folder)
    reference = scene.base / "reference"
    if not reference.exists():
        shutil.copytree(scene.template, reference)
        label_round(reference)
        go_on(reference)
    assert selections(folder) == selections(reference), "other picks"
    for number in (0, 1):
        one, other = (
            open_work(place, number).run.ledger.labels(number).select(["id", "label"]) for place in (folder, reference)
        )
        assert one.equals(other), "other labels"
    scene.drop(folder)


def kill_page(scene: Scene, after: float) -> None:
    """Answers on the page: each that was confirmed is there, once."""
    folder = scene.copy()

    def work(tell: Callable[[Any], None]) -> None:
        desk = Desk(folder)
        said = desk.start("ann")
        while said["row"]:
            row = said["row"]
            label = scene.truth[row["texts"][0][1]]
            said = desk.answer("ann", {"id": row["id"], "label": label, "seconds": 1.0, "nonce": row["id"]})
            tell([row["id"], label])
            time.sleep(0.02)

    confirmed = killed(work, after)
    held = Answers(folder / "rounds" / "0001").current()
    for name, label in confirmed:
        assert held[name]["ann"].label == label, "a confirmed answer is lost"
    assert len(held) <= len(confirmed) + 1, "more than was answered"
    desk = Desk(folder)
    said = desk.start("ann")
    assert said["done"] == len(held)
    while said["row"]:
        row = said["row"]
        said = desk.answer("ann", {"id": row["id"], "label": scene.truth[row["texts"][0][1]]})
    desk.close()
    kept = [line["id"] for line in lines_of(folder) if line["source"] == "page"]
    assert len(kept) == len(set(kept)) == 12, "doubled or lost"
    scene.drop(folder)


def kill_import(scene: Scene, after: float) -> None:
    """All of a file or nothing; the same file again makes it whole."""
    folder = scene.copy()
    path = answer_all(folder, who="bob")
    killed(lambda tell: import_file(folder, path) and None, after)
    found = [line for line in lines_of(folder) if line["annotator"] == "bob"]
    assert len(found) in (0, 12), "half a file"
    import_file(folder, path)
    found = [line["id"] for line in lines_of(folder) if line["annotator"] == "bob"]
    assert len(found) == len(set(found)) == 12
    scene.drop(folder)


def share(folder: Path, name: str) -> None:
    push(folder, name, licence="mit", ask=lambda question: True)


def kill_push(scene: Scene, after: float) -> None:
    """The repo has each round once and whole."""
    from huggingface_hub import HfApi

    folder, name = scene.copy(), f"team/push{scene.copies}"
    killed(lambda tell: share(folder, name), after)
    share(folder, name)
    files = set(HfApi().list_repo_files(name, repo_type="dataset"))
    assert {"rounds/0000/queried-00000-of-00001.parquet", "rounds/0000/labeled-00000-of-00001.parquet"} <= files
    commits = [commit for commit in hub_commits(name) if commit.startswith("Round")]
    assert commits == ["Round 0: labelled", "Round 1: 12 rows to label"], commits
    scene.drop(folder)


def kill_pull(scene: Scene, after: float) -> None:
    """All labels that others pushed, once."""
    from huggingface_hub import CommitOperationAdd, HfApi

    folder, name = scene.copy(), f"team/pull{scene.copies}"
    share(folder, name)
    lines = answer_all(folder, who="eve").read_bytes()
    operation = CommitOperationAdd("rounds/0001/labeled.jsonl", lines)
    HfApi().create_commit(name, [operation], commit_message="labels", repo_type="dataset")
    killed(lambda tell: pull(folder) and None, after)
    assert len([line for line in lines_of(folder) if line["annotator"] == "eve"]) in (0, 12), "half of them"
    pull(folder)
    found = [line["id"] for line in lines_of(folder) if line["annotator"] == "eve"]
    assert len(found) == len(set(found)) == 12
    scene.drop(folder)


def hub_commits(name: str) -> list[str]:
    """Titles of the test Hub's commits, oldest first."""
    import urllib.request

    url = f"{os.environ['HF_ENDPOINT']}/api/datasets/{name}/commits/main"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return [commit["title"] for commit in reversed(json.loads(answer.read()))]


KINDS: dict[str, tuple[Callable[[Scene, float], None], float]] = {
    "run": (kill_run, 1.0),
    "page": (kill_page, 0.5),
    "import": (kill_import, 0.08),
    "push": (kill_push, 1.0),
    "pull": (kill_pull, 0.6),
}
"""What is killed, and within how many seconds."""


def main() -> None:
    """Kill and tell."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance, counts = random.Random(arguments.seed), dict.fromkeys(KINDS, 0)
    with tempfile.TemporaryDirectory() as base:
        scene = Scene(Path(base))
        for kind in itertools.cycle(KINDS):
            if sum(MIDDLE) >= arguments.kills:
                break
            work, longest = KINDS[kind]
            work(scene, chance.uniform(0, longest))
            counts[kind] += MIDDLE[-1]
            print(f"\r{sum(MIDDLE)} of {arguments.kills}", end="", file=sys.stderr, flush=True)
    late = len(MIDDLE) - sum(MIDDLE)
    print(
        f"\n{sum(MIDDLE)} kills in the middle of the work ({counts}; {late} more came too late): 0 labels lost, ",
        end="",
    )
    print("0 doubled, the same picks")


def with_hub(command: list[str]) -> int:
    """Run a command beside a test Hub that is a process of its own."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.hub.server"], stdout=subprocess.PIPE, text=True, stdin=subprocess.PIPE
    )
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    with tempfile.TemporaryDirectory() as home:
        environment = {
            **os.environ,
            "HF_ENDPOINT": url,
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HOME": home,
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "KILLS_INSIDE": "1",
        }
        try:
            return subprocess.run(command, env=environment, check=False).returncode
        finally:
            server.kill()
            server.wait()


if __name__ == "__main__":
    if os.environ.get("KILLS_INSIDE"):
        main()
    else:
        sys.exit(with_hub([sys.executable, "-m", "tests.reliability.kills", *sys.argv[1:]]))
