"""Questions that are answered by a piece of a text."""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor

from hfal.errors import HfalError
from hfal.tasks.base import Batch
from hfal.tasks.usual import RowTask, blank, check_text

Span = dict[str, Any]
"""`start`, in characters, and `text`."""


@dataclass(frozen=True)
class QuestionAnswering(RowTask):
    """A question about a context has an answer that stands in it (SQuAD; Rajpurkar et al. 2016), or none.

    A label is as SQuAD has it, `{"text": [...], "answer_start": [...]}` (empty lists: no answer), a list of
    `{"start", "text"}`, or a text that stands in the context once. *Encoded*, it is a list of `{"start", "text"}`; the
    first is trained on, each is right.

    Args:
        question: column of questions.
        context: column of the texts that answer them.
        answers: column of answers, where the data has them.
    """

    question: str = "question"
    context: str = "context"
    answers: str = "answers"

    name: ClassVar[str] = "question_answering"
    auto_model: ClassVar[str] = "AutoModelForQuestionAnswering"
    default_strategy: ClassVar[str] = "margin>kmeans(prefilter=10)"
    default_start: ClassVar[str] = "typiclust"
    asks: ClassVar[str] = "span"
    embedded: ClassVar[str] = "span"
    yields: ClassVar[frozenset[str]] = frozenset({"row", "text"})
    output_fields: ClassVar[frozenset[str]] = frozenset({"logits", "texts", "starts"})
    checks_row: ClassVar[bool] = True
    names: ClassVar[tuple[str, ...]] = ()
    classes: ClassVar[tuple[str, ...]] = ("answer",)

    def __post_init__(self) -> None:
        if self.question == self.context:
            raise HfalError(f"question and context are the same column, {self.question!r}")

    @property
    def label(self) -> str:
        """The column of answers."""
        return self.answers

    @property
    def main_metric(self) -> str:
        """What curves and stopping look at."""
        return "f1"

    @property
    def inputs(self) -> tuple[str, ...]:
        """Question and context."""
        return (self.question, self.context)

    @property
    def arrow_label(self) -> pa.DataType:
        """Spans."""
        return pa.list_(pa.struct([("start", pa.int64()), ("text", pa.string())]))

    @property
    def arrow_prediction(self) -> pa.DataType:
        """One text; empty where there is no answer."""
        return pa.string()

    def resolve(self, dataset: Dataset) -> Self:
        """Check the columns."""
        check_text(dataset, self.inputs)
        return self

    def keys(self, batch: Batch) -> list[bytes]:
        """Both texts."""
        rows = zip(batch[self.question], batch[self.context], strict=True)
        return [json.dumps(row).encode() for row in rows]

    def empty(self, batch: Batch) -> list[str | None]:
        """Missing and blank texts."""
        return blank(batch, self.inputs)

    def tokenizer_inputs(self, batch: Batch) -> tuple[list[str], ...]:
        """Question and context."""
        return batch[self.question], batch[self.context]

    def lengths(self, batch: Batch) -> list[int]:
        """Words of both."""
        rows = zip(batch[self.question], batch[self.context], strict=True)
        return [len(question.split()) + len(context.split()) for question, context in rows]

    def encode(self, label: Any, where: str, row: Mapping[str, Any] | None = None) -> list[Span]:
        """An answer in any form -> spans, which are looked up in the row's context.

        Raises:
            HfalError: it does not stand where it is said to, or not once.
        """
        context = None if row is None else row[self.context]
        if isinstance(label, str):
            label = [] if not label.strip() else [{"start": self._find(label, context, where), "text": label}]
        if isinstance(label, Mapping):
            texts, starts = label.get("text"), label.get("answer_start")
            if not isinstance(texts, Sequence) or not isinstance(starts, Sequence) or len(texts) != len(starts):
                raise HfalError(f"answer in {where}: expected lists text and answer_start of one length")
            label = [{"start": start, "text": text} for start, text in zip(starts, texts, strict=True)]
        if not isinstance(label, (list, tuple)):
            raise HfalError(f"answer {label!r} in {where} is neither a text nor spans with start and text")
        return [self._checked(one, context, where) for one in label]

    @staticmethod
    def _find(text: str, context: str | None, where: str) -> int:
        times = 0 if context is None else context.count(text)
        if context is None or times != 1:
            raise HfalError(f"answer {text[:60]!r} in {where} stands {times} times in its context: say where (start)")
        return context.index(text)

    @staticmethod
    def _checked(span: Any, context: str | None, where: str) -> Span:
        if not isinstance(span, Mapping) or not isinstance(span.get("text"), str) or not span["text"]:
            raise HfalError(f"answer {span!r} in {where} has no text")
        start = span.get("start")
        if not isinstance(start, (int, np.integer)) or isinstance(start, bool) or start < 0:
            raise HfalError(f"answer {span['text'][:60]!r} in {where} does not say where it starts")
        there = None if context is None else context[start : start + len(span["text"])]
        if there is not None and there != span["text"]:
            raise HfalError(f"answer {span['text'][:60]!r} in {where} is not at {start}: there is {there[:60]!r}")
        return {"start": int(start), "text": span["text"]}

    def decode(self, encoded: Any) -> list[Span]:
        """The same."""
        return [dict(span) for span in encoded]

    def present(self, row: Mapping[str, Any], encoded: Any) -> Any:
        """The text of the answer."""
        return encoded[0]["text"] if encoded else ""

    def mentions(self, encoded: Any) -> list[str]:
        """Whether there is an answer."""
        return ["answer"] if encoded else []

    def targets(self, encoded: Sequence[Any]) -> Any:
        """Not used: the learner knows which tokens an answer has."""
        raise TypeError("answers are learned as places of tokens: use learner.type extract")

    def loss(self, logits: Tensor, targets: Tensor, class_weights: Tensor | None, smoothing: float) -> Tensor:
        """Not used: the learner has the loss of both ends."""
        raise TypeError("answers are learned as places of tokens: use learner.type extract")

    def predict(self, outputs: Any) -> tuple[list[Any], NDArray[np.float32]]:
        """The likeliest span of each row (none: an empty list), and its probability among the best."""
        found = [
            [] if start < 0 else [{"start": start, "text": text}]
            for start, text in zip(outputs.starts, outputs.texts, strict=True)
        ]
        best = torch.softmax(outputs.logits.float(), -1).amax(-1) if len(found) else torch.empty(0)
        return found, best.numpy()

    @property
    def tallied(self) -> str:
        """The score that `tally` gives."""
        return "f1"

    def tally(self, outputs: Any, encoded: Sequence[Any]) -> NDArray[np.float64]:
        """F1 of each row's answer, and of how many: one."""
        pairs = zip(outputs.texts, encoded, strict=True)
        return np.array([[_best(token_f1, text, label), 1.0] for text, label in pairs], dtype=float).reshape(-1, 2)

    def metrics(self, outputs: Any, encoded: Sequence[Any]) -> dict[str, Any]:
        """`f1` over words and `exact_match`, as SQuAD defines them: the best over the right answers."""
        pairs = list(zip(outputs.texts, encoded, strict=True))
        same = [_best(lambda a, b: float(normalized(a) == normalized(b)), *pair) for pair in pairs]
        return {"f1": float(self.tally(outputs, encoded)[:, 0].mean()), "exact_match": float(np.mean(same))}


def normalized(text: str) -> str:
    """Lower case, without punctuation, articles and further blanks: what SQuAD compares."""
    bare = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def token_f1(text: str, reference: str) -> float:
    """F1 over the words of two answers; of no answer 1 where both are none."""
    ours, theirs = normalized(text).split(), normalized(reference).split()
    if not ours or not theirs:
        return float(ours == theirs)
    same = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * same / (len(ours) + len(theirs))


def _best(score: Any, text: str, label: Sequence[Span]) -> float:
    return max((float(score(text, span["text"])) for span in label), default=float(score(text, "")))
