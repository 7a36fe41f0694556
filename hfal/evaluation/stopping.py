"""When more labels may not pay: advice, never a stop by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hfal.agreement import units
from hfal.rounds import Round
from hfal.tasks.base import Task

STABLE = 0.99
"""Agreement of successive models from which on they count as the same (Bloodgood and Vijay-Shanker 2009, sec. 3)."""
WINDOW = 3
"""Comparisons in a row that must say so."""


def stability(before: Sequence[Any], now: Sequence[Any], task: Task) -> dict[str, float]:
    """How alike two models are on the same rows, none of which they were trained on.

    Args:
        before: encoded predictions of the earlier model.
        now: of the later one.
        task: says what in a label can differ (`hfal.agreement.units`).

    Returns:
        `kappa` (Cohen) and `changed`, the share of labels that are others now: the score cannot have moved by more.
    """
    from sklearn.metrics import cohen_kappa_score

    one, other = ([unit for label in labels for unit in units(task, task.decode(label))] for labels in (before, now))
    changed = sum(a != b for a, b in zip(one, other, strict=True)) / max(1, len(one))
    kappa = 1.0 if len({*one, *other}) < 2 else float(cohen_kappa_score(one, other))
    return {"kappa": kappa, "changed": changed}


def advice(rounds: Sequence[Round], target: float | None, gain: float) -> list[str]:
    """Reasons to stop, if there are any.

    Args:
        rounds: of a run.
        target: the score that is wanted, on the pool.
        gain: what a batch must add to the score to be worth its cost.
    """
    found = []
    last = [r.stopping for r in rounds if r.stopping][-WINDOW:]
    if len(last) == WINDOW:
        kappas, changed = [one["kappa"] for one in last], [one["changed"] for one in last]
        if min(kappas) >= STABLE:
            found.append(
                f"the last {WINDOW} rounds left the predictions as they were (kappa {min(kappas):.3f} or more)"
            )
        if max(changed) < gain:
            found.append(
                f"each of the last {WINDOW} batches changed at most {max(changed):.2%} of the predictions: "
                f"the next can hardly add {gain:.2%}"
            )
    audit = rounds[-1].audit if rounds else {}
    if target is not None and audit.get("low", -1.0) >= target:
        found.append(f"the target {target:g} is reached: the interval begins at {audit['low']:.3f}")
    return found
