"""What the command line prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from hfal.budget import Budget, in_words
from hfal.errors import HfalError
from hfal.evaluation import Curve, cost_of, cost_to_reach, mean_curve
from hfal.report.figures import title_of
from hfal.report.page import mean_at
from hfal.report.view import RunView
from hfal.rounds import Round
from hfal.running import Outcome, Part
from hfal.strategies import Entry, Strategy, entries
from hfal.strategies.base import Scheduled

MOST_SHOWN = 3
"""Scores of a round that are printed."""


def shown(metrics: Mapping[str, Any]) -> list[str]:
    """The scores of a round that are single numbers, as many as fit a line."""
    return [name for name, value in metrics.items() if isinstance(value, float)][:MOST_SHOWN]


def round_line(part: Part, done: Round, budget: Budget) -> str:
    """A round in one line."""
    scores = "   ".join(f"{title_of(name)} {done.metrics[name]:.3f}" for name in shown(done.metrics))
    spent = "" if budget.unit == "rows" else f"   {in_words(cost_of(done, budget.unit), budget.unit)}"
    who = f"{escape(part.strategy)}, seed {part.seed}"
    seconds = sum(done.seconds.values())
    return f"{who}   round {done.number:<3} {done.labeled:>6,} labels{spent}   {scores}   {seconds:.1f} s"


def compare(outcome: Outcome) -> Table:
    """The rounds, with chance beside them at the same cost; means where there are several seeds."""
    first, unit = outcome.rounds[0][1], outcome.budget.unit
    chance = any(part.by_chance for part, _ in outcome.rounds)
    names = shown(first[-1].metrics) if first else []
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for title in ("round", "labels", *([] if unit == "rows" else [unit])):
        table.add_column(title, justify="right")
    for name in names:
        table.add_column(title_of(name), justify="right")
        if chance:
            table.add_column("random", justify="right", style="dim")
    for done in first:
        spent = cost_of(done, unit)
        cells = [str(done.number), f"{done.labeled:,}", *([] if unit == "rows" else [f"{round(spent, 2):,.12g}"])]
        for name in names:
            for by_chance in (False, True)[: 1 + chance]:
                score = mean_at(_curves(outcome, by_chance, name), spent)
                cells.append("-" if score is None else f"{score:.3f}")
        table.add_row(*cells)
    return table


def _curves(outcome: Outcome, by_chance: bool, metric: str) -> list[Curve]:
    unit = outcome.budget.unit
    found = [Curve.of(rounds, metric, unit) for part, rounds in outcome.rounds if part.by_chance == by_chance]
    return [curve for curve in found if curve.cost]


def saving(outcome: Outcome) -> str | None:
    """What the choosing saved: the cost of the score that chance ends with, on the mean curves."""
    metric = outcome.main_metric
    parts = [_curves(outcome, by_chance, metric) for by_chance in (False, True)]
    if not all(parts):
        return None
    ours, chance = (mean_curve(curves)[0] for curves in parts)
    score, last, unit = chance.scores[-1], chance.cost[-1], outcome.budget.unit
    needed = cost_to_reach(ours, score)
    ends = f"Random ends at {title_of(metric)} {score:.3f} with {in_words(last, unit)}; this run "
    if needed is None:
        return f"{ends}does not get there."
    return f"{ends}is there with {in_words(needed, unit).split()[0]}: {in_words(last - needed, unit)} saved."


def status_lines(run: RunView) -> Iterator[str]:
    """What `hfal status` says."""
    yield f"[bold]{escape(str(run.folder))}[/]  {escape(run.strategy)}, seed {run.seed}"
    if not run.rounds:
        yield "No round is finished yet."
    else:
        last = run.rounds[-1]
        yield f"rounds    {len(run.rounds)} finished, the last with {last.asked} rows by {escape(last.strategy)}"
        budget = run.budget
        yield f"labels    {last.labeled:,} on {last.words:,} words"
        yield f"spent     {round(last.spent, 2):,.12g} of {budget}"
        scores = [f"{title_of(name)} {last.metrics[name]:.3f}" for name in shown(last.metrics)]
        if scores:
            yield f"test      {', '.join(scores)}"
        yield f"time      {sum(sum(r.seconds.values()) for r in run.rounds):.1f} s in all rounds"
        for r in run.rounds:
            for note in r.notes:
                yield f"note      round {r.number}: {escape(note)}"
    waiting = run.ledger.selection(len(run.rounds))
    if waiting is not None:
        yield f"waiting   round {len(run.rounds)}: {len(waiting)} rows are chosen, the round is not finished"
    distinct = run.pool.get("distinct_rows", 0)
    left = run.budget.amount - run.rounds[-1].spent if run.rounds else run.budget.amount
    done = run.rounds and (left < run.cheapest or run.rounds[-1].labeled >= distinct)
    if done:
        unit = run.budget.unit
        yield f"next      the budget is spent: raise budget.{unit} to go on, or `hfal report` and `hfal predict`"
    else:
        yield "next      `hfal run` with the same config goes on"


def strategy_table() -> Table:
    """Every strategy with what it costs."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for title in ("name", "what it picks", "paper", "signals", "passes", "memory"):
        table.add_column(title)
    for entry in entries():
        signals, passes, memory = cost(entry)
        table.add_row(entry.name, escape(entry.summary), escape(entry.paper), signals, passes, escape(memory))
    return table


def cost(entry: Entry) -> tuple[str, str, str]:
    """Signals, passes over the pool, and memory of a strategy, from what it says it needs."""
    try:
        strategy: Strategy = entry.make()
    except HfalError:
        return "those of its parts", "its parts'", "its parts'"
    if isinstance(strategy, Scheduled):
        return "those of its parts", "its parts'", "its parts'"
    needs = strategy.needs
    names = sorted(needs.every_field)
    if not needs.of_model().any_pool:
        return ", ".join(names) or "none", "0", "[N]"
    passes = "1"
    if needs.mc_samples:
        passes = f"1 + {needs.mc_samples} heads" if needs.mc_layers == "head" else str(needs.mc_samples)
    sizes = {"logits": "[N, C]", "embeddings": "[N, D]", "features": "[N, D]", "mc_logits": "[K, N, C]"}
    memory = " + ".join(sorted({sizes[name] for name in needs.of_model().pool})) or "[N]"
    of = " of words" if "word" in needs.units else ""
    return ", ".join(names) + of, passes, memory
