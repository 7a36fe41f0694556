"""What a benchmark leaves: a report, tables as CSV, Markdown and LaTeX, and the lock file it can be run again from."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hfal.bench.cells import Cell
from hfal.bench.config import LOCK, BenchConfig
from hfal.bench.pictures import draw_ranks
from hfal.bench.summary import Line, Summary, Table
from hfal.bench.tuning import told
from hfal.evaluation.comparing import Comparison
from hfal.files import write_file, write_json, write_text
from hfal.report.figures import Line as Drawn
from hfal.report.figures import as_svg, draw_curves, saver, title_of
from hfal.report.page import page_of
from hfal.versions import versions

DRAWN = 8
"""Ways that a picture shows: the baseline, and the best of the others."""


def write_bench(config: BenchConfig, data: dict[str, dict[str, Any]], cells: Sequence[Cell], summary: Summary) -> Path:
    """Write everything below `output_dir`; the path of `report.html`.

    All files but `seconds.csv` are the same, byte by byte, where the same benchmark is run again.
    """
    folder = Path(config.output_dir)
    tables, lock = tables_of(config, summary), _lock(config, data, summary)
    write_text(folder / "results.csv", _csv(_results(cells)))
    write_text(folder / "comparisons.csv", _csv(_comparisons(summary)))
    write_text(folder / "seconds.csv", _csv(_seconds(cells)))
    write_text(folder / "tables.md", "\n\n".join(_markdown(*table) for table in tables) + "\n")
    write_text(folder / "tables.tex", "\n\n".join(_latex(*table) for table in tables) + "\n")
    write_json(folder / LOCK, lock)
    figures = {}
    for table in summary.tables:
        figure = draw_curves({table.metric: _drawn(table)}, unit_of(config, table.data))
        write_file(folder / f"curves-{table.data}.png", saver(figure, "png"))
        figures[table.data] = as_svg(figure)
    ranks = None
    if summary.ranks is not None:
        figure = draw_ranks(summary.ranks)
        write_file(folder / "ranks.png", saver(figure, "png"))
        ranks = as_svg(figure)
    page = page_of("hfal.bench", "bench.html").render(
        config=config,
        summary=summary,
        data=data,
        figures=figures,
        ranks=ranks,
        tables=tables,
        lock=lock,
        seeds=config.seeds,
    )
    write_text(folder / "report.html", page)
    return folder / "report.html"


def _drawn(table: Table) -> list[Drawn]:
    baseline, *others = (Drawn(line.way, line.curves) for line in table.lines[:DRAWN])
    return [*others, baseline]


def _results(cells: Sequence[Cell]) -> Iterable[dict[str, Any]]:
    """Every score of every round."""
    for cell in cells:
        for number, r in enumerate((cell.result or {"rounds": []})["rounds"]):
            where = {"data": cell.data, "learner": cell.learner, "strategy": cell.strategy, "seed": cell.seed}
            spent = {"round": number, "labels": r["labels"], "words": r["words"], "spent": r["spent"]}
            for metric, score in r["scores"].items():
                yield {**where, **spent, "metric": metric, "score": score}


def _seconds(cells: Sequence[Cell]) -> Iterable[dict[str, Any]]:
    for cell in cells:
        where = {"data": cell.data, "learner": cell.learner, "strategy": cell.strategy, "seed": cell.seed}
        yield {**where, "seconds": (cell.result or {"seconds": ""})["seconds"]}


def _comparisons(summary: Summary) -> Iterable[dict[str, Any]]:
    for table in summary.tables:
        for line in table.lines:
            yield {"data": table.data, "metric": table.metric, "way": line.way, "area": line.area, **_numbers(line)}


def _numbers(line: Line) -> dict[str, Any]:
    one = line.against
    named = {"final": line.at[-1], "reaches": line.reaches, "deficiency": line.deficiency}
    if one is None:
        return named | dict.fromkeys(("difference", "low", "high", "p", "p_holm", "seeds_needed"))
    return named | {
        "difference": one.difference,
        "low": one.low,
        "high": one.high,
        "p": one.p,
        "p_holm": one.adjusted,
        "seeds_needed": one.seeds_needed,
    }


def _csv(rows: Iterable[dict[str, Any]]) -> str:
    rows = list(rows)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


Cells = list[list[str]]


def unit_of(config: BenchConfig, name: str) -> str:
    """What the budget of a data set counts, as people say it."""
    unit = next(iter(config.sets[name].budget or config.budget))
    return "labels" if unit == "rows" else unit


def tables_of(config: BenchConfig, summary: Summary) -> list[tuple[str, list[str], Cells]]:
    """Title, head and cells of each table."""
    found: list[tuple[str, list[str], Cells]] = []
    if len(summary.tables) > 1:
        found.append(_overall(summary))
    for table in summary.tables:
        unit = unit_of(config, table.data)
        head = [title_of(table.metric), *(f"{n:,} {unit}" for n in table.points), "mean", "to baseline", "p (Holm)"]
        head += ["verdict", f"{unit} to baseline's end", "deficiency", "seeds needed"]
        rows = [_row(line) for line in table.lines]
        if any(line.purity is not None for line in table.lines):  # some rows of the pool have no class
            at = head.index("mean") + 1
            head.insert(at, "purity")
            for row, line in zip(rows, table.lines, strict=True):
                row.insert(at, f"{line.purity or 0:.0%}")
        found.append((table.data, head, rows))
    if len(summary.tables[0].lines) > 2:
        found.append(_wins(summary))
    if summary.tuned:
        found.append(_tuned(summary))
    return found


def _row(line: Line) -> list[str]:
    reaches = "not reached" if line.reaches is None else f"{line.reaches:,.0f}"
    cells = [line.way, *(f"{score:.3f}" for score in line.at), f"{line.area:.3f}"]
    if line.against is None:
        return [*cells, "", "", "baseline", reaches, "", ""]
    return [*cells, *_told(line.against), reaches, _fraction(line.deficiency), _seeds(line.against)]


def _told(one: Comparison) -> list[str]:
    """The difference with its interval, p, and what may be said of it."""
    interval = f"[{one.low:+.3f}, {one.high:+.3f}]" if one.pairs > 1 else "(one seed)"
    verdict = ("better" if one.difference > 0 else "worse") if one.significant else "not significant"
    p = "< 0.001" if one.adjusted < 0.001 else f"{one.adjusted:.3f}"
    return [f"{one.difference:+.3f} {interval}", p, verdict]


def _fraction(value: float) -> str:
    return "" if value != value else f"{value:.2f}"


def _seeds(one: Comparison) -> str:
    return "over 1,000" if one.seeds_needed is None else f"{one.seeds_needed:,}"


def _overall(summary: Summary) -> tuple[str, list[str], Cells]:
    head = ["all data sets", "to baseline", "p (Holm)", "verdict", "win/tie/loss", "mean rank", "pairs needed"]
    ranks = summary.ranks.mean if summary.ranks else {}
    rows = [[summary.baseline, "", "", "baseline", "", f"{ranks.get(summary.baseline, 0):.2f}", ""]]
    for way, one in sorted(summary.overall.items(), key=lambda item: -item[1].difference):
        counted = "/".join(map(str, summary.wins[way, summary.baseline]))
        rows.append([way, *_told(one), counted, f"{ranks.get(way, 0):.2f}", _seeds(one)])
    return "All data sets", head, rows


def _wins(summary: Summary) -> tuple[str, list[str], Cells]:
    ways = [line.way for line in summary.tables[0].lines]
    rows = [[a, *("" if a == b else "/".join(map(str, summary.wins[a, b])) for b in ways)] for a in ways]
    return "Wins, ties and losses of the row against the column", ["", *ways], rows


def _tuned(summary: Summary) -> tuple[str, list[str], Cells]:
    rows = [
        [f"{one.data}: {one.learner}", told(settings), f"{height:.3f}", "taken" if settings == one.best else ""]
        for one in summary.tuned
        for settings, height in one.tried
    ]
    return f"Settings tried with {summary.baseline}, on rows held out", ["learner", "settings", "mean", ""], rows


def _markdown(title: str, head: list[str], rows: Cells) -> str:
    lines = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
    lines.insert(1, ["---"] * len(head))
    return f"### {title}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines)


TEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", ">": "$>$", "<": "$<$",
       "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}  # fmt: skip


def _latex(title: str, head: list[str], rows: Cells) -> str:
    def line(cells: list[str]) -> str:
        return " & ".join("".join(TEX.get(letter, letter) for letter in cell) for cell in cells) + r" \\"

    body = [line(head), r"\midrule", *map(line, rows)]
    frame = [r"\begin{tabular}{l" + "r" * (len(head) - 1) + "}", r"\toprule", *body, r"\bottomrule", r"\end{tabular}"]
    return "\n".join([f"% {title}", *frame])


def _lock(config: BenchConfig, data: dict[str, dict[str, Any]], summary: Summary) -> dict[str, Any]:
    """All that the numbers depend on."""
    return {
        "config": config.model_dump(mode="json", by_alias=True),
        "data": data,
        "seeds": list(range(config.seed, config.seed + config.seeds)),
        "tuned": [asdict(one) | {"best": one.best} for one in summary.tuned],
        "versions": versions(),
    }
