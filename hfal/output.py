"""What the command line prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table
from scipy.stats import binomtest

from hfal.agreement import alike
from hfal.assisted import checked, spent_on_model
from hfal.budget import Budget, in_words
from hfal.errors import count
from hfal.evaluation import Curve, cost_of, cost_to_reach, mean_curve
from hfal.evaluation.stopping import advice
from hfal.labeling import Work, open_work
from hfal.labeling.gold import Gold
from hfal.report.figures import title_of
from hfal.report.page import mean_at
from hfal.report.sentences import agreement_sentence, audit_line, saving_line
from hfal.report.together import agreement_of
from hfal.report.view import RunView, task_of
from hfal.rounds import Round
from hfal.running import Outcome, Part

MOST_SHOWN = 3
"""Scores of a round that are printed."""


def shown(done: Round) -> list[str]:
    """The scores of a round, as many as fit a line."""
    return list(done.scores)[:MOST_SHOWN]


def round_line(part: Part, done: Round, budget: Budget) -> str:
    """A round in one line."""
    scores = "   ".join(f"{title_of(name)} {done.scores[name]:.3f}" for name in shown(done))
    spent = "" if budget.unit == "rows" else f"   {in_words(cost_of(done, budget.unit), budget.unit)}"
    who = f"{escape(part.strategy)}, seed {part.seed}"
    seconds = sum(done.seconds.values())
    return f"{who}   round {done.number:<3} {done.labeled:>6,} labels{spent}   {scores}   {seconds:.1f} s"


def compare(outcome: Outcome) -> Table:
    """The rounds, with chance beside them at the same cost; means where there are several seeds."""
    first, unit = outcome.rounds[0][1], outcome.budget.unit
    chance = any(part.by_chance for part, _ in outcome.rounds)
    names = shown(first[-1]) if first else []
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


def saved_on_test(outcome: Outcome) -> str | None:
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


def _model_lines(run: RunView) -> Iterator[str]:
    """What the model that labels has done, what it cost, and how often people say the same."""
    numbers = run.ledger.chosen()
    rows, price = spent_on_model(run.folder, numbers)
    cost = f", for {price:.4f}" if price else ""
    yield f"model     {escape(str(run.config['annotator']['model']))}: {count(rows, 'answer')}{cost}"
    pairs = checked(run.folder, numbers)
    same = [alike(task_of(run), ours.label, one.label) == 1 for ours, people in pairs for one in people if ours.label]
    if same:
        ends = binomtest(sum(same), len(same)).proportion_ci(method="wilson")
        told = f"{sum(same) / len(same):.0%} of {count(len(same), 'row')} (95%: {ends.low:.0%} to {ends.high:.0%})"
        yield f"checked   people say the same as the model in {told}"


def _people_lines(work: Work) -> Iterator[str]:
    """What waits, and for whom."""
    current = work.answers.current()
    missing = work.missing(current)
    done = len(work.rows) - len(missing)
    each = f" by {work.people.overlap} people each" if work.people.overlap > 1 else ""
    yield f"waiting   round {work.number}: {done} of {count(len(work.rows), 'row')} labelled{each}"
    names = Counter(who for people in current.values() for who in people)
    if names:
        left = {who: sum(who not in current.get(row, {}) for row in missing) for who in names}
        said = (
            f"{who} {rows}" + (f" ({left[who]} for them)" if left[who] else "") for who, rows in names.most_common()
        )
        yield f"people    {escape(', '.join(said))}"
    skipped = sum(answer.skipped for people in current.values() for answer in people.values())
    flagged = sum(answer.flagged for people in current.values() for answer in people.values())
    if skipped or flagged:
        yield f"marked    {skipped} skipped, {flagged} flagged"
    place = escape(str(work.run.folder))
    if missing:
        yield f"next      hfal label {place}   (or hfal push, hfal export; --accept-partial goes on with these)"
    else:
        yield f"next      hfal run {place}   (all labels are in)"


def quality_lines(run: RunView) -> Iterator[str]:
    """How far people agree with each other, and with the gold set."""
    if sentence := agreement_sentence(agreement_of(run)):
        yield f"agree     {escape(sentence)}"
    scores = Gold(run).scores()
    if scores:
        said = ", ".join(f"{who} {share:.0%} of {rows}" for who, (share, rows) in scores.items())
        yield f"gold      {escape(said)}"


def how_to_label(folder: Path) -> Iterator[str]:
    """What people do about a round that waits."""
    work = open_work(folder)
    missing, drawn = len(work.missing()), sum(bool(row["audit"]) for row in work.rows.values())
    also = f" ({drawn} of them drawn by chance, to tell how good the model is)" if drawn else ""
    place = escape(str(folder))
    yield f"\nRound {work.number}: {count(len(work.rows), 'row')} to label{also}, {missing} still without an answer."
    yield f"  hfal label {place}                              on a page in the browser"
    yield f"  hfal push {place} OWNER/NAME                    as a data set on the Hub; then: hfal pull {place}"
    yield f"  hfal export {place} --to label_studio FILE.json elsewhere; then: hfal import {place} FILE"
    yield f"When the labels are in: hfal run {place}"


LEARNED = {
    "pseudo_labels": "{} rows that the model was sure of were learned too",
    "labels_left_out": "{} labels were left out as likely wrong",
    "members": "{} members",
    "pairs": "{} pairs were compared",
}
"""What `hfal status` says of how the last model was trained, by what `FitReport.details` has of it."""


def _times(rounds: Sequence[Round]) -> str:
    """How long all rounds took, and what took longest."""
    stages: dict[str, float] = {}
    for one in rounds:
        for stage, seconds in one.seconds.items():
            stages[stage] = stages.get(stage, 0.0) + seconds
    ranked = sorted(stages.items(), key=lambda item: -item[1])
    each = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in ranked if seconds >= 0.05)
    return f"{sum(stages.values()):.1f} s in all rounds" + (f": {each}" if each else "")


def _learning(rounds: Sequence[Round]) -> Iterator[str]:
    """What options for few labels did, and what they cost."""
    adapted = rounds[0].training.get("adapted")
    if adapted:
        took = f"{rounds[0].seconds.get('adapt', 0.0):.1f} s"
        yield f"adapted   the encoder read {adapted['rows']:,} rows before round 0: {adapted['steps']:,} steps, {took}"
    told = [text.format(rounds[-1].training[name]) for name, text in LEARNED.items() if name in rounds[-1].training]
    if told:
        seconds = rounds[-1].seconds.get("train", 0.0)
        yield f"training  {rounds[-1].training['steps']:,} steps in {seconds:.1f} s; {'; '.join(told)}"


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
        scores = [f"{title_of(name)} {last.scores[name]:.3f}" for name in shown(last) if last.metrics]
        if scores:
            yield f"test      {', '.join(scores)}"
        yield f"time      {_times(run.rounds)}"
        yield from _learning(run.rounds)
        for r in run.rounds:
            for note in r.notes:
                yield f"note      round {r.number}: {escape(note)}"
    if run.rounds and (audit := audit_line(run.rounds[-1].audit)):
        yield f"audit     {audit}"
    stop = run.settings.stop
    for reason in advice(run.rounds, stop.target, stop.gain):
        yield f"advice    you may stop: {reason}"
    if run.rounds and (saving := saving_line(run.rounds[-1].saving, run.budget.unit)):
        yield f"saving    {saving}"
    if run.waits:
        yield from quality_lines(run)
    if run.config.get("annotator"):
        yield from _model_lines(run)
    waiting = run.ledger.selection(len(run.rounds))
    if waiting is not None and run.waits:
        yield from _people_lines(open_work(run.folder))
        return
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
