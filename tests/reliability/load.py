"""Ten people label at once while the loop trains beside the page: how long does an answer take, and is any lost?

    python -m tests.reliability.load [--people 10] [--labels 1000]

The page is the one that `hfal loop --label` serves; each simulated person speaks to it over HTTP as the page's own
script does. Rounds are finished, trained and chosen in a child process meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml
from datasets import Dataset

from tests.conftest import NAMES, make_rows, save_tiny_model
from tests.processes import free_port


class Person(threading.Thread):
    """Labels until the budget is spent; keeps what was confirmed and how long each answer took."""

    def __init__(self, address: str, component: int, name: str, truth: dict[str, str], wanted: int) -> None:
        super().__init__(daemon=True)
        self.address, self.component, self.who, self.truth = address, component, name, truth
        self.wanted = wanted
        self.confirmed: dict[str, str] = {}
        self.times: list[float] = []

    def ask(self, function: str, said: Any = None) -> dict[str, Any]:
        body = {
            "data": {"who": self.who, "said": said},
            "fn_name": function,
            "component_id": self.component,
            "session_hash": self.who,
        }
        request = urllib.request.Request(
            f"{self.address}gradio_api/component_server",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            found: dict[str, Any] = json.loads(answer.read())
        assert "error" not in found, found
        return found

    def run(self) -> None:
        said = self.ask("start")
        while DONE["labels"] < self.wanted:
            row = said["row"]
            if row is None:
                time.sleep(0.2)
                said = self.ask("next")
                continue
            label = self.truth[row["texts"][0][1]]
            before = time.perf_counter()
            said = self.ask("answer", {"id": row["id"], "label": label, "seconds": 1.0, "nonce": row["id"]})
            self.times.append(time.perf_counter() - before)
            self.confirmed[row["id"]] = label
            with LOCK:
                DONE["labels"] += 1
            time.sleep(0.05)


LOCK = threading.Lock()
DONE = {"labels": 0}


def main() -> None:
    """Label, and tell."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--people", type=int, default=10)
    parser.add_argument("--labels", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as base:
        report(*work(Path(base), arguments.people, arguments.labels), arguments.labels)


def work(base: Path, people: int, labels: int) -> tuple[Path, list[Person], float]:
    """The run folder, the people with what they did, and how long it took."""
    rows = make_rows(2 * labels)
    truth = {text: NAMES[label] for text, label in zip(rows["text"], rows["label"], strict=True)}
    Dataset.from_dict({"text": rows["text"][:]}).to_json(base / "rows.jsonl")
    config = {
        "output_dir": str(base / "run"),
        "pool": {"source": str(base / "rows.jsonl")},
        "task": {"type": "text_classification", "label_names": NAMES},
        "learner": {"type": "frozen_head", "model": str(save_tiny_model(base / "tiny"))},
        "oracle": "people",
        "people": {"ahead": True},
        "start": {"strategy": "random"},
        "budget": {"rows": labels},
        "batch": {"rows": 50},
    }
    (base / "config.yaml").write_text(yaml.safe_dump(config))
    subprocess.run([sys.executable, "-m", "hfal", "run", base / "config.yaml"], check=True, capture_output=True)
    command = [sys.executable, "-m", "hfal", "loop", str(base / "run"), "--label", "--port", "0"]
    command[-1] = str(free_port())
    loop = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ})
    address = f"http://127.0.0.1:{command[-1]}/"
    try:
        component = _component(address)
        workers = [Person(address, component, f"p{number}", truth, labels) for number in range(people)]
        start = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(1200)
        took = time.perf_counter() - start
        loop.wait(120)
    finally:
        loop.terminate()
        loop.wait()
    held = base / "run"
    return held, workers, took


def report(folder: Path, workers: list[Person], took: float, labels: int) -> None:
    """Every confirmed answer is in the rounds, and how long they took."""
    kept: dict[str, str] = {}
    for path in sorted(folder.glob("rounds/*/labels.parquet")):
        for row in pq.read_table(path).to_pylist():
            kept[row["id"]] = row["label"]
    confirmed = {name: label for worker in workers for name, label in worker.confirmed.items()}
    twice = sum(len(worker.confirmed) for worker in workers) - len(confirmed)
    lost = [name for name, label in confirmed.items() if kept.get(name) != label]
    times = sorted(1000 * t for worker in workers for t in worker.times)
    print(
        f"{len(confirmed)} labels of {len(workers)} people in {took:.0f} s: {len(lost)} lost, {twice} asked twice; "
        f"an answer took {statistics.median(times):.0f} ms (median), {times[int(0.95 * len(times))]:.0f} ms (95%)"
    )
    assert not lost and not twice and len(confirmed) >= labels


def _component(address: str) -> int:
    """Wait for the page; the number of its one component."""
    for _ in range(600):
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                page = answer.read().decode()
            return int(re.search(r'"id":\s*(\d+),\s*"type":\s*"html"', page)[1])  # type: ignore[index]
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the page did not come up")


if __name__ == "__main__":
    main()
