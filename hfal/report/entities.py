"""Sentences with their entities marked, for the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hfal.report.figures import COLORS
from hfal.report.view import RunView
from hfal.tasks.schemes import spans
from hfal.tasks.tokens import TokenClassification
from hfal.tasks.words import joined

LONGEST = 1500
"""Characters of a row that are shown."""

Segment = tuple[str, str | None]
"""A piece of text, and the type it is marked with."""


def tags_words(run: RunView) -> bool:
    """Whether the labels of a run are tags of words."""
    return run.pool.get("task") == TokenClassification.name


def spells_entities(run: RunView) -> bool:
    """Whether these tags spell entities."""
    return tags_words(run) and run.pool["classes"] != run.pool["label_names"]


def mentions(run: RunView, label: Any) -> list[str]:
    """The classes that a label names: entity types, tags or label names."""
    if spells_entities(run):
        return [kind for _, _, kind in spans(label or [])]
    return label if isinstance(label, list) else [label]


def colors_of(run: RunView) -> dict[str, str]:
    """A colour for each class."""
    return {name: COLORS[index % len(COLORS)] for index, name in enumerate(run.pool.get("classes", []))}


def marked(run: RunView, row: dict[str, Any]) -> dict[str, Any]:
    """A row of a round with its words as segments: as labelled, and as predicted where that differs."""
    (column,) = run.pool["inputs"]
    guess = row["predicted"] if row["predicted"] != row["label"] else None
    entities = spells_entities(run)
    return row | {
        "truth": _segments(row[column], row["label"], entities),
        "guess": _segments(row[column], guess, entities) if guess else None,
    }


def _segments(words: str | Sequence[str], tags: Sequence[str] | None, entities: bool) -> list[Segment]:
    text, bounds = joined(words)
    found = spans(tags or []) if entities else [(at, at + 1, tag) for at, tag in enumerate(tags or [])]
    pieces: list[Segment] = []
    at = 0
    for first, end, kind in found:
        start, stop = bounds[first][0], bounds[end - 1][1]
        if stop > LONGEST:
            break
        pieces += [(text[at:start], None), (text[start:stop], kind)]
        at = stop
    rest = text[at : max(at, LONGEST)]
    return [*pieces, (rest + (" …" if at + len(rest) < len(text) else ""), None)]
