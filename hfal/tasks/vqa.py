"""Questions about pictures, answered in a word or two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset, Image
from numpy.typing import NDArray
from torch import Tensor

from hfal.errors import HfalError, listing
from hfal.pictures import key, problems
from hfal.tasks.base import Batch
from hfal.tasks.labels import check_columns, check_names, check_whole, index_of
from hfal.tasks.scores import class_scores
from hfal.tasks.usual import RowTask, blank, check_text, written

ENOUGH = 3
"""People who must have given an answer for it to be wholly right (Antol et al. 2015)."""
MOST_ANSWERS = 5000
SHOWN_CLASSES = 100
"""Answers up to which scores are told for each."""


@dataclass(frozen=True)
class VisualQuestionAnswering(RowTask):
    """A question about a picture has an answer of C, or several right ones.

    A label is an answer, a list of right answers, or (with `votes`) the answers of several people, as a list with
    repeats, counts `{"yes": 7, "no": 3}`, or `[{"answer": "yes", "count": 7}, …]`. An answer that n people gave
    scores `min(n / 3, 1)` (VQA accuracy; Antol et al. 2015).

    *Encoded*, a label is a sorted list of its answers, repeated by how often they count (at most 3 times). An answer
    that is not among the names is kept, but cannot be learned.

    Args:
        image: column of pictures: `datasets.Image`, or paths.
        question: column of questions.
        answers: column of the answers, where the data has them.
        label_names: the answers that the model can give. Taken from the column where they are not given: all, or the
            `top_answers` most frequent.
        votes: each entry of a list is one person's answer.
        separator: what divides several answers in one text, as "," in DAQUAR.
        top_answers: how many answers are learned at most.
    """

    image: str = "image"
    question: str = "question"
    answers: str = "answers"
    label_names: Sequence[str] | None = None
    votes: bool = False
    separator: str | None = None
    top_answers: int = MOST_ANSWERS

    name: ClassVar[str] = "visual_question_answering"
    auto_model: ClassVar[str] = "AutoModelForVisualQuestionAnswering"
    default_strategy: ClassVar[str] = "badge"
    default_start: ClassVar[str] = "random"
    asks: ClassVar[str] = "answer"
    embedded: ClassVar[str] = "picture"
    yields: ClassVar[frozenset[str]] = frozenset({"row", "latent", "text"})
    skips_empty: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.label_names is not None:
            names = check_names(self.label_names)
            if len(names) < 2:
                raise HfalError(f"label_names: at least two answers are needed, got {listing(names) or 'none'}")
            object.__setattr__(self, "label_names", names)

    @property
    def label(self) -> str:
        """The column of answers."""
        return self.answers

    @property
    def main_metric(self) -> str:
        """What curves and stopping look at."""
        return "vqa_accuracy"

    @property
    def inputs(self) -> tuple[str, ...]:
        """Picture and question."""
        return (self.image, self.question)

    @property
    def names(self) -> tuple[str, ...]:
        """The answers that the model can give."""
        if self.label_names is None:
            raise HfalError("the answers are not known yet: give label_names, or data with a column of answers")
        return tuple(self.label_names)

    @property
    def classes(self) -> tuple[str, ...]:
        """The answers."""
        return self.names

    @property
    def arrow_label(self) -> pa.DataType:
        """Answers."""
        return pa.list_(pa.string())

    @property
    def arrow_prediction(self) -> pa.DataType:
        """One answer."""
        return pa.string()

    def prepare(self, dataset: Dataset) -> Dataset:
        """The same rows, whose pictures stay as they are stored until they are looked at."""
        check_columns(dataset, self.inputs)
        feature = dataset.features[self.image]
        if isinstance(feature, Image) and not feature.decode:
            return dataset
        as_kept = isinstance(feature, dict) and feature.keys() == {"bytes", "path"}
        if as_kept or isinstance(feature, Image) or getattr(feature, "dtype", None) in ("string", "large_string"):
            return dataset.cast_column(self.image, Image(decode=False))
        kind = getattr(feature, "dtype", None) or "structures"
        raise HfalError(f"column {self.image!r} must hold pictures or their paths, but it holds {kind}")

    def resolve(self, dataset: Dataset) -> Self:
        """Check the columns, and find the answers where none were given."""
        check_columns(dataset, self.inputs)
        check_text(dataset, [self.question])
        if self.label_names is not None:
            return self
        if self.answers not in dataset.column_names:
            raise HfalError(
                f"the answers are not known: there is no column {self.answers!r} to take them from; give label_names "
                f"(columns: {listing(dataset.column_names)})"
            )
        times: Counter[str] = Counter()
        for at, label in enumerate(dataset.select_columns([self.answers])[self.answers]):
            if label is not None:
                times.update(self._counted(label, f"row {at}"))
        most = sorted(times, key=lambda answer: (-times[answer], answer))[: self.top_answers]
        if len(most) < 2:
            raise HfalError(f"column {self.answers!r} has {len(most)} different answers; at least two are needed")
        return replace(self, label_names=tuple(sorted(most)))

    def keys(self, batch: Batch) -> list[bytes]:
        """What the picture's file holds, and the question."""
        pairs = zip(batch[self.image], batch[self.question], strict=True)
        return [key(picture) + question.encode("utf-8", "surrogatepass") for picture, question in pairs]

    def empty(self, batch: Batch) -> list[str | None]:
        """Pictures that are missing or do not decode, questions without words."""
        pictures = problems(batch[self.image])
        questions = blank(batch, [self.question])
        return [
            f"column {self.image!r} {broken}" if broken else silent
            for broken, silent in zip(pictures, questions, strict=True)
        ]

    def tokenizer_inputs(self, batch: Batch) -> tuple[list[str], ...]:
        """The question."""
        return (batch[self.question],)

    def lengths(self, batch: Batch) -> list[int]:
        """Words of the question."""
        return [len(question.split()) for question in batch[self.question]]

    def _counted(self, label: Any, where: str) -> dict[str, int]:
        """Answer -> how often it counts."""
        if isinstance(label, str):
            label = [label] if self.separator is None else label.split(self.separator)
        if isinstance(label, Mapping):
            label = [{"answer": answer, "count": n} for answer, n in label.items() if n is not None]
        if not isinstance(label, (list, tuple, np.ndarray)):
            raise HfalError(f"answer {label!r} in {where} is neither a text, nor a list of texts, nor counts")
        counts: Counter[str] = Counter()
        for one in label:
            answer, times = (one.get("answer"), one.get("count", 1)) if isinstance(one, Mapping) else (one, 1)
            whole = isinstance(times, (int, np.integer)) and not isinstance(times, bool) and times >= 0
            if not isinstance(answer, str) or not whole:
                raise HfalError(f"answer {one!r} in {where} is not a text, or its count not a whole number")
            if isinstance(one, Mapping) and not self.votes:
                raise HfalError(f"{where} counts its answers: say votes: true")
            if answer.strip():
                counts[check_whole(" ".join(answer.split()), where)] += int(times)
        return {answer: min(n, ENOUGH) if self.votes else 1 for answer, n in counts.items() if n}

    def encode(self, label: Any, where: str, row: Mapping[str, Any] | None = None) -> list[str]:
        """Answers, or the place of one among the names -> answers."""
        if isinstance(label, (int, np.integer)):
            return [self.names[index_of(label, self.names, f"answer {label!r} in {where}")]]
        counted = self._counted(label, where)
        if not counted:
            raise HfalError(f"{where} has no answer")
        return sorted(answer for answer, times in counted.items() for _ in range(times))

    def decode(self, encoded: Any) -> list[str]:
        """The same."""
        return list(encoded)

    def present(self, row: Mapping[str, Any], encoded: Any) -> Any:
        """The answer."""
        return encoded[0]

    def mentions(self, encoded: Any) -> list[str]:
        """The different answers."""
        return sorted(set(encoded))

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names)}

    def class_of(self, encoded: Any) -> int | None:
        """The place of the answer that counts most; None where none can be learned."""
        scores = self._scores(encoded)
        return max(scores, key=lambda place: (scores[place], -place)) if scores else None

    def _scores(self, encoded: Any) -> dict[int, float]:
        """Place -> VQA accuracy of that answer."""
        enough = ENOUGH if self.votes else 1
        times = Counter(self._places[answer] for answer in encoded if answer in self._places)
        return {place: min(n / enough, 1.0) for place, n in times.items()}

    def targets(self, encoded: Sequence[Any]) -> Tensor:
        """[N, C] float32 scores of each answer."""
        result = torch.zeros(len(encoded), len(self.names))
        for row, label in enumerate(encoded):
            for place, score in self._scores(label).items():
                result[row, place] = score
        return result

    def loss(self, logits: Tensor, targets: Tensor, class_weights: Tensor | None, smoothing: float) -> Tensor:
        """[B] cross entropy towards the shares of the right answers; 0 of a row none of whose answers is known."""
        total = targets.sum(-1, keepdim=True)
        shares = targets / total.clamp_min(1e-6)
        if class_weights is not None:
            shares = shares * class_weights
        known = total > 0
        shares = shares * (1 - smoothing) + known * smoothing / shares.shape[-1]
        return -(shares * torch.log_softmax(logits, -1)).sum(-1)

    def predict(self, logits: Any) -> tuple[list[Any], NDArray[np.float32]]:
        """The likeliest answer and its probability; of a model that writes, what it wrote."""
        if not isinstance(logits, Tensor):
            return written(logits)
        best = torch.softmax(logits.float(), -1).max(-1)
        return [[self.names[place]] for place in best.indices.tolist()], best.values.numpy()

    @property
    def tallied(self) -> str:
        """The score that `tally` gives."""
        return "vqa_accuracy"

    def tally(self, logits: Any, encoded: Sequence[Any]) -> NDArray[np.float64]:
        """The VQA accuracy of each row's answer, and of how many: one."""
        enough = ENOUGH if self.votes else 1
        scored = zip(self.predict(logits)[0], encoded, strict=True)
        return np.array([[min(list(label).count(guess[0]) / enough, 1.0), 1.0] for guess, label in scored])

    def metrics(self, logits: Tensor, encoded: Sequence[Any]) -> dict[str, Any]:
        """`vqa_accuracy`, `exact_match` (the answer that counts most) and, of at most 100 answers, `per_class`."""
        guesses = [answer[0] for answer in self.predict(logits)[0]]
        most = [max(sorted(set(label)), key=list(label).count) for label in encoded]
        scores: dict[str, Any] = {
            "vqa_accuracy": float(self.tally(logits, encoded)[:, 0].mean()),
            "exact_match": float(np.mean([a == b for a, b in zip(guesses, most, strict=True)])),
        }
        if not isinstance(logits, Tensor) or len(self.names) > SHOWN_CLASSES:
            return scores
        guess = logits.argmax(-1).numpy()
        true = np.array([-1 if (best := self.class_of(label)) is None else best for label in encoded])
        known = true >= 0
        if known.any():
            scores["per_class"] = class_scores(true[known], guess[known], self.names)[1]
        return scores
