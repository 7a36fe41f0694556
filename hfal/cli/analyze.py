"""`hfal analyze`: are labels worth choosing here?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from hfal.cli.app import Force, app, keep_existing, out
from hfal.quiet import silence_libraries


@app.command()
def analyze(
    dataset: Annotated[str, typer.Argument(help="A file, folder, Hub data set or demo asset.")],
    text: Annotated[str | None, typer.Option(help="The column of texts; two with a comma between them.")] = None,
    label: Annotated[str | None, typer.Option(help="The column of labels, where there is one.")] = None,
    model: Annotated[str | None, typer.Option(help="The encoder: a Hub name, a folder or demo/minilm.")] = None,
    rows: Annotated[int | None, typer.Option(help="Look at so many rows only, drawn by the seed.", min=40)] = None,
    seed: Annotated[int, typer.Option(help="Of all that is drawn.", min=0)] = 0,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write what was found as JSON.")] = None,
    force: Force = False,
) -> None:
    """Redundancy, skew, how fast chance learns, which rows could go, and what to choose by."""
    from hfal.analysis import analyse, lines_of
    from hfal.data import shuffled
    from hfal.files import write_json
    from hfal.learners import FrozenHead
    from hfal.starting import look_at, model_for

    if output is not None:
        keep_existing(output, force)
    silence_libraries()
    data, task, has_labels = look_at(dataset, text, label)
    if rows is not None and rows < len(data):
        data = shuffled(data, seed).select(range(rows))
    found = analyse(data, task, FrozenHead(model_for(dataset, model)), has_labels=has_labels, seed=seed)
    for line in lines_of(found):
        out.print(escape(line))
    if output is not None:
        write_json(output, found.record())
        out.print(f"\nWrote {escape(str(output))}")
