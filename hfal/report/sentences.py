"""Figures of a run in words, the same in status, report and label page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hfal.budget import in_words
from hfal.errors import count
from hfal.report.figures import title_of

KAPPAS = {"krippendorff": "Krippendorff's alpha", "fleiss": "Fleiss' kappa"}
MOST_PAIRS = 3


def audit_line(audit: Mapping[str, Any]) -> str:
    """What the audited rows say of the model; empty where there are none."""
    if not audit:
        return ""
    rows = count(audit["rows"], "row")
    if "value" not in audit:
        return f"{rows} drawn by chance so far: too few to say how good the model is"
    name, low, high = title_of(audit["metric"]), audit["low"], audit["high"]
    return f"{name} {audit['value']:.3f} on the pool, 95% interval {low:.3f} to {high:.3f} ({rows})"


def saving_line(saving: Mapping[str, Any], unit: str) -> str:
    """What the choosing saved against chance, or that it is too early to say; empty where nobody can tell."""
    if not saving:
        return ""
    if "spent" not in saving:
        return (
            f"too early to say how many labels the choosing has saved ({count(saving['rows'], 'row')} drawn by chance)"
        )
    spent = saving["spent"]
    low = saving["needed_low"] - spent
    value, high = (None if saving[key] is None else saving[key] - spent for key in ("needed", "needed_high"))
    if high is None and low > 0:
        return f"at least {_amount(low, unit)} saved against chance (with 95% confidence)"
    upper = "more than can be told" if high is None else f"{high:,.0f}"
    interval = f"95% interval {low:,.0f} to {upper}"
    if value is None or (low <= 0 and (high is None or high >= 0)):
        return f"too early to say how many labels the choosing has saved ({interval})"
    if value < 0 and high is not None:
        said = f"about {_amount(-value, unit)} more than chance would have needed"
        return f"{said}, 95% interval {-high:,.0f} to {-low:,.0f} more"
    return f"about {_amount(value, unit)} saved against chance, {interval}"


def _amount(value: float, unit: str) -> str:
    return in_words(round(value), unit)


def agreement_sentence(found: Mapping[str, Any]) -> str:
    """How far people agree; empty where no row has two answers."""
    if not found:
        return ""
    kappas = [f"{title} {found[key]:.2f}" for key, title in KAPPAS.items() if key in found]
    pairs = [f"kappa of {who} {value:.2f}" for who, value in found["cohen"].items()][:MOST_PAIRS]
    said = ", ".join([f"{found['share']:.0%} alike", *kappas, *pairs])
    return f"{said} (over {count(found['rows'], 'row')})"
