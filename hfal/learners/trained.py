"""Learners whose whole model is trained anew in each round: what they have in common."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Generic, TypeVar

from datasets import Dataset
from transformers import PreTrainedModel

from hfal.compute import derive_seed
from hfal.errors import HfalError
from hfal.examples import Examples
from hfal.learners.base import evaluate
from hfal.models import quiet
from hfal.tasks.base import Task
from hfal.training import Weights, train
from hfal.training_config import FitReport, TrainingConfig, autocast_for

Model = TypeVar("Model", bound=PreTrainedModel)


class TrainedLearner(Generic[Model]):
    """Base: the model, whether it has learned anything yet, and its training."""

    name: str
    config: TrainingConfig
    task: Task
    seed: int
    cache: Path | None
    tokenizer: Any
    _model: Model | None = None
    _trained: bool = False

    @property
    def current(self) -> Model:
        """The last model trained, or the one that it begins from."""
        if self._model is None:
            raise HfalError("the learner is not bound to a task yet: call bind(task, seed) first")
        return self._model

    @property
    def model(self) -> Model:
        """The last model trained."""
        if self._model is None or not self._trained:
            raise HfalError("no model has been trained yet")
        return self._model

    def precision(self) -> AbstractContextManager[Any]:
        """A context for forward passes, in the precision of the training."""
        return autocast_for(self.config.mixed_precision)()

    def evaluate(self, rows: Dataset) -> dict[str, Any]:
        """See `Learner.evaluate`."""
        return evaluate(self, self.task, rows)  # type: ignore[arg-type]

    def save(self, folder: Path) -> None:
        """See `Learner.save`: one folder with the whole model."""
        with quiet():
            self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def _train(
        self,
        model: Model,
        examples: Examples,
        validation: Examples | None,
        rows: int,
        checkpoints: list[Weights] | None = None,
        config: TrainingConfig | None = None,
        guess: float | None = None,
    ) -> tuple[Model, FitReport]:
        """A fresh model, trained on the examples of so many rows."""
        trained, report = train(
            model,
            self.task,
            examples,
            config or self.config,
            seed=derive_seed("train", self.seed, rows),
            validation=validation,
            logs=None if self.cache is None else self.cache.parent / "logs",
            checkpoints=checkpoints,
            guess=guess,
        )
        return trained, report
