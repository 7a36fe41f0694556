"""`hfal push`, `pull`, `clone`: rounds on the Hub."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from hfal.cli.app import app, out
from hfal.cli.people import Run, SkipBad, tell_taken
from hfal.quiet import silence_libraries


@app.command()
def push(
    folder: Run,
    repo: Annotated[str | None, typer.Argument(help="OWNER/NAME; where it was pushed before if not given.")] = None,
    public: Annotated[bool, typer.Option("--public", help="Everyone may see it; without this it is private.")] = False,
    licence: Annotated[
        str | None, typer.Option("--license", help="Of the source's texts, as in cc-by-4.0; the card says it.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Push although the licence is not known.")] = False,
) -> None:
    """Push the rounds of a run to the Hub as a data set, one commit a round; the same again does nothing."""
    from hfal.hub import push as push_rounds

    silence_libraries()

    def ask(question: str) -> bool:
        return yes or (sys.stdin.isatty() and typer.confirm(question))

    pushed = push_rounds(folder, repo, public=public, licence=licence, ask=ask)
    for number in pushed.new:
        out.print(f"Round {number} pushed.")
    if not pushed.new:
        out.print("Nothing to push: the Hub has all of it.")
    out.print(f"https://huggingface.co/datasets/{escape(pushed.repo)}")
    out.print(f"Labels that others push come back with: hfal pull {escape(str(folder))}")


@app.command()
def pull(folder: Run, skip_bad: SkipBad = None) -> None:
    """Take the labels that others pushed to the round that waits: all of them, or none and the reason why."""
    from hfal.hub import pull as pull_labels

    silence_libraries()
    tell_taken(folder, pull_labels(folder, skip_bad=skip_bad), skip_bad)


@app.command()
def clone(
    repo: Annotated[str, typer.Argument(help="OWNER/NAME of a run on the Hub.")],
    folder: Annotated[Path, typer.Argument(help="A new run folder.")],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Where things are here: --set pool.source=rows.csv.", metavar="KEY=VALUE"),
    ] = None,
) -> None:
    """Continue someone else's run on this machine."""
    from hfal.hub import clone as clone_run

    silence_libraries()
    run = clone_run(repo, folder, changes or [])
    source = run.config["pool"]["source"]
    out.print(f"{len(run.rounds)} finished rounds in {escape(str(folder))}.")
    out.print(f"Its pool is {escape(str(source))}, its model {escape(str(run.config['learner']['model']))}: where they")
    out.print("are elsewhere here, clone again with --set pool.source=… or --set learner.model=…")
    out.print(f"Next: hfal label {escape(str(folder))}, then hfal run {escape(str(folder))}")
