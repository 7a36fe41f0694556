"""Rows of words as people see them: one text, and spans of words in it."""

from __future__ import annotations

from collections.abc import Sequence

from hfal.labeling.work import Row, Work
from hfal.tasks.schemes import OUTSIDE, spans, tags_of
from hfal.tasks.words import joined

WordSpan = tuple[int, int, str]
"""The first word, the one after the last, and what they are."""


def text_and_bounds(work: Work, row: Row) -> tuple[str, list[tuple[int, int]]]:
    """A row of words as one text, and where its words are in it."""
    (column,) = work.task.inputs
    return joined(row[column])


def entities(work: Work, label: list[str]) -> list[WordSpan]:
    """Tags as spans of words; tags without a scheme are a span each."""
    if getattr(work.task, "spells_entities", False):
        return spans(label)
    return [(at, at + 1, tag) for at, tag in enumerate(label)]


def tags_from(work: Work, found: Sequence[WordSpan], size: int) -> list[str]:
    """Spans that do not overlap, in order, as the tags of a row of `size` words."""
    if getattr(work.task, "spells_entities", False):
        return tags_of(found, size, work.task.scheme)  # type: ignore[attr-defined]
    tags = [OUTSIDE if OUTSIDE in work.task.names else work.task.names[0]] * size
    for first, end, kind in found:
        tags[first:end] = [kind] * (end - first)
    return tags
