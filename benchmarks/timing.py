"""Timing helpers: the best of a few runs, and the peak of a process of its own."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable
from typing import Any

Row = tuple[str, str, str, str, str]


def best(work: Callable[[], Any], runs: int = 3) -> float:
    """Seconds of the fastest run: what the machine can do when nothing else disturbs it."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def _measure(work: Callable[[], Any], pipe: Any) -> None:
    work()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pipe.send(before)


def peak_megabytes(work: Callable[[], Any]) -> float:
    """Peak resident memory of a forked process that does the work, less that of one that does nothing."""
    context = multiprocessing.get_context("fork")
    peaks = []
    for job in (lambda: None, work):
        ours, theirs = context.Pipe()
        process = context.Process(target=_measure, args=(job, theirs))
        process.start()
        peaks.append(ours.recv())
        process.join()
    return max(0.1, (peaks[1] - peaks[0]) / 1024)


def seconds(value: float) -> str:
    """`0.123 s`."""
    return f"{value:.3g} s"
