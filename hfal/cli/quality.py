"""`hfal relabel`, `gold`: how far labels can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from hfal.cli.app import Force, app, keep_existing, out
from hfal.cli.people import Run
from hfal.errors import count
from hfal.quiet import silence_libraries

SHOWN = 90


@app.command()
def relabel(
    folder: Run,
    most: Annotated[int, typer.Option(help="How many rows.", min=1)] = 20,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write them as JSON lines, to label and import again.")
    ] = None,
    force: Force = False,
) -> None:
    """The rows whose label is most worth asking again: model and people disagree."""
    from hfal.labeling.relabel import Doubt, doubts, write_doubts

    if output is not None:
        keep_existing(output, force)
    silence_libraries()
    found: list[Doubt] = doubts(folder)[:most]
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for title in ("worth", "label", "model", "probability", "agree", "row"):
        table.add_column(title, justify="right" if title in ("worth", "probability", "agree") else "left")
    for doubt in found:
        text = " ".join(_words(doubt.row[name]) for name in doubt.inputs)
        shown = text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
        numbers = f"{doubt.worth:.2f}", f"{doubt.probability:.2f}", f"{doubt.agree:.0%}"
        mark = " (flagged)" if doubt.flagged else ""
        label, model = escape(_words(doubt.label)) + mark, escape(_words(doubt.model))
        table.add_row(numbers[0], label, model, *numbers[1:], escape(shown))
    out.print(table)
    if output is not None:
        write_doubts(output, found)
        out.print(
            f"{count(len(found), 'row')}: {escape(str(output))}. Put labels in, then: hfal import {folder} {output}"
        )


def _words(value: Any) -> str:
    if isinstance(value, dict):  # a picture
        return f"[{value['path'] or 'picture'}]"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


@app.command()
def gold(
    folder: Run,
    file: Annotated[Path, typer.Argument(help="Rows with their right labels: csv, jsonl, parquet, conll.")],
) -> None:
    """Keep a gold set: the label page mixes it in, and `hfal status` says how well each person labels it."""
    from hfal.labeling.gold import EVERY, Gold
    from hfal.report.view import open_run

    silence_libraries()
    kept = Gold(open_run(folder)).keep(file)
    out.print(f"{count(kept, 'gold row')} kept: one after every {EVERY} rows that a person labels.")
