"""A real Chromium, and label pages for it to look at."""

from __future__ import annotations

import shutil
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import forked, free_port

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page in a profile of its own, logs in by name, and fails the test on any error or foreign request."""
    contexts, problems = [], []

    def make(address: str, name: str | None = "Ann", **options: Any) -> Any:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: problems.append(request.url) if _foreign(request.url) else None)
        page.goto(address)
        if name is not None:
            page.fill("#hfal-name", name)
            page.keyboard.press("Enter")
            page.wait_for_selector(".hfal .row p")
        return page

    yield make
    for context in contexts:
        context.close()
    assert problems == []


def _foreign(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1", "data:", "blob:"))


class Served:
    """`hfal label`, as a process of its own that can be killed and started again on its port."""

    def __init__(self, folder: Path, said: Path, environment: dict[str, str]) -> None:
        self.folder, self.port, self.said, self.environment = folder, free_port(), said, environment
        self.address = f"http://127.0.0.1:{self.port}/"
        self.start()

    def start(self) -> None:
        self.process = forked("label", self.folder, "--port", self.port, said=self.said, **self.environment)
        for _ in range(600):
            try:
                urllib.request.urlopen(self.address, timeout=5).close()
                return
            except OSError:
                assert self.process.is_alive(), self.said.read_text()
                time.sleep(0.1)
        raise AssertionError("the page did not come up")

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    started: list[Served] = []

    def make(folder: Path, **environment: str) -> Served:
        started.append(Served(folder, tmp_path / f"said-{len(started)}", environment))
        return started[-1]

    yield make
    for one in started:
        one.kill()
