"""`hfal label`, `export`, `import`: rounds that people label."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from hfal.cli.app import app, out
from hfal.errors import count

Run = Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")]


@app.command()
def export(
    folder: Run,
    file: Annotated[Path, typer.Argument(help="The file to write.")],
    kind: Annotated[str, typer.Option("--to", help="label_studio, conll, jsonl or csv.")],
    everything: Annotated[bool, typer.Option("--all", help="Also the rows that have their answers.")] = False,
) -> None:
    """Write the rows that wait for labels, to label them elsewhere."""
    from hfal.labeling import open_work
    from hfal.labeling.exporting import export_round

    rows, paths = export_round(open_work(folder), kind, file, everything=everything)
    out.print(f"{count(rows, 'row')}: {escape(', '.join(map(str, paths)))}")
    out.print(f"When they are labelled: hfal import {escape(str(folder))} FILE")


@app.command("import")
def import_(
    folder: Run,
    file: Annotated[Path, typer.Argument(help="Labels: .jsonl, .csv, .conll, or Label Studio's .json.")],
    kind: Annotated[str | None, typer.Option("--from", help="label_studio, conll, jsonl or csv.")] = None,
    annotator: Annotated[str | None, typer.Option(help="Who labelled, where the file does not say.")] = None,
    skip_bad: Annotated[
        Path | None, typer.Option("--skip-bad", help="Take what is right; write the rest to this file.")
    ] = None,
) -> None:
    """Take labels from a file: all of them, or none and the reason why."""
    from hfal.labeling import open_work
    from hfal.labeling.importing import import_file

    taken = import_file(folder, file, kind=kind, annotator=annotator, skip_bad=skip_bad)
    known = f", {taken.known:,} known already" if taken.known else ""
    out.print(f"{count(taken.new, 'label')} taken{known}.")
    if taken.refused:
        out.print(f"{count(len(taken.refused), 'row')} refused: {escape(str(skip_bad))} says why.")
    work = open_work(folder)
    left = len(work.missing())
    if left:
        out.print(f"Round {work.number}: {left} of {count(len(work.rows), 'row')} still without an answer.")
    else:
        out.print(f"Round {work.number} is labelled: hfal run {escape(str(folder))} goes on.")
