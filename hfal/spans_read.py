"""Contexts read in windows, and the spans that answer a question: from the ends' logits to the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hfal.alignment import OVERLAP
from hfal.examples import Examples
from hfal.tasks.base import Task
from hfal.tokens import Tokens, offsets_of, taken

BEST = 20
"""Spans of a row that are told apart."""
LONGEST = 30
"""Tokens of an answer at most."""
NO_PLACE = -1
LOW = -30.0
"""Logit of a span that is not there, below the best."""


@dataclass(frozen=True)
class Windows:
    """N rows as windows of token ids, each with the question and a part of the context.

    Attributes:
        tokens: the W windows.
        of: [N + 1] offsets; row i has the windows `of[i]` to `of[i + 1]`.
        first: [T] where each token begins in the context, in characters; `NO_PLACE` for other tokens.
        last: [T] where it ends.
    """

    tokens: Tokens
    of: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.of) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[N] tokens of each row, all windows together."""
        return np.diff(self.tokens.offsets[self.of])

    def take(self, rows: NDArray[np.int64]) -> Windows:
        """These rows, in this order."""
        of, which = taken(self.of, rows)
        _, at = taken(self.tokens.offsets, which)
        return Windows(self.tokens.take(which), of, self.first[at], self.last[at])

    def ends(self, row: int) -> list[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
        """Of each window of a row its number, and where its tokens begin and end in the context."""
        found = []
        for window in range(int(self.of[row]), int(self.of[row + 1])):
            part = slice(int(self.tokens.offsets[window]), int(self.tokens.offsets[window + 1]))
            found.append((window, self.first[part], self.last[part]))
        return found


def read_windows(tokenizer: Any, questions: Sequence[str], contexts: Sequence[str], max_length: int) -> Windows:
    """Questions with their contexts, in windows that overlap by a quarter; a question has at most half of one."""
    questions = [_short(tokenizer, question, max_length // 2) for question in questions]
    encoded = tokenizer(
        list(questions),
        list(contexts),
        truncation="only_second",
        max_length=max_length,
        stride=max_length // OVERLAP // 2,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        verbose=False,
    )
    rows = np.array(encoded["overflow_to_sample_mapping"], dtype=np.int64)
    first, last = [], []
    for window, places in enumerate(encoded["offset_mapping"]):
        inside = np.array([part == 1 for part in encoded.sequence_ids(window)], dtype=bool)
        ends = np.array(places, dtype=np.int64).reshape(-1, 2)
        inside &= ends[:, 1] > ends[:, 0]
        first.append(np.where(inside, ends[:, 0], NO_PLACE))
        last.append(np.where(inside, ends[:, 1], NO_PLACE))
    tokens = Tokens.of(encoded["input_ids"], encoded.get("token_type_ids", ()))
    counts = np.bincount(rows, minlength=len(questions))
    return Windows(tokens, offsets_of(counts), np.concatenate(first), np.concatenate(last))


def _short(tokenizer: Any, question: str, most: int) -> str:
    places = tokenizer(question, add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    return question if len(places) <= most else question[: places[most - 1][1]]


class SpanExamples(Examples):
    """Windows, and the tokens at which their answers begin and end; the first token where a window has none.

    Args:
        windows: of N rows.
        answers: N times where the answer begins and ends, in characters; None for no answer.
        pad_id: the tokenizer's padding token.
    """

    def __init__(self, windows: Windows, answers: Sequence[tuple[int, int] | None], pad_id: int) -> None:
        ends = np.zeros((len(windows.tokens), 2), dtype=np.int64)
        for row, answer in enumerate(answers):
            for window, first, last in windows.ends(row):
                if answer is not None:
                    begin = np.flatnonzero((first != NO_PLACE) & (first <= answer[0]) & (last > answer[0]))
                    stop = np.flatnonzero((first != NO_PLACE) & (first < answer[1]) & (last >= answer[1]))
                    if len(begin) and len(stop):
                        ends[window] = begin[0], stop[0]
        super().__init__(windows.tokens, torch.from_numpy(ends), pad_id)

    def losses(
        self,
        model: nn.Module,
        task: Task,
        rows: NDArray[np.int64],
        device: torch.device,
        class_weights: Tensor | None = None,
        smoothing: float = 0.0,
        part: int | None = None,
    ) -> Tensor:
        """[B] mean cross entropy of both ends over the tokens of a window."""
        batch = {k: v.to(device) for k, v in self.tokens.pad(rows, self.pad_id).items()}
        wanted = self.values[torch.from_numpy(rows)].to(device)
        answer = model(**batch)
        hidden = batch["attention_mask"] == 0
        ends = (answer.start_logits, answer.end_logits)
        losses = [
            nn.functional.cross_entropy(
                logits.float().masked_fill(hidden, -1e4), wanted[:, end], label_smoothing=smoothing, reduction="none"
            )
            for end, logits in enumerate(ends)
        ]
        return (losses[0] + losses[1]) / 2


@dataclass(frozen=True)
class Candidate:
    """A span: in which window its tokens are, and where it stands in the context; both -1 where there is no answer."""

    window: int
    first: int
    last: int
    start: int
    end: int


def best_spans(windows: Windows, row: int, begin: Tensor, stop: Tensor) -> tuple[list[Candidate], list[float]]:
    """The best spans of a row over all of its windows, best first, and their scores.

    A span's score is the sum of its ends' logits, the highest of the windows that hold it; no answer has the lowest
    over the windows of that sum at the first token.

    Args:
        windows: of a batch.
        row: of the batch.
        begin: [W, S] logits that an answer begins at a token.
        stop: [W, S] that it ends there.
    """
    found: dict[tuple[int, int], tuple[float, Candidate]] = {}
    nothing: tuple[float, Candidate] | None = None
    for window, first, last in windows.ends(row):
        size = len(first)
        inside = torch.from_numpy(first != NO_PLACE)
        starts = begin[window, :size].masked_fill(~inside, -torch.inf)
        ends = stop[window, :size].masked_fill(~inside, -torch.inf)
        at_start, at_end = (torch.topk(one, min(BEST, size)).indices for one in (starts, ends))
        for a in at_start.tolist():
            for b in at_end.tolist():
                if not (a <= b < a + LONGEST and inside[a] and inside[b]):
                    continue
                score = float(starts[a] + ends[b])
                place = int(first[a]), int(last[b])
                if place not in found or score > found[place][0]:
                    found[place] = score, Candidate(window, a, b, *place)
        none = float(begin[window, 0] + stop[window, 0])
        if nothing is None or none < nothing[0]:
            nothing = none, Candidate(window, 0, 0, NO_PLACE, NO_PLACE)
    assert nothing is not None
    best = sorted([*found.values(), nothing], key=lambda one: (-one[0], one[1].start, one[1].end))[:BEST]
    return [candidate for _, candidate in best], [score for score, _ in best]
