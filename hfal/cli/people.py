"""`hfal label`, `loop`, `export`, `import`: rounds that people label."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from hfal.cli.app import Force, app, err, keep_existing, out
from hfal.errors import count

if TYPE_CHECKING:
    from hfal.labeling.desk import Desk
    from hfal.labeling.importing import Taken

Run = Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")]


SkipBad = Annotated[Path | None, typer.Option("--skip-bad", help="Take what is right; write the rest to this file.")]
Host = Annotated[str, typer.Option(help="Where to listen; beyond this machine only with a password.")]
Port = Annotated[int | None, typer.Option(help="Port; the first that is free from 7860 on.", min=1, max=65535)]
Browser = Annotated[bool, typer.Option("--browser", help="Open the page here.")]
PASSWORD = "HFAL_PASSWORD"
"""The variable that holds the page's password: an option would stand in the list of processes."""
LOOP = "HFAL_LOOP"
"""Set for the loop that runs beside a page: the process that started it."""


@app.command()
def label(folder: Run, host: Host = "127.0.0.1", port: Port = None, browser: Browser = False) -> None:
    """Label the round that waits, on a page in the browser. HFAL_PASSWORD asks everybody for it."""
    from hfal.labeling.desk import Desk
    from hfal.labeling.helping import helper_for

    desk = Desk(folder, helper=helper_for(folder))
    try:
        _serve(desk, host, port, browser)
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        out.print("\nStopped. Every label is on disk.")
    finally:
        desk.close()


@app.command()
def loop(
    folder: Run,
    label: Annotated[bool, typer.Option("--label", help="Serve the label page too.")] = False,
    host: Host = "127.0.0.1",
    port: Port = None,
    browser: Browser = False,
) -> None:
    """Go on by itself when labels are in; with --label, beside the page, until the budget is spent."""
    from hfal.labeling.desk import Desk
    from hfal.labeling.helping import helper_for
    from hfal.labeling.page import check_host
    from hfal.report.view import open_run

    check_host(host, _password())
    open_run(folder)
    command = [sys.executable, "-m", "hfal", "run", str(folder), "--wait"]
    child = subprocess.Popen(command, env={**os.environ, LOOP: str(os.getpid())})
    desk: Desk | None = None
    try:
        while child.poll() is None:
            if label and desk is None and _waits(folder):
                desk = Desk(folder, helper=helper_for(folder))
                _serve(desk, host, port, browser)
            time.sleep(0.2)
    except KeyboardInterrupt:
        err.print("Stopped. Every label is on disk: run the same command to go on.")
        raise typer.Exit(130) from None
    finally:
        child.terminate()
        child.wait()
        if desk is not None:
            desk.close()
    raise typer.Exit(child.returncode)


def _waits(folder: Path) -> bool:
    """Whether the next round was chosen already."""
    from hfal.report.view import open_run

    run = open_run(folder)
    return run.ledger.has_selection(len(run.rounds))


def _password() -> str | None:
    return os.environ.get(PASSWORD) or None


def _serve(desk: Desk, host: str, port: int | None, browser: bool) -> None:
    """Serve the page of a desk, and say where."""
    from hfal.labeling.page import serve

    figures = _figures(desk.folder)
    address = serve(desk, host=host, port=port, password=_password(), figures=figures, browser=browser)
    locked = "with the password" if _password() else "this machine only"
    out.print(f"Label here ({locked}): [bold]{escape(address)}[/]   ctrl-C stops; every label is on disk at once.")


def _figures(folder: Path) -> Callable[[], list[str]]:
    """How good the model is and what the choosing has saved, read again when a round is finished."""
    from hfal.report.sentences import audit_line, saving_line
    from hfal.report.view import open_run

    known: dict[int, list[str]] = {}

    def figures() -> list[str]:
        rounds = sum(1 for _ in folder.glob("rounds/*/round.json"))
        if rounds not in known:
            run = open_run(folder)
            last = run.rounds[-1] if run.rounds else None
            lines = [] if last is None else [audit_line(last.audit), saving_line(last.saving, run.budget.unit)]
            known[rounds] = [line for line in lines if line]
        return known[rounds]

    return figures


@app.command()
def export(
    folder: Run,
    file: Annotated[Path, typer.Argument(help="The file to write.")],
    kind: Annotated[str, typer.Option("--to", help="label_studio, conll, jsonl or csv.")],
    everything: Annotated[bool, typer.Option("--all", help="Also the rows that have their answers.")] = False,
    force: Force = False,
) -> None:
    """Write the rows that wait for labels, to label them elsewhere."""
    from hfal.labeling import open_work
    from hfal.labeling.exporting import export_round

    keep_existing(file, force)
    rows, paths = export_round(open_work(folder), kind, file, everything=everything)
    out.print(f"{count(rows, 'row')}: {escape(', '.join(map(str, paths)))}")
    out.print(f"When they are labelled: hfal import {escape(str(folder))} FILE")


@app.command("import")
def import_(
    folder: Run,
    file: Annotated[Path, typer.Argument(help="Labels: .jsonl, .csv, .conll, or Label Studio's .json.")],
    kind: Annotated[str | None, typer.Option("--from", help="label_studio, conll, jsonl or csv.")] = None,
    annotator: Annotated[str | None, typer.Option(help="Who labelled, where the file does not say.")] = None,
    skip_bad: SkipBad = None,
) -> None:
    """Take labels from a file: all of them, or none and the reason why."""
    from hfal.labeling.importing import import_file

    tell_taken(folder, import_file(folder, file, kind=kind, annotator=annotator, skip_bad=skip_bad), skip_bad)


def tell_taken(folder: Path, taken: Taken, skip_bad: Path | None) -> None:
    """What came in, and what is still missing."""
    from hfal.labeling import open_work

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
