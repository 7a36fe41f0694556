"""Learning from few labels by comparing rows: the encoder first, and then a head on what it gives (SetFit)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from hfal.alignment import model_inputs
from hfal.compute import derive_seed, generator_for
from hfal.errors import HfalError
from hfal.examples import Examples
from hfal.few import FewLabels
from hfal.functional import label_pairs
from hfal.learners.fine_tune import FineTune
from hfal.learners.heads import HeadFitter, put_head, usual_power
from hfal.learners.warm import Before
from hfal.reading import frozen_model
from hfal.signals import Needs
from hfal.tasks.base import Task
from hfal.tokens import Tokens
from hfal.training_config import FitReport, TrainingConfig

TRAINING = TrainingConfig(num_train_epochs=1, min_steps=1, learning_rate=2e-5)
"""What `Contrastive` trains by where nothing else is said: one pass over the pairs, as SetFit does."""


class ComparedExamples(Examples):
    """Pairs of rows, whose embeddings are to be alike or not: the loss is the squared error of their cosine.

    Args:
        tokens: N rows.
        first: [P] rows.
        second: [P] rows.
        same: [P] the cosine wanted.
        pad_id: the tokenizer's padding token.
        padding_side: where padding goes.
    """

    def __init__(
        self, tokens: Tokens, first: Tensor, second: Tensor, same: Tensor, pad_id: int, padding_side: str
    ) -> None:
        super().__init__(tokens, same, pad_id, padding_side)
        self.first, self.second = first.numpy(), second.numpy()

    def __len__(self) -> int:
        return len(self.first)

    def outputs(self, rows: NDArray[np.int64]) -> int:
        """One for each pair."""
        return len(rows)

    def prepare(self, model: PreTrainedModel, seed: int, device: torch.device) -> None:
        """See `Examples.prepare`."""
        self.entry: nn.Module = model.dropout  # what stands between embeddings and head

    def losses(self, model: nn.Module, task: Task, rows: NDArray[np.int64], device: Any, *_: Any, **__: Any) -> Tensor:
        """[B] the loss of each of these pairs."""
        batch = self.tokens.pad(np.concatenate((self.first[rows], self.second[rows])), self.pad_id, self.padding_side)
        seen: list[Tensor] = []
        hook = self.entry.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
        try:
            model(**model_inputs({name: value.to(device) for name, value in batch.items()}))
        finally:
            hook.remove()
        one, other = seen[0].float().chunk(2)
        cosine = nn.functional.cosine_similarity(one, other)
        return (cosine - self.targets[rows].to(device)).square()  # type: ignore[index]


class Contrastive(FineTune):
    """An encoder that learns from pairs of labelled rows which are alike, and a logistic head (Tunstall et al. 2022).

    Args:
        model: a Hub name, a folder, or a demo asset; a sentence encoder is the natural one.
        config: how the encoder is trained on the pairs; `TRAINING` where it is not given.
        C: inverse strength of the penalty on the head's weights.
        pairs_per_row: pairs of one class, and as many of two, that each labelled row begins (SetFit's R).
        most_pairs: in all, so that a round does not get slower as labels grow.
        max_length: tokens a text may have.
        pooling: "mean" or "cls".
        pad_token: for tokenizers that have none.
        trust_remote_code: run code that comes with the model.
        few: how to make the most of few labels.
    """

    def __init__(
        self,
        model: str,
        config: TrainingConfig | None = None,
        *,
        C: float = 10.0,  # noqa: N803 - scikit-learn's name
        pairs_per_row: int = 20,
        most_pairs: int = 2000,
        max_length: int | None = None,
        pooling: str = "mean",
        pad_token: str | None = None,
        trust_remote_code: bool = False,
        few: FewLabels | None = None,
    ) -> None:
        super().__init__(
            model,
            config or TRAINING,
            max_length=max_length,
            pooling=pooling,
            pad_token=pad_token,
            trust_remote_code=trust_remote_code,
            few=few,
        )
        if not C > 0 or pairs_per_row < 1 or most_pairs < 2:
            raise HfalError("learner.C, pairs_per_row and most_pairs must be above 0, 1 at least, and 2 at least")
        self.C, self.pairs_per_row, self.most_pairs = C, pairs_per_row, most_pairs

    def describe(self) -> dict[str, Any]:
        """The learner as configuration."""
        own = {name: getattr(self, name) for name in ("C", "pairs_per_row", "most_pairs")}
        told = super().describe() | {"type": "contrastive"} | own
        del told["threshold"]
        return told

    def bind(self, task: Task, seed: int, cache: Path | None = None) -> None:
        """See `Learner.bind`."""
        if task.embedded != "text" or task.multi_label:
            raise HfalError(f"learner.type contrastive compares texts with one label each: it does not do {task.name}")
        if self.config.waal or self.config.consistency or self.config.class_weights == "balanced":
            raise HfalError("learner.training: waal, consistency and class_weights do not go with contrastive")
        super().bind(task, seed, cache)

    def _plain(self) -> PreTrainedModel:
        return frozen_model(
            self.weights_at,
            self.task,
            self.tokenizer,
            layers=None,
            trust_remote_code=self.trust_remote_code,
            pooling=self.pooling,
        )

    def _fit(
        self,
        rows: Dataset,
        weights: NDArray[np.float32] | None,
        validation: Dataset | None,
        unlabeled: Dataset | None,
        before: Before | None,
    ) -> FitReport:
        """Train the encoder on pairs of these rows, and then the head on all of them."""
        labels = torch.as_tensor(rows["labels"])
        generator = generator_for("pairs", self.seed, len(rows))
        first, second, same = label_pairs(labels, self.pairs_per_row, self.most_pairs, generator)
        model, report = self._fresh(), FitReport(0, 0.0)
        if len(first):
            padding = self.tokenizer.pad_token_id, self.tokenizer.padding_side
            examples = ComparedExamples(self.tokens.get(rows), first, second, same, *padding)
            model.classifier.requires_grad_(False)
            model, report = self._train(model, examples, None, len(rows), config=self._lasting)
            model.classifier.requires_grad_(True)
        self._model, self._trained, self._checkpoints = model, True, []
        features = self.signals(rows, Needs(pool=frozenset({"features"}))).get("features")
        power = usual_power(self.task)
        fitter = HeadFitter(self.task, self.C, power, threshold=True, seed=derive_seed("folds", self.seed))
        weight, bias, _ = fitter.rows(features.numpy().astype(np.float64), labels, weights)
        put_head(model.classifier, weight, bias)
        return FitReport(report.steps, report.loss, report.details | {"pairs": len(first)})

    @property
    def _lasting(self) -> TrainingConfig:
        """The training without what needs validation rows or classes: pairs have none."""
        return self.config.model_copy(update={"early_stopping_patience": None, "class_weights": None})
