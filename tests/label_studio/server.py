"""A real Label Studio on loopback, from an environment of its own.

    python -m tests.label_studio.server install    # once: .venv-label-studio

Its start and its API are what a team uses: nothing of it is imitated.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

VERSION = "1.23.2"
ENVIRONMENT = Path(__file__).parents[2] / ".venv-label-studio"
PATIENCE = 180


def program() -> Path | None:
    """`label-studio`, where it is installed."""
    named = os.environ.get("LABEL_STUDIO")
    known = [Path(named)] if named else [ENVIRONMENT / "bin" / "label-studio"]
    return next((path for path in known if path.exists()), None)


def install() -> None:
    """Into an environment of its own: its pins would fight with ours."""
    subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
    subprocess.run([ENVIRONMENT / "bin" / "pip", "install", "-q", f"label-studio=={VERSION}"], check=True)


class LabelStudio:
    """The calls that a round needs."""

    def __init__(self, address: str, token: str) -> None:
        self.address = address
        self.token = token

    def call(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Token {self.token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read()[:500]!r}") from None

    def project(self, config: str, tasks: list[Any]) -> tuple[int, list[dict[str, Any]]]:
        """A project with these tasks; its id, and the tasks with theirs."""
        made = self.call("POST", "/api/projects", {"title": "hfal round", "label_config": config})
        number = int(made["id"])
        self.call("POST", f"/api/projects/{number}/import?return_task_ids=true", tasks)
        listed = self.call("GET", f"/api/tasks?project={number}&page_size=1000&fields=all")
        return number, listed["tasks"]

    def annotate(self, task: int, result: list[Any], **more: Any) -> None:
        self.call("POST", f"/api/tasks/{task}/annotations/", {"result": result, "lead_time": 2.5, **more})

    def export(self, project: int) -> Any:
        return self.call("GET", f"/api/projects/{project}/export?exportType=JSON")


@contextmanager
def running(folder: Path) -> Iterator[LabelStudio]:
    """Started with a fresh data base in `folder`, stopped afterwards."""
    started = program()
    assert started is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(20)
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("HF_", "PYTHON"))},
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder),
        "COLLECT_ANALYTICS": "false",
    }
    command = [started, "start", "--no-browser", "--port", str(port), "--internal-host", "127.0.0.1"]
    command += ["--username", "a@example.org", "--password", "secret123", "--user-token", token]
    command += ["--enable-legacy-api-token"]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(PATIENCE * 2):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()[-2000:]
                time.sleep(0.5)
        else:
            raise AssertionError((folder / "log").read_text()[-2000:])
        yield LabelStudio(address, token)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


if __name__ == "__main__":
    if sys.argv[1:] != ["install"]:
        sys.exit(__doc__)
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    install()
