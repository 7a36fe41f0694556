"""`hfal pairs`: the pairs of two tables that are worth comparing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from hfal.cli.app import Force, app, keep_existing, out
from hfal.errors import count
from hfal.quiet import silence_libraries

SHOWN = (1, 2, 5, 10, 20, 50, 100)
"""Neighbours for which the recall is told."""


@app.command()
def pairs(
    left: Annotated[str, typer.Argument(help="A table: file, folder or Hub data set.")],
    right: Annotated[str, typer.Argument(help="The other; the same again looks for duplicates in one table.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the pairs go: .csv, .jsonl or .parquet.")],
    neighbours: Annotated[int, typer.Option(help="Right rows for each left row.", min=1)] = 10,
    columns: Annotated[
        str | None, typer.Option(help="That make a row's text, by commas; all of text if not given.")
    ] = None,
    left_id: Annotated[str | None, typer.Option(help="Column of the left ids (id, or the row's number).")] = None,
    right_id: Annotated[str | None, typer.Option(help="Column of the right ids.")] = None,
    matches: Annotated[str | None, typer.Option(help="Known matches (left_id, right_id): tells the recall.")] = None,
    model: Annotated[str, typer.Option(help="An encoder.")] = "sentence-transformers/all-MiniLM-L6-v2",
    split: Annotated[str, typer.Option(help="Of Hub data sets.")] = "train",
    force: Force = False,
) -> None:
    """Candidate pairs of two tables: for each left row the right rows nearest to it, by embeddings and faiss."""
    from hfal.candidates import find_candidates, known_matches, table_of, write_candidates
    from hfal.config import Source
    from hfal.data import load_source
    from hfal.tables import check_kind

    silence_libraries()
    check_kind(output)
    keep_existing(output, force)
    names = [name.strip() for name in (columns or "").split(",") if name.strip()]
    ours = table_of(load_source(Source(source=left, split=split)), left, names, left_id)
    theirs = ours
    if (left, left_id) != (right, right_id or left_id):
        theirs = table_of(load_source(Source(source=right, split=split)), right, names, right_id)
    known = None if matches is None else known_matches(matches, ours, theirs)
    found = find_candidates(ours, theirs, model, neighbours)
    write_candidates(found, ours, theirs, output)
    whole = len(ours.ids) * len(theirs.ids)
    out.print(f"{count(len(found.left), 'pair')} of {whole:,} possible: {escape(str(output))}")
    if known is not None:
        recall = found.recall(known)
        shown = sorted(k for k in {*SHOWN, len(recall)} if k <= len(recall))
        told = ", ".join(f"{recall[k - 1]:.1%} with {k}" for k in shown)
        out.print(f"Known matches: {len(known):,}. Among the pairs, by neighbours: {told}")
    out.print("Next: task: {type: pairs} and pool: {source: " + escape(str(output)) + ", id_column: id}", markup=False)
