"""Timing helpers: the best of a few runs, and the peak of resident memory."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil

Row = tuple[str, str, str, str, str]


def best(work: Callable[[], Any], runs: int = 3) -> float:
    """Seconds of the fastest run: what the machine can do when nothing else disturbs it."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def peak_megabytes(work: Callable[[], Any]) -> float:
    """How far resident memory rises above its level before the work, looked at a thousand times a second."""
    process = psutil.Process()
    gc.collect()
    before = peak = process.memory_info().rss
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.001):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return max(0.1, (peak - before) / 2**20)


def seconds(value: float) -> str:
    """`0.123 s`."""
    return f"{value:.3g} s"
