"""`hfal bench`: strategies and learners compared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hfal.cli.app import app, out, stopped_well
from hfal.quiet import silence_libraries

BRIEF = ("mean", "to baseline", "p (Holm)", "verdict", "mean rank", "purity")
"""Columns that a screen has room for."""


@app.command()
def bench(
    config: Annotated[Path, typer.Argument(help="A YAML matrix, or the bench.lock.json of one that was run.")],
    change: Annotated[
        list[str] | None, typer.Option("--set", help="A value in place of the config's, as seeds=10.")
    ] = None,
) -> None:
    """Compare strategies and learners over data sets and seeds; the same again goes on where it stopped."""
    from hfal.bench import load_bench, run_bench
    from hfal.bench.writing import tables_of

    silence_libraries()
    wanted = load_bench(config, tuple(change or ()))
    with stopped_well():
        summary = run_bench(wanted)
    wide = Console(width=max(out.width, 130), highlight=False)
    for title, head, rows in tables_of(wanted, summary):
        shown = [at for at, name in enumerate(head) if at == 0 or name in BRIEF or name.endswith("end")]
        if len(shown) < 3:
            continue  # the report has it
        table = Table(title=escape(title), title_justify="left", box=None, header_style="bold", padding=(0, 2, 0, 0))
        for at in shown:
            table.add_column(head[at], justify="right" if at else "left", no_wrap=True)
        for row in rows:
            table.add_row(*(escape(row[at]) for at in shown))
        wide.print(table)
    for one in summary.tables:
        if one.warning:
            out.print(f"[bold]{escape(one.data)}:[/] {escape(one.warning)}")
    out.print(f"\nReport: {escape(str(Path(wanted.output_dir) / 'report.html'))}")
