"""Words of raw text, for people who label characters and models that label words."""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import regex

from hfal.errors import HfalError, listing
from hfal.tasks.schemes import Span

_WORD = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Line_Break=Complex_Context}]\p{M}*"  # written without spaces: each its own
    r"|[\p{L}\p{N}\p{M}_]+?(?=[\p{Han}\p{Hiragana}\p{Katakana}\p{Line_Break=Complex_Context}])"
    r"|[\p{L}\p{N}\p{M}_]+"
    r"|(?!\s)\X"  # anything else, as people see it: one emoji is one word
)


def word_bounds(text: str) -> list[tuple[int, int]]:
    """Where the words of a text begin and end: runs of letters and digits, and every other sign by itself.

    Scripts that are written without spaces (Chinese, Japanese, Thai, …) are cut at each character.
    """
    return [match.span() for match in _WORD.finditer(text)]


def words_of(text: str) -> list[str]:
    """The words of a text."""
    return [text[start:end] for start, end in word_bounds(text)]


def spans_of(text: str, entities: Sequence[Mapping[str, Any]], where: str) -> list[Span]:
    """Character spans `{"start", "end", "label"}` as spans of words.

    Raises:
        HfalError: a span that is not in the text, cuts a word (the word is shown) or overlaps another.
    """
    bounds = word_bounds(text)
    starts, ends = [start for start, _ in bounds], [end for _, end in bounds]
    found: list[Span] = []
    for number, entity in enumerate(entities):
        what = f"entity {number} in {where}"
        first, last, label = _fields(entity, what)
        if not 0 <= first < last <= len(text):
            raise HfalError(f"{what} is from {first} to {last}, but the text has {len(text)} characters")
        shown = text[first:last]
        begin, end = bisect_right(ends, first), bisect_left(starts, last)
        if begin >= end:
            raise HfalError(f"{what}, {shown!r}, holds no word")
        for word, at, edge in ((begin, first, "begins"), (end - 1, last, "ends")):
            inside = starts[word] < at < ends[word]
            if inside:
                cut = text[starts[word] : ends[word]]
                raise HfalError(
                    f"{what}, {shown!r} ({first} to {last}), {edge} inside the word {cut!r} "
                    f"({starts[word]} to {ends[word]}): spans hold whole words"
                )
        found.append((begin, end, label))
    found.sort()
    for before, after in itertools.pairwise(found):
        if after[0] < before[1]:
            cut = text[starts[after[0]] : ends[after[0]]]
            raise HfalError(f"{where}: entities {before[2]} and {after[2]} overlap at the word {cut!r}")
    return found


def _fields(entity: Any, what: str) -> tuple[int, int, str]:
    if not isinstance(entity, Mapping):
        raise HfalError(f"{what} is {entity!r}; expected start, end and label")
    missing = [key for key in ("start", "end", "label") if entity.get(key) is None]
    if missing:
        raise HfalError(f"{what} has no {listing(missing)}; expected start, end and label")
    start, end = entity["start"], entity["end"]
    if not (isinstance(start, int) and isinstance(end, int)):
        raise HfalError(f"{what}: start and end must be whole numbers, got {start!r} and {end!r}")
    return start, end, str(entity["label"])


def joined(words: str | Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """A text, or words joined by blanks, and where its words are in it."""
    if isinstance(words, str):
        return words, word_bounds(words)
    bounds, at = [], 0
    for word in words:
        bounds.append((at, at + len(word)))
        at += len(word) + 1
    return " ".join(words), bounds
