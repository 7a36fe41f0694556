"""Rows of words as people see them: one text, and spans of words in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hfal.errors import HfalError
from hfal.labeling.work import Row, Work
from hfal.tasks import Task
from hfal.tasks.schemes import OUTSIDE, spans, tags_of
from hfal.tasks.words import joined

WordSpan = tuple[int, int, str]
"""The first word, the one after the last, and what they are."""


def marks_words(task: Task) -> bool:
    """Whether people mark words: to tag them, or to say where an answer stands."""
    return task.asks in ("words", "span")


def text_and_bounds(work: Work, row: Row) -> tuple[str, list[tuple[int, int]]]:
    """The text in which words are marked, and where its words are in it."""
    return joined(row[work.task.inputs[-1]])


def span_words(bounds: Sequence[tuple[int, int]], start: int, end: int) -> WordSpan | None:
    """The words that a span of characters touches, as an answer."""
    touched = [at for at, (first, last) in enumerate(bounds) if first < end and last > start]
    return (touched[0], touched[-1] + 1, "answer") if touched else None


def entities(work: Work, label: list[Any], row: Row) -> list[WordSpan]:
    """Tags as spans of words (tags without a scheme are a span each), or answers as the words that they touch."""
    if work.task.asks == "span":
        bounds = text_and_bounds(work, row)[1]
        found = [span_words(bounds, one["start"], one["start"] + len(one["text"])) for one in label[:1]]
        return [span for span in found if span is not None]
    if getattr(work.task, "spells_entities", False):
        return spans(label)
    return [(at, at + 1, tag) for at, tag in enumerate(label)]


def label_from(work: Work, found: Sequence[WordSpan], row: Row) -> list[Any]:
    """Spans that do not overlap, in order, as the label of a row: its tags, or the one answer (or none)."""
    text, bounds = text_and_bounds(work, row)
    if work.task.asks != "span":
        return tags_from(work, found, len(bounds))
    if len(found) > 1:
        raise HfalError(f"{len(found)} spans are marked, but a question has one answer")
    return [{"start": bounds[a][0], "text": text[bounds[a][0] : bounds[b - 1][1]]} for a, b, _ in found]


def tags_from(work: Work, found: Sequence[WordSpan], size: int) -> list[str]:
    """Spans that do not overlap, in order, as the tags of a row of `size` words."""
    if getattr(work.task, "spells_entities", False):
        return tags_of(found, size, work.task.scheme)  # type: ignore[attr-defined]
    tags = [OUTSIDE if OUTSIDE in work.task.names else work.task.names[0]] * size
    for first, end, kind in found:
        tags[first:end] = [kind] * (end - first)
    return tags
