"""What the command line prints."""

from __future__ import annotations

from collections.abc import Iterator

from rich.markup import escape
from rich.table import Table

from hfal.errors import HfalError
from hfal.evaluation import Curve, labels_to_reach
from hfal.report.figures import Line
from hfal.report.view import RunView
from hfal.rounds import Round
from hfal.running import Outcome, Part
from hfal.strategies import Entry, Strategy, entries
from hfal.strategies.base import Scheduled

SHOWN = (("accuracy", "accuracy"), ("macro_f1", "macro-F1"))


def round_line(part: Part, done: Round, budget: int) -> str | None:
    """A line for each round of the first run; of the others, one when they end."""
    ended = done.spent >= budget
    if not (part.first and not part.by_chance) and not ended:
        return None
    scores = "   ".join(f"{title} {done.metrics[name]:.3f}" for name, title in SHOWN if name in done.metrics)
    seconds = sum(done.seconds.values())
    who = f"{escape(part.strategy)}, seed {part.seed}"
    return f"{who}   round {done.number:<3} {done.labeled:>6,} labels   {scores}   {seconds:.1f} s"


def compare(outcome: Outcome) -> Table:
    """The rounds, with chance beside them at as many labels; means where there are several seeds."""
    first = outcome.rounds[0][1]
    chance = any(part.by_chance for part, _ in outcome.rounds)
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("round", justify="right")
    table.add_column("labels", justify="right")
    for _, title in SHOWN:
        table.add_column(title, justify="right")
        if chance:
            table.add_column("random", justify="right", style="dim")
    for done in first:
        cells = [str(done.number), f"{done.labeled:,}"]
        for name, _ in SHOWN:
            for by_chance in (False, True)[: 1 + chance]:
                cells.append(_mean(outcome, by_chance, done.labeled, name))
        table.add_row(*cells)
    return table


def _mean(outcome: Outcome, by_chance: bool, labels: int, metric: str) -> str:
    scores = [
        done.metrics[metric]
        for part, rounds in outcome.rounds
        for done in rounds
        if part.by_chance == by_chance and done.labeled == labels and metric in done.metrics
    ]
    return f"{sum(scores) / len(scores):.3f}" if scores else "-"


def saving(outcome: Outcome, metric: str = "macro_f1") -> str | None:
    """What the choosing saved: labels needed for the score that chance ends with, on the mean curves."""
    means = []
    for by_chance in (False, True):
        curves = [Curve.of(rounds, metric) for part, rounds in outcome.rounds if part.by_chance == by_chance]
        if not curves or not all(curve.labels for curve in curves):
            return None
        means.append(Line("", curves).mean())
    ours, chance = means
    score, needed = chance.scores[-1], labels_to_reach(ours, chance.scores[-1])
    title = dict(SHOWN)[metric]
    if needed is None:
        return f"Random ends at {title} {score:.3f} with {chance.labels[-1]} labels; this run does not get there."
    return (
        f"Random ends at {title} {score:.3f} with {chance.labels[-1]} labels; this run is there with {needed}: "
        f"{chance.labels[-1] - needed} labels saved."
    )


def status_lines(run: RunView) -> Iterator[str]:
    """What `hfal status` says."""
    yield f"[bold]{escape(str(run.folder))}[/]  {escape(run.strategy)}, seed {run.seed}"
    if not run.rounds:
        yield "No round is finished yet."
    else:
        last = run.rounds[-1]
        yield f"rounds    {len(run.rounds)} finished, the last with {last.asked} rows by {escape(last.strategy)}"
        yield f"labels    {last.labeled:,} ({last.spent:,} of {run.budget:,} of the budget spent)"
        scores = [f"{title} {last.metrics[name]:.3f}" for name, title in SHOWN if name in last.metrics]
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
    done = not run.rounds or run.rounds[-1].spent >= run.budget or run.rounds[-1].labeled >= distinct
    if run.rounds and done:
        yield "next      the budget is spent: raise budget.rows to go on, or `hfal report` and `hfal predict`"
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
    if not needs.any_pool:
        return "none", "0", "[N]"
    passes = "1"
    if needs.mc_samples:
        passes = f"1 + {needs.mc_samples} heads" if needs.mc_layers == "head" else str(needs.mc_samples)
    sizes = {"logits": "[N, C]", "embeddings": "[N, D]", "features": "[N, D]", "mc_logits": "[K, N, C]"}
    memory = " + ".join(sorted({sizes[name] for name in needs.pool})) or "[N]"
    return ", ".join(names), passes, memory
