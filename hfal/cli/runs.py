"""`hfal run`, `status`, `report`, `strategies`, `predict`, `init`."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from hfal.cli.app import CtrlC, Force, app, err, keep_existing, out, stopped_well, tell
from hfal.cli.people import LOOP
from hfal.errors import HfalError
from hfal.quiet import silence_libraries

POLL = 1.0
"""Seconds between two looks for answers."""


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="A YAML config (`hfal init` writes one), or a run folder.")],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a key: --set budget.rows=500. May be repeated.", metavar="KEY=VALUE"),
    ] = None,
    accept_partial: Annotated[
        bool,
        typer.Option("--accept-partial", help="Go on with the rows that people have labelled; the rest returns."),
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for people's labels instead of ending.")] = False,
) -> None:
    """Run a config, or go on with it where its folder has rounds already."""
    from hfal.budget import Budget
    from hfal.compute import is_main
    from hfal.config import load_config
    from hfal.output import compare, how_to_label, round_line, saved_on_test
    from hfal.rounds import Round
    from hfal.running import Part, run_config

    loaded = load_config(config, changes or [])
    silence_libraries()
    talk = is_main()
    if talk:
        spends = Budget.of(loaded.budget)
        out.print(f"[bold]{escape(loaded.chooser)}[/], {escape(str(spends))}, into {escape(loaded.output_dir)}")
    with stopped_well(), CtrlC() as stop:

        def finished(part: Part, done: Round) -> None:
            tell(round_line(part, done, Budget.of(loaded.budget)))
            stop.check()

        waiter = _waiter(Path(loaded.output_dir)) if wait else None
        outcome = run_config(loaded, finished, accept_partial=accept_partial, wait=waiter)
    if not talk:
        return
    if outcome.waiting is not None:
        for line in how_to_label(outcome.folder):
            out.print(line)
        return
    if loaded.repeats > 1:
        out.print(f"\nMeans over {loaded.repeats} seeds, on the same pool and test rows:")
    out.print(compare(outcome))
    if saved := saved_on_test(outcome):
        out.print(f"{saved}\n")
    folder = outcome.folder
    if outcome.report:
        out.print(f"Report:      {escape(str(outcome.report))}")
    out.print(f"Run folder:  {escape(str(folder))}  (model in {escape(str(folder / 'model'))})")
    out.print("\nNext, on your own data:")
    out.print("  hfal init                         asks for your file and writes a config")
    out.print(f"  hfal predict {escape(str(folder))} FILE   labels for a file of texts")
    out.print("  hfal strategies                   what else can choose")


def _waiter(folder: Path) -> Callable[[int], None]:
    """Tells once how to label a round, and returns when its labels are in."""

    def wait(number: int) -> None:
        from hfal.labeling import open_work
        from hfal.output import how_to_label

        for line in how_to_label(folder):
            tell(line)
        work, parent = open_work(folder, number), os.environ.get(LOOP)
        while work.missing():
            if parent is not None and os.getppid() != int(parent):
                raise HfalError("the label page beside this loop has ended: `hfal loop` starts both again")
            time.sleep(POLL)

    return wait


@app.command()
def status(folder: Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")]) -> None:
    """What a run has spent, how good its model is, and what comes next."""
    from hfal.output import status_lines
    from hfal.report.view import open_run

    for line in status_lines(open_run(folder)):
        out.print(line)


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(help="One run folder, or several to compare.", metavar="RUN...")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for the report.")] = None,
) -> None:
    """Write report.html, curve.png, curve.svg and metrics.csv; several runs make one picture."""
    from hfal.report import write_report

    out.print(f"Report: {escape(str(write_report(folders, output)))}")


@app.command()
def strategies(
    wide: Annotated[bool, typer.Option("--wide", help="One line each, however long.")] = False,
) -> None:
    """All acquisition strategies: what they do, paper, tasks, signals, passes and memory."""
    from hfal.catalog import strategy_table

    if wide:
        out.width = 240
    out.print(strategy_table())
    out.print(
        "Compose them: 'margin>kmeans(prefilter=10)' keeps the best 10 x batch by margin and picks among them by "
        "k-means;\n'exploration(first=random, then=badge, rounds=3)' changes from round to round.",
        markup=False,
    )


@app.command()
def predict(
    folder: Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")],
    file: Annotated[str, typer.Argument(help="A file, folder or Hub data set with the run's input columns.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A .csv, .jsonl or .parquet file; else JSONL to the screen."),
    ] = None,
    split: Annotated[str, typer.Option(help="Split of a Hub data set or a folder.")] = "train",
) -> None:
    """Label a file with the last model of a run."""
    from hfal.predicting import predict_file

    silence_libraries()
    count = predict_file(folder, file, output, split)
    if output:
        out.print(f"{count:,} rows labelled: {escape(str(output))}")


@app.command()
def stream(
    folder: Annotated[Path, typer.Argument(help="A run folder, whose last model decides.", metavar="RUN")],
    file: Annotated[str, typer.Argument(help="JSON lines, one row each; - reads them as they come.")] = "-",
    rate: Annotated[float, typer.Option(help="Share of the rows that may be asked.")] = 0.1,
    budget: Annotated[int | None, typer.Option(help="Rows that may be asked in all.")] = None,
    strategy: Annotated[str, typer.Option(help="One that scores each row: margin, entropy, bald, mnlp, …")] = "margin",
    block: Annotated[int | None, typer.Option(help="Rows decided together; 1 for -, else 256.", min=1)] = None,
    state: Annotated[Path | None, typer.Option(help="Folder of the state; RUN/stream where it is not given.")] = None,
) -> None:
    """Decide of rows as they come whether to ask for their label; those asked are printed, and kept with the state."""
    from hfal.predicting import last_model
    from hfal.report.view import open_run
    from hfal.stream import Stream, blocks

    silence_libraries()
    learner, task = last_model(open_run(folder))
    deciding = Stream(learner, task, state or folder / "stream", strategy, rate, budget)
    if file != "-" and not Path(file).is_file():
        raise HfalError(f"there is no file {file}")
    with sys.stdin if file == "-" else open(file, encoding="utf-8") as lines:
        for rows in blocks(lines, block or (1 if file == "-" else 256), "standard input" if file == "-" else file):
            for decision in deciding.offer(rows):
                if decision.asked:
                    print(json.dumps(decision.row, ensure_ascii=False), flush=True)
            if deciding.spent:
                break
    err.print(f"{deciding.asked:,} of {deciding.seen:,} rows asked: {escape(str(deciding.folder / 'asked.jsonl'))}")


@app.command()
def init(
    source: Annotated[str | None, typer.Option(help="A file, folder, Hub data set or demo asset.")] = None,
    text: Annotated[str | None, typer.Option(help="The column of texts.")] = None,
    label: Annotated[str | None, typer.Option(help="The column of labels.")] = None,
    labels: Annotated[
        str | None, typer.Option(help="The classes, divided by commas, where the data has no labels: people give them.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="A Hub name, a folder or demo/minilm.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The config to write.")] = Path("hfal.yaml"),
    force: Force = False,
) -> None:
    """Ask for a file or data set, look at its columns and write a commented config."""
    from hfal.starting import write_config

    silence_libraries()
    keep_existing(output, force)
    asking = sys.stdin.isatty()

    def ask(question: str, default: str | None, given: str | None) -> str:
        if given is not None:
            return given
        if not asking and default is not None and question != "source":
            return default
        if not asking:
            raise HfalError(f"no terminal to ask for the {question}: give --{question}")
        answer: str = typer.prompt(question, default=default)
        return answer

    write_config(output, ask, source=source, text=text, label=label, model=model, classes=labels, tell=out.print)
    out.print(f"\nWrote {escape(str(output))}. Read it, then: hfal run {escape(str(output))}")
