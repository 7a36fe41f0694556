"""Answers in several wordings, to try what an uncertainty makes of them. The wordings are made up here."""

from __future__ import annotations

import numpy as np
from datasets import Dataset

WORDINGS = {
    "yes": ("yes", "yeah", "yep", "it does", "it is", "correct"),
    "no": ("no", "nope", "not really", "it does not", "it is not", "wrong"),
}
"""Those of easy-VQA's answers that are open in their wording; shapes and colours have one."""


def reworded(rows: Dataset, column: str, seed: int, *, every: bool = False) -> Dataset:
    """The rows with each answer in one of its wordings, drawn; or with all of them, each of which is right.

    Args:
        rows: with a text in `column`.
        column: of the answers.
        seed: of what is drawn.
        every: lists of all wordings, for rows that are measured on.
    """
    rng = np.random.default_rng(seed)
    answers = [WORDINGS.get(answer, (answer,)) for answer in rows[column]]
    said = [list(ways) if every else [str(rng.choice(ways))] for ways in answers]
    return rows.remove_columns([column]).add_column(column, said)
