"""`report.html`, `curve.png`, `curve.svg` and `metrics.csv` of one run or of several."""

from __future__ import annotations

import csv
import io
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from hfal.errors import HfalError
from hfal.evaluation import Curve, area_under_curve, labels_to_reach
from hfal.files import write_file, write_text
from hfal.report.figures import TITLES, Line, as_svg, draw_balance, draw_curves, saver
from hfal.report.view import RunView, open_run

PACKAGES = ("hfal", "torch", "transformers", "datasets", "accelerate", "numpy", "scikit-learn")
MAX_BALANCE_CLASSES = 12


def write_report(folders: Sequence[str | Path], output: str | Path | None = None) -> Path:
    """Write the report of one run, or of several compared.

    Args:
        folders: run folders.
        output: where the files go: the run folder for one run, the current folder for several, where it is
            not given.

    Returns:
        The path of `report.html`.

    Raises:
        HfalError: a folder is not a run, or has no scored round yet.
    """
    runs = [open_run(folder) for folder in folders]
    for run in runs:
        if not run.metrics:
            raise HfalError(f"{run.folder} has no scored round yet: nothing to draw")
    target = Path(output) if output else runs[0].folder if len(runs) == 1 else Path()
    lines = _lines(runs)
    panels = {metric: lines[metric] for metric in runs[0].metrics[:2]}
    figure = draw_curves(panels)
    write_file(target / "curve.png", saver(figure, "png"))
    write_file(target / "curve.svg", saver(figure, "svg"))
    write_text(target / "metrics.csv", _csv(runs))
    write_text(target / "report.html", _render(runs, panels, as_svg(figure)))
    return target / "report.html"


def _with_baselines(runs: Sequence[RunView]) -> list[RunView]:
    return [view for run in runs for view in (run, run.baseline) if view is not None and view.metrics]


def _lines(runs: Sequence[RunView]) -> dict[str, list[Line]]:
    """metric -> a line for each strategy, random last."""
    lines: dict[str, list[Line]] = {}
    for metric in runs[0].metrics:
        curves: dict[str, list[Curve]] = {}
        for view in _with_baselines(runs):
            curve = Curve.of(view.rounds, metric)
            if curve.labels:
                curves.setdefault(view.strategy, []).append(curve)
        found = [Line(name, group) for name, group in curves.items()]
        lines[metric] = sorted(found, key=lambda line: line.is_random)
    return lines


def _csv(runs: Sequence[RunView]) -> str:
    """Every score of every round."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    names = runs[0].metrics
    writer.writerow(["run", "strategy", "seed", "round", "labels", "spent", *names, "seconds"])
    for view in _with_baselines(runs):
        for r in view.rounds:
            scores = [r.metrics.get(name, "") for name in names]
            seconds = round(sum(r.seconds.values()), 3)
            writer.writerow([view.folder, view.strategy, view.seed, r.number, r.labeled, r.spent, *scores, seconds])
    return buffer.getvalue()


def _render(runs: Sequence[RunView], panels: dict[str, list[Line]], curve_svg: str) -> str:
    environment = Environment(
        loader=PackageLoader("hfal.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    metric = runs[0].metrics[0]
    single = runs[0] if len(runs) == 1 else None
    return environment.get_template("report.html").render(
        title=" · ".join(run.folder.name for run in runs),
        runs=runs,
        single=single,
        metric=TITLES.get(metric, metric),
        titles=TITLES,
        metrics=runs[0].metrics,
        curve=curve_svg,
        summary=_summary(runs),
        reach=_reach(panels[metric]),
        strategies=[line.name for line in panels[metric]],
        rounds_table=None if single is None else _beside(single),
        per_class=None if single is None else single.rounds[-1].metrics.get("per_class", {}),
        balance=None if single is None else _balance(single),
        asked=[] if single is None else [(r, single.asked(r.number)) for r in single.rounds if r.asked],
        inputs=[] if single is None else single.pool.get("inputs", []),
        stages=None if single is None else _stages(single),
        config="\n---\n".join(yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True) for run in runs),
        versions={**{name: _version(name) for name in PACKAGES}, "python": platform.python_version()},
    )


def _summary(runs: Sequence[RunView]) -> list[dict[str, Any]]:
    """One row for each run and baseline: last score and mean height of the curve."""
    rows = []
    for view in _with_baselines(runs):
        curves = {name: Curve.of(view.rounds, name) for name in view.metrics}
        rows.append(
            {
                "strategy": view.strategy,
                "seed": view.seed,
                "labels": view.rounds[-1].labeled,
                "last": {name: curve.scores[-1] for name, curve in curves.items()},
                "area": {name: area_under_curve(c.labels, c.scores) for name, c in curves.items()},
            }
        )
    return rows


def _beside(run: RunView) -> list[dict[str, Any]]:
    """The rounds, with the baseline's scores at as many labels."""
    by_labels = {} if run.baseline is None else {r.labeled: r.metrics for r in run.baseline.rounds}
    return [{"round": r, "baseline": by_labels.get(r.labeled, {})} for r in run.rounds]


def _reach(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Labels that each strategy needed for each score (the median over seeds)."""
    scores = [score for line in lines for curve in line.curves for score in curve.scores]
    low, high = min(scores), max(scores)
    step = next((s for s in (0.01, 0.02, 0.05, 0.1) if (high - low) / s <= 10), 0.2)
    rows = []
    for score in np.arange(np.ceil(low / step) * step, high + 1e-9, step):
        needed = []
        for line in lines:
            found = [labels_to_reach(curve, float(score)) for curve in line.curves]
            reached = [value for value in found if value is not None]
            needed.append(int(np.median(reached)) if len(reached) > len(found) / 2 else None)
        if any(value is not None for value in needed):
            rows.append({"score": float(score), "needed": needed})
    return rows


def _balance(run: RunView) -> str | None:
    names = run.pool.get("label_names", [])
    if not 2 <= len(names) <= MAX_BALANCE_CLASSES:
        return None
    rounds, shares = [], []
    for r in run.rounds:
        counts = dict.fromkeys(names, 0)
        for row in run.asked(r.number):
            for label in row["label"] if isinstance(row["label"], list) else [row["label"]]:
                counts[label] = counts.get(label, 0) + 1
        total = sum(counts.values())
        if total:
            rounds.append(r.number)
            shares.append([counts[name] / total for name in names])
    return as_svg(draw_balance(names, shares, rounds)) if rounds else None


def _stages(run: RunView) -> dict[str, float]:
    stages: dict[str, float] = {}
    for r in run.rounds:
        for stage, seconds in r.seconds.items():
            stages[stage] = stages.get(stage, 0.0) + seconds
    return stages


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
