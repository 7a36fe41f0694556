"""What a user can do something about: one line each, exit code 2 on the command line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HfalError(Exception):
    """Something in the input, the configuration or the run folder that the user can put right."""


def nearest(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'margin'?)`, or nothing where no known name is near."""
    matches = difflib.get_close_matches(str(name), [str(item) for item in known], n=1, cutoff=0.6)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def listing(names: Iterable[object], at_most: int = 12) -> str:
    """`a, b, c` or `a, b, … (40 in all)`."""
    items = [str(name) for name in names]
    if len(items) <= at_most:
        return ", ".join(items)
    return ", ".join(items[:at_most]) + f", … ({len(items)} in all)"


def count(number: int, noun: str) -> str:
    """`1 row`, `1,204 rows`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
