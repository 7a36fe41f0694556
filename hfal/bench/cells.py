"""The runs of a benchmark: each known by a hash of all that decides it, run once, and kept."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from datasets import Dataset
from tqdm.auto import tqdm

from hfal.bench.config import BenchConfig, Hard, Settings, StrategySection
from hfal.bench.hard import closed, harder
from hfal.bench.plain import plain_scores
from hfal.bringing import bring_in
from hfal.compute import most_runs, own_device
from hfal.config import RunConfig, check_config
from hfal.data import build_data
from hfal.errors import HfalError, listing
from hfal.evaluation import Curve
from hfal.files import read_json, taken, write_json
from hfal.oracles import Simulated
from hfal.pool import Pool, content_keys
from hfal.quiet import silence_libraries
from hfal.running import Part, active_of
from hfal.tasks.labels import check_columns
from hfal.versions import versions

RESULT = "result.json"
RUN_BYTES = 6 * 2**30
"""Of a GPU's memory for each run that goes on beside others."""


@dataclass(frozen=True)
class Cell:
    """One run: a data set, a learner, a strategy, a seed."""

    data: str
    learner: str
    strategy: str
    seed: int
    folder: Path
    config: dict[str, Any]
    hard: dict[str, Any] | None
    is_baseline: bool

    @property
    def result(self) -> dict[str, Any] | None:
        """What came of it; None before it is done."""
        path = self.folder / RESULT
        return read_json(path) if path.exists() else None

    def curve(self, metric: str, over: str = "spent") -> Curve:
        """The scores of its rounds over what had been spent, or over `labels`.

        Raises:
            HfalError: the task has no such metric.
        """
        result = self.result
        assert result is not None
        rounds = result["rounds"]
        if metric not in rounds[-1]["scores"]:
            known = listing(rounds[-1]["scores"])
            raise HfalError(f"sets.{self.data}.metric: there is no {metric!r}; there are: {known}")
        return Curve(tuple(float(r[over]) for r in rounds), tuple(r["scores"][metric] for r in rounds))


Data = tuple[Pool, Dataset]


def prepare(config: BenchConfig) -> dict[str, dict[str, Any]]:
    """Read each data set once: how many rows it has, its main metric, and a fingerprint of texts and labels."""
    found = {}
    _data.cache_clear()  # files may be others by now
    for name, section in config.sets.items():
        run = config.run_of(name, next(iter(config.learners.values())), config.strategies[0])
        pool, test = _data(_key(run, section.hard))
        check_columns(pool.dataset, [pool.task.label])
        digest = hashlib.blake2b(digest_size=16)
        for rows, label in ((pool.dataset, pool.task.label), (test, "labels")):
            digest.update(content_keys(rows, pool.task).tobytes())
            digest.update(json.dumps(rows[label], default=str).encode())
        found[name] = {
            "rows": len(pool),
            "test_rows": len(test),
            "metric": section.metric or pool.task.main_metric,
            "classes": list(pool.task.classes),
            "fingerprint": digest.hexdigest(),
        }
    return found


def cells_of(
    config: BenchConfig, data: dict[str, dict[str, Any]], best: Mapping[tuple[str, str], Settings] | None = None
) -> list[Cell]:
    """All runs, seed by seed: what was done before an interruption can be compared.

    Args:
        config: the benchmark.
        data: what `prepare` found.
        best: settings of a data set's learner, where they were tried.
    """
    found = []
    for seed in range(config.seed, config.seed + config.seeds):
        for name in config.sets:
            for learner in config.learners:
                section = config.learner_with(learner, (best or {}).get((name, learner), {}))
                for strategy in config.strategies:
                    run = config.run_of(name, section, strategy)
                    found.append(cell_of(config, data, name, learner, strategy, seed, run))
    return found


def cell_of(
    config: BenchConfig,
    data: dict[str, dict[str, Any]],
    name: str,
    learner: str,
    strategy: StrategySection,
    seed: int,
    run: RunConfig,
) -> Cell:
    """A run with its place, which all that decides its numbers is in."""
    record, hard = run.record(), config.sets[name].hard
    made_of = {"run": record, "seed": seed, "data": data[name]["fingerprint"], "versions": versions()}
    digest = hashlib.blake2b(json.dumps(made_of, sort_keys=True).encode(), digest_size=10).hexdigest()
    return Cell(
        data=name,
        learner=learner,
        strategy=strategy.name,
        seed=seed,
        folder=Path(config.output_dir) / "cells" / digest,
        config=record,
        hard=None if hard is None else hard.model_dump(),
        is_baseline=strategy.name == config.baseline,
    )


def run_cells(config: BenchConfig, cells: Sequence[Cell], what: str = "runs") -> None:
    """Run what is not done yet, several at a time.

    Of each data set and learner one run goes first: it embeds what the others read.

    Raises:
        HfalError: a run fails (it is named), or another process runs this benchmark.
    """
    folder = Path(config.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    lock = taken(folder / ".lock", f"another process runs the benchmark in {folder}")
    try:
        missing = [cell for cell in cells if cell.result is None]
        jobs = min(config.jobs or _usual_jobs(), max(1, len(missing)))
        first = {(cell.data, cell.learner): cell for cell in reversed(missing)}
        ahead = [cell for cell in missing if cell is first[cell.data, cell.learner]]
        behind = [cell for cell in missing if cell is not first[cell.data, cell.learner]]
        done = len(cells) - len(missing)
        with tqdm(total=len(cells), initial=done, desc=what, unit="run", disable=None) as bar:
            for part in (ahead, behind):
                for cell in _together(part, jobs, folder / "cache", config.imports):
                    bar.set_postfix_str(f"{cell.data} {cell.strategy} seed {cell.seed}", refresh=False)
                    bar.update()
    finally:
        lock.release()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _usual_jobs() -> int:
    return min(_cores(), most_runs(RUN_BYTES) or _cores())


def _together(cells: Sequence[Cell], jobs: int, cache: Path, imports: Sequence[str]) -> Iterator[Cell]:
    """Run cells in processes that share the cores out, and give each back when it is done."""
    threads = max(1, _cores() // jobs)
    if jobs == 1:
        for cell in cells:
            _named(cell, partial(run_cell, cell, cache))
            yield cell
        return
    context = get_context("spawn")
    shared = threads, tuple(imports), os.getpid(), context.Value("i", 0)
    executor = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=shared)
    waiting: dict[Future[None], Cell] = {executor.submit(run_cell, cell, cache): cell for cell in cells}
    try:
        while waiting:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                cell = waiting.pop(future)
                _named(cell, future.result)
                yield cell
    finally:
        for process in list((executor._processes or {}).values()) if waiting else ():
            process.terminate()  # a run that is interrupted goes on where it was
        executor.shutdown(wait=True, cancel_futures=True)


def _named(cell: Cell, result: Callable[[], None]) -> None:
    try:
        result()
    except Exception as error:
        where = f"{cell.data}, {cell.learner}, {cell.strategy}, seed {cell.seed}"
        if isinstance(error, HfalError):
            raise HfalError(f"{where}: {error}") from None
        error.add_note(f"in the run of {where}")
        raise


def _begin(threads: int, imports: Sequence[str], parent: int, begun: Any) -> None:
    """What each process does first; `begun` counts them, and processes take GPUs in turn."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C is for the one that started this, which ends it
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    torch.set_num_threads(threads)
    with begun.get_lock():
        number, begun.value = begun.value, begun.value + 1
    own_device(number)
    silence_libraries()
    logging.getLogger("hfal").setLevel(logging.ERROR)
    for module in imports:
        bring_in(module, "imports")


def _leave_with(parent: int) -> None:
    """End this process where the one that started it was killed: its run folder is free for the next."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def run_cell(cell: Cell, cache: Path) -> None:
    """One run, or what is left of it; its scores are in `result.json` when it is done."""
    started = time.perf_counter()
    config = check_config({**cell.config, "output_dir": str(cell.folder)})
    hard = None if cell.hard is None else Hard.model_validate(cell.hard)
    pool, test = _data(_key(config, hard))
    learner = config.learner.build()
    part = Part(config.chooser, cell.seed, cell.folder, first=False, by_chance=False)
    oracle = Simulated(pool.task.label, open_set=bool(hard and hard.open))
    active = active_of(config, part, pool.copy(), learner, oracle, test, None, None, cache)
    rounds = active.run()
    plain = plain_scores(active.pool, test) if cell.is_baseline else {}
    found = {
        "rounds": [{"labels": r.labeled, "spent": r.spent, "words": r.words, "scores": r.scores} for r in rounds],
        "plain": plain,
        **({"purity": active.purity} if hard and hard.open else {}),
        "seconds": round(time.perf_counter() - started, 3),
    }
    write_json(cell.folder / RESULT, found)


def _key(run: RunConfig, hard: Hard | None) -> str:
    """What decides the rows of a run."""
    record = run.record()
    parts = {name: record[name] for name in ("pool", "test", "validation", "task", "seed")}
    return json.dumps([parts, None if hard is None else hard.model_dump()], sort_keys=True)


@lru_cache(maxsize=4)
def _data(key: str) -> Data:
    """The pool, and the rows to be scored on: of validation where there are some, else of test. Read once a process."""
    parts, hard = json.loads(key)
    config = check_config({**parts, "output_dir": "-", "learner": {"model": "-"}, "budget": 1, "batch": 1})
    pool, test, validation = build_data(config, config.task.build())
    test = test if validation is None else validation
    assert test is not None
    if hard is not None:
        how, task = Hard.model_validate(hard), pool.task
        rows = harder(pool.dataset, task, how, config.seed)
        if how.open:
            task, test = closed(task, test, how.open)
        pool = Pool.from_dataset(rows, task, config.pool.id_column)
    return pool, test
