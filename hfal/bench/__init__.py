"""Strategies and learners compared: a matrix of runs, its statistics, and a report from which it can be run again."""

from hfal.bench.cells import cells_of, prepare, run_cells
from hfal.bench.config import BenchConfig, check_bench, load_bench
from hfal.bench.summary import Summary, summarize
from hfal.bench.tuning import tune
from hfal.bench.writing import write_bench

__all__ = [
    "BenchConfig",
    "Summary",
    "cells_of",
    "check_bench",
    "load_bench",
    "prepare",
    "run_bench",
    "run_cells",
    "summarize",
    "tune",
    "write_bench",
]


def run_bench(config: BenchConfig) -> Summary:
    """Run what is not done yet of a benchmark, and write its tables and report."""
    data = prepare(config)
    tuned = tune(config, data)
    cells = cells_of(config, data, {(one.data, one.learner): one.best for one in tuned})
    run_cells(config, cells)
    summary = summarize(config, data, cells, tuned)
    write_bench(config, data, cells, summary)
    return summary
