"""Models that find the answer in a text, trained in each round."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoModelForQuestionAnswering, PreTrainedModel

from hfal.compute import derive_seed, own_randomness, state
from hfal.dropout import ConsistentDropout, dropout_on
from hfal.errors import HfalError
from hfal.inference import own_batches, plan_batches, token_budget
from hfal.learners.by_row import ByRow
from hfal.learners.looking import NOT_YET, refuse_unknown
from hfal.learners.trained import TrainedLearner
from hfal.models import load_tokenizer, load_writer, max_length_of, pool_hidden, quiet, unit_length
from hfal.signals import Needs, Signals
from hfal.spans_read import BEST, LOW, Candidate, SpanExamples, Windows, best_spans, read_windows
from hfal.tasks.base import Task
from hfal.tasks.question_answering import QuestionAnswering
from hfal.training_config import FitReport, TrainingConfig

KNOWN = frozenset({"logits", "mc_logits", "embeddings", "texts", "starts", "lengths"})


class Extract(TrainedLearner[PreTrainedModel]):
    """Any model of `AutoModelForQuestionAnswering`, trained anew on all labels in each round.

    What strategies see as classes are a row's own best 20 spans (no answer among them): margin, entropy, bald and the
    rest tell how sure the model is of the place. Contexts longer than the model are read in overlapping windows.

    Args:
        model: a Hub name, a folder, or a demo asset (`demo/minilm`).
        config: how to train.
        max_length: tokens of a window; the model's own limit where it is lower.
        pad_token: for tokenizers that have none.
        trust_remote_code: run code that comes with the model. Off, and only ever on by your own word.
    """

    def __init__(
        self,
        model: str,
        config: TrainingConfig | None = None,
        *,
        max_length: int | None = 384,
        pad_token: str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        self.name = model
        self.config = config or TrainingConfig()
        self.max_length = max_length
        self.pad_token = pad_token
        self.trust_remote_code = trust_remote_code

    task: QuestionAnswering

    def describe(self) -> dict[str, Any]:
        """The learner as configuration."""
        settings = {"max_length": self.max_length, "training": self.config.model_dump()}
        return {"type": "extract", "model": self.name, **settings}

    def bind(self, task: Task, seed: int, cache: Path | None = None) -> None:
        """See `Learner.bind`."""
        if not isinstance(task, QuestionAnswering):
            raise HfalError(f"learner.type extract finds answers in texts: it does not do {task.name}")
        self.task, self.seed, self.cache = task, seed, cache
        self.tokenizer = load_tokenizer(self.name, trust_remote_code=self.trust_remote_code, pad_token=self.pad_token)
        if not self.tokenizer.is_fast:
            raise HfalError(f"learner.model: the tokenizer of {self.name} does not say where its tokens are in a text")
        self._model, self._trained = self._fresh(), False
        self._length = max_length_of(self._model, self.tokenizer, self.max_length)

    def _fresh(self) -> PreTrainedModel:
        with own_randomness(derive_seed("head", self.seed)):
            return load_writer(AutoModelForQuestionAnswering, self.name, trust_remote_code=self.trust_remote_code)

    def _windows(self, rows: Dataset) -> Windows:
        return read_windows(self.tokenizer, rows[self.task.question], rows[self.task.context], self._length)

    def fit(self, train_rows: Dataset, validation: Dataset | None = None) -> FitReport:
        """See `Learner.fit`."""
        held_out = None if validation is None else self._examples(validation)
        model, report = self._train(self._fresh(), self._examples(train_rows), held_out, len(train_rows))
        self._model, self._trained = model, True
        return report

    def _examples(self, rows: Dataset) -> SpanExamples:
        answers = [
            (label[0]["start"], label[0]["start"] + len(label[0]["text"])) if label else None
            for label in rows["labels"]
        ]
        return SpanExamples(self._windows(rows), answers, self.tokenizer.pad_token_id)

    def signals(self, rows: Dataset, needs: Needs) -> Signals:
        """See `Learner.signals`. Rows go by length, all windows of a row together."""
        model = self.current
        refuse_unknown("extract", needs, KNOWN)
        if not self._trained and needs.every_field - {"embeddings"}:
            raise HfalError(NOT_YET)
        if needs.mc_samples and needs.mc_layers == "checkpoints":
            raise HfalError("extract keeps no checkpoints: mc_layers must be all or head, which are the same here")
        found = ByRow(needs)
        for batch, seen in self._batches(model, rows, needs):
            found.put(batch, seen)
        return found.signals(len(rows))

    def _batches(
        self, model: PreTrainedModel, rows: Dataset, needs: Needs
    ) -> Iterator[tuple[NDArray[np.int64], Signals]]:
        device, windows, contexts = state().device, self._windows(rows), rows[self.task.context]
        model = model.to(device).eval()
        budget = token_budget(int(model.config.hidden_size), device)
        for batch in own_batches(plan_batches(windows.lengths, budget), "scoring"):
            yield batch, self._seen(model, windows.take(batch), [contexts[row] for row in batch], needs)

    @torch.inference_mode()
    def _seen(self, model: PreTrainedModel, part: Windows, contexts: Sequence[str], needs: Needs) -> Signals:
        """What the model says of one batch."""
        padded = part.tokens.padded(self.tokenizer.pad_token_id)
        inputs = {name: value.to(state().device) for name, value in padded.items()}
        fields: dict[str, Any] = {}
        with self.precision():
            answer = model(**inputs, output_hidden_states="embeddings" in needs.every_field)
        if "embeddings" in needs.every_field:
            pooled = pool_hidden(answer.hidden_states[-1].float(), inputs["attention_mask"], "mean").cpu()
            of_rows = torch.stack([pooled[a:b].mean(0) for a, b in pairwise(part.of.tolist())])
            fields["embeddings"] = unit_length(of_rows)
        if needs.every_field & {"logits", "mc_logits", "texts", "starts"}:
            begin, stop = answer.start_logits.float().cpu(), answer.end_logits.float().cpu()
            found = [best_spans(part, row, begin, stop) for row in range(len(part))]
            fields["logits"] = torch.stack([_padded(scores) for _, scores in found])
            best = [candidates[0] for candidates, _ in found]
            fields["starts"] = [one.start for one in best]
            fields["texts"] = [
                "" if one.start < 0 else text[one.start : one.end] for one, text in zip(best, contexts, strict=True)
            ]
            if "mc_logits" in needs.every_field:
                fields["mc_logits"] = self._samples(model, inputs, [candidates for candidates, _ in found], needs)
        return Signals(rows=np.arange(len(part)), **fields)

    def _samples(
        self, model: PreTrainedModel, inputs: dict[str, Tensor], found: list[list[Candidate]], needs: Needs
    ) -> Tensor:
        """[K, B, 20] scores of the same spans in K dropout samples of the whole model."""
        samples = []
        for sample in range(needs.mc_samples):
            with self.precision(), dropout_on(model), ConsistentDropout(derive_seed("mc", self.seed), sample):
                answer = model(**inputs)
            begin, stop = answer.start_logits.float().cpu(), answer.end_logits.float().cpu()
            scores = [[float(begin[c.window, c.first] + stop[c.window, c.last]) for c in row] for row in found]
            samples.append(torch.stack([_padded(row) for row in scores]))
        return torch.stack(samples)

    def load(self, folder: Path) -> None:
        """See `Learner.load`."""
        with quiet():
            loaded = AutoModelForQuestionAnswering.from_pretrained(folder, use_safetensors=True)
        self._model, self._trained = loaded.eval(), True


def _padded(scores: Sequence[float]) -> Tensor:
    """[20] scores of a row's spans; those that it lacks are far below."""
    full = torch.full((BEST,), max(scores) + LOW)
    full[: len(scores)] = torch.tensor(scores)
    return full
