"""`report.html`, `curve.png`, `curve.svg` and `metrics.csv` of one run or of several."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from hfal.errors import HfalError
from hfal.evaluation import Curve, area_under_curve, cost_of, cost_to_reach
from hfal.files import write_file, write_text
from hfal.pictures import shown
from hfal.report.entities import colors_of, marked, mentions, tags_words
from hfal.report.figures import Line, as_svg, draw_balance, draw_curves, saver, title_of
from hfal.report.sentences import agreement_sentence, saving_line
from hfal.report.together import agreement_of
from hfal.report.view import RunView, open_run
from hfal.rounds import Round
from hfal.tasks.base import TYPED
from hfal.versions import versions

MAX_BALANCE_CLASSES = 12
PICTURE = 128
"""Pixels of the longest side of a picture in the report."""


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
    unit = runs[0].budget.unit
    for run in runs:
        if run.budget.unit != unit:
            raise HfalError(f"{run.folder} spends {run.budget.unit}, {runs[0].folder} {unit}: they cannot be compared")
    figure = draw_curves({metric: lines[metric] for metric in runs[0].metrics[:2]}, unit)
    write_file(target / "curve.png", saver(figure, "png"))
    write_file(target / "curve.svg", saver(figure, "svg"))
    write_text(target / "metrics.csv", _csv(runs))
    write_text(target / "report.html", _render(runs, lines, as_svg(figure)))
    return target / "report.html"


def _lines(runs: Sequence[RunView]) -> dict[str, list[Line]]:
    """metric -> a line for each strategy, random last."""
    lines: dict[str, list[Line]] = {}
    for metric in runs[0].metrics:
        curves: dict[str, list[Curve]] = {}
        for view in (view for run in runs for view in run.everything()):
            curve = view.curve(metric)
            if curve.cost:
                curves.setdefault(view.strategy, []).append(curve)
        interval = runs[0].interval(metric) if len(runs) == 1 else None
        found = [Line(name, group, interval) for name, group in curves.items()]
        lines[metric] = sorted(found, key=lambda line: line.is_random)
    return lines


def _csv(runs: Sequence[RunView]) -> str:
    """Every score of every round."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    names = runs[0].metrics
    writer.writerow(["run", "strategy", "seed", "round", "labels", "words", "spent", *names, "seconds"])
    for view in (view for run in runs for view in run.everything()):
        for r in view.rounds:
            scores = [r.scores.get(name, "") for name in names]
            seconds = round(sum(r.seconds.values()), 3)
            writer.writerow(
                [view.folder, view.strategy, view.seed, r.number, r.labeled, r.words, r.spent, *scores, seconds]
            )
    return buffer.getvalue()


def page_of(package: str, name: str) -> Template:
    """A template of a page: what it is given is escaped."""
    loader = PackageLoader(package)
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True).get_template(name)


def _render(runs: Sequence[RunView], lines: dict[str, list[Line]], curve_svg: str) -> str:
    metric = runs[0].metrics[0]
    single = runs[0] if len(runs) == 1 else None
    return page_of("hfal.report", "report.html").render(
        title=" · ".join(run.folder.name for run in runs),
        runs=runs,
        single=single,
        metric=title_of(metric),
        title_of=title_of,
        unit="labels" if runs[0].budget.unit == "rows" else runs[0].budget.unit,
        metrics=runs[0].metrics,
        curve=curve_svg,
        summary=_summary(lines),
        reach=_reach(lines[metric]),
        strategies=[line.name for line in lines[metric]],
        rounds_table=None if single is None else _beside(single),
        seeds=max(len(line.curves) for line in lines[metric]),
        per_class=None if single is None else single.rounds[-1].metrics.get("per_class", {}),
        audits=[] if single is None else [r for r in single.rounds if r.audit],
        estimated=runs[0].interval(runs[0].metrics[0]) is not None,
        saving="" if single is None else saving_line(single.rounds[-1].saving, single.budget.unit),
        agreement="" if single is None else agreement_sentence(agreement_of(single)),
        balance=None if single is None else _balance(single),
        asked=[] if single is None else _asked(single),
        of_words=single is not None and tags_words(single),
        colors={} if single is None else colors_of(single),
        inputs=[] if single is None else single.pool.get("inputs", []),
        stages=None if single is None else _stages(single),
        config="\n---\n".join(yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True) for run in runs),
        versions=versions(),
    )


def _summary(lines: dict[str, list[Line]]) -> list[dict[str, Any]]:
    """One row a strategy: its last score and the mean height of its curve, with the range over seeds."""
    rows: dict[str, dict[str, Any]] = {}
    for metric, found in lines.items():
        for line in found:
            row = rows.setdefault(line.name, {"strategy": line.name, "seeds": len(line.curves), "last": {}, "area": {}})
            row["spent"] = max(curve.cost[-1] for curve in line.curves)
            row["last"][metric] = _spread([curve.scores[-1] for curve in line.curves])
            row["area"][metric] = _spread([area_under_curve(c) for c in line.curves])
    return list(rows.values())


def _spread(values: Sequence[float]) -> str:
    """`0.671`, or with several seeds `0.671 (0.655–0.690)`."""
    mean = f"{np.mean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.3f}–{max(values):.3f})"


def _beside(run: RunView) -> list[dict[str, Any]]:
    """Rounds with the scores of the strategy and of chance at the same cost, each the mean over the seeds."""
    views = run.everything()
    ours = [view for view in views if view is run or view.strategy != "random"]
    chance = [view for view in views if view is not run and view.strategy == "random"]
    rows = []
    for r in run.rounds:
        spent = cost_of(r, run.budget.unit)
        row: dict[str, Any] = {"round": r, "spent": spent}
        for who, found in (("ours", ours), ("random", chance)):
            row[who] = {name: mean_at([view.curve(name) for view in found], spent) for name in run.metrics}
        rows.append(row)
    return rows


def mean_at(curves: Sequence[Curve], cost: float) -> float | None:
    """The mean score at a cost, of those curves that come near it."""
    near = [curve for curve in curves if curve.cost and 0.95 * curve.cost[0] <= cost <= 1.05 * curve.cost[-1]]
    return float(np.mean([curve.at([cost])[0] for curve in near])) if near else None


def _reach(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """What each strategy had to spend for each score, on the mean curve of its seeds."""
    curves = [line.mean() for line in lines]
    scores = [score for curve in curves for score in curve.scores]
    low, high = min(scores), max(scores)
    step = next((s for s in (0.01, 0.02, 0.05, 0.1) if (high - low) / s <= 10), 0.2)
    rows = []
    for score in np.arange(np.ceil(low / step) * step, high + 1e-9, step):
        needed = [cost_to_reach(curve, float(score)) for curve in curves]
        if any(value is not None for value in needed):
            rows.append({"score": float(score), "needed": needed})
    return rows


def _balance(run: RunView) -> str | None:
    names = run.pool.get("classes") or run.pool.get("label_names", [])
    if not 2 <= len(names) <= MAX_BALANCE_CLASSES:
        return None
    rounds, shares = [], []
    for r in run.rounds:
        counts = dict.fromkeys(names, 0)
        for row in run.asked(r.number):
            for name in mentions(run, row["label"]):
                counts[name] = counts.get(name, 0) + 1
        total = sum(counts.values())
        if total:
            rounds.append(r.number)
            shares.append([counts[name] / total for name in names])
    return as_svg(draw_balance(names, shares, rounds)) if rounds else None


def _asked(run: RunView) -> list[tuple[Round, list[dict[str, Any]]]]:
    """The rounds that asked rows, with the rows; words marked where words are tagged."""
    found = [(r, run.asked(r.number)) for r in run.rounds if r.asked]
    if tags_words(run):
        return [(r, [marked(run, row) for row in rows]) for r, rows in found]
    typed = run.pool.get("asks") in (*TYPED, "span")
    return [(r, [_shown(row, typed) for row in rows]) for r, rows in found]


def _texts(value: Any) -> Any:
    """Answers that say where they stand as their texts."""
    spans = isinstance(value, list) and all(isinstance(one, dict) and "text" in one for one in value)
    return [one["text"] for one in value] or ["(no answer)"] if spans else value


def _shown(row: dict[str, Any], typed: bool) -> dict[str, Any]:
    """A row with its pictures as data URIs, and whether the model was wrong: of several answers any is right."""
    guess, label = row["predicted"], row["label"]
    right = guess == label or (typed and any(one in (label or ()) for one in guess or ()))
    cells = {key: shown(_texts(value), PICTURE) for key, value in row.items()}
    return cells | {"wrong": guess is not None and label is not None and not right}


def _stages(run: RunView) -> dict[str, float]:
    stages: dict[str, float] = {}
    for r in run.rounds:
        for stage, seconds in r.seconds.items():
            stages[stage] = stages.get(stage, 0.0) + seconds
    return stages
