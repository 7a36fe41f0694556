"""A logistic head on embeddings that are computed once: rounds in seconds."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor

from hfal.compute import derive_seed
from hfal.embeddings import EmbeddingStore
from hfal.errors import HfalError
from hfal.few import FewLabels
from hfal.frozen import FrozenHeadModel
from hfal.functional import Ragged
from hfal.learners.base import evaluate, outputs_of
from hfal.learners.fine_tune import FineTune
from hfal.learners.frozen_signals import FrozenSignals, Slots, seen_words
from hfal.learners.heads import FOLDS, HeadFitter, put_head, usual_power
from hfal.learners.staged import Judge, fit_in_stages, grown
from hfal.linear import Batches
from hfal.models import POOLINGS, check_pooling, max_length_of, quiet
from hfal.reading import HEADS, cache_for, frozen_model, tokenizer_for
from hfal.sides import PairStore
from hfal.tasks.base import Task
from hfal.tokens import TokenCache
from hfal.training_config import FitReport, TrainingConfig

logger = logging.getLogger("hfal")

HELD = 262_144
"""Embeddings of labelled words that are held in memory while the head is fitted; more are read each time."""
GROWING = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Times C: the penalties that `grow` tries, the strongest first."""


class FrozenHead(FrozenSignals):
    """Embeddings from a frozen encoder, and a regularised logistic regression fitted in each round.

    It chooses about as well as a fine-tuned model and takes seconds a round (Vysogorets et al. 2024).

    Args:
        model: a Hub name, a folder, or a demo asset (`demo/minilm`).
        C: inverse strength of the L2 penalty on the head's weights, as in scikit-learn.
        class_weights: "balanced" weighs each class by the inverse of its frequency among the labels, a number by
            that to a power (0 or None for none). "auto" is balanced for rows with one label, 0.25 for words, most of
            which are no entity, and none where one class of two is looked for or a row may have several labels.
        threshold: where one class of two is looked for, "f1" puts the decision where its F1 is best on the labelled
            rows, as heads tell that have not seen them (it goes into the biases, so that the likeliest class is the
            decision); None leaves it at one half.
        pooling: "mean", "cls", or for words "entities" (weighted by the probability of being one): what
            strategies see as embeddings; for rows, what the head reads too.
        normalize: scale embeddings to length 1.
        head_dropout: share of the features dropped in Monte Carlo samples.
        layers: the lowest layers of the encoder that are used. All for rows; two thirds for words, where it is
            not given and the encoder can be cut.
        twins: train on each labelled row's adversarial twin too: its embedding, moved just over the head's nearest
            boundary, with the same label (DFAL; Ducoffe and Precioso 2018). For texts with one label.
        max_length: tokens a text may have; the model's own limit where it is lower. Longer texts are cut, longer
            lists of words read in windows.
        pad_token: for tokenizers that have none.
        trust_remote_code: run code that comes with the model. Off, and only ever on by your own word.
        finally_: "fine_tune" trains the whole encoder once, on all labels, when the budget is spent.
        training: how it is trained then.
    """

    def __init__(
        self,
        model: str,
        *,
        C: float = 10.0,  # noqa: N803 - scikit-learn's name
        class_weights: str | float | None = "auto",
        pooling: str = "mean",
        normalize: bool = True,
        head_dropout: float = 0.1,
        layers: int | None = None,
        threshold: str | None = "f1",
        twins: bool = False,
        max_length: int | None = None,
        pad_token: str | None = None,
        trust_remote_code: bool = False,
        finally_: str | None = None,
        training: TrainingConfig | None = None,
        few: FewLabels | None = None,
    ) -> None:
        if pooling not in POOLINGS:
            raise HfalError(f"learner.pooling must be one of {', '.join(POOLINGS)}, got {pooling!r}")
        if not C > 0:
            raise HfalError(f"learner.C must be above 0, got {C!r}")
        if class_weights not in ("auto", "balanced", None) and not isinstance(class_weights, (int, float)):
            raise HfalError(f"learner.class_weights must be auto, balanced or a power, got {class_weights!r}")
        if threshold not in ("f1", None):
            raise HfalError(f"learner.threshold must be f1 or nothing, got {threshold!r}")
        if finally_ not in (None, "fine_tune"):
            raise HfalError(f"learner.finally must be fine_tune or nothing, got {finally_!r}")
        self.name = model
        self.C = C
        self.class_weights = class_weights
        self.pooling = pooling
        self.normalize = normalize
        self.head_dropout = head_dropout
        self.layers = layers
        self.threshold = threshold
        self.twins = twins
        self.max_length = max_length
        self.pad_token = pad_token
        self.trust_remote_code = trust_remote_code
        self.finally_ = finally_
        self.training = training or TrainingConfig()
        self.few = few or FewLabels()
        self._C = C
        self._model: FrozenHeadModel | None = None
        self._store: EmbeddingStore | PairStore | None = None
        self._states: EmbeddingStore | None = None
        self._trained = False
        self._prior: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    def describe(self) -> dict[str, Any]:
        """The learner as configuration."""
        return {
            "type": "frozen_head",
            "model": self.name,
            "C": self.C,
            "class_weights": self.class_weights,
            "pooling": self.pooling,
            "normalize": self.normalize,
            "head_dropout": self.head_dropout,
            "layers": self.layers,
            "threshold": self.threshold,
            "twins": self.twins,
            "max_length": self.max_length,
            "finally": self.finally_,
            "training": self.training.model_dump(),
            **self.few.record(),
        }

    task: Task
    cache: Path | None

    def bind(self, task: Task, seed: int, cache: Path | None = None) -> None:
        """See `Learner.bind`. The encoder and its embeddings are kept where only the seed is new."""
        same = self._store is not None and self.task == task and self.cache == cache
        self.task, self.seed, self.cache = task, seed, cache
        self._trained, self._prior = False, None
        if same:
            return
        check_pooling(self.pooling, task)
        self.few.check(task)
        if self.twins and (task.per_word or task.multi_label):
            raise HfalError(f"learner.twins is for rows with one label, not for {task.name} with several")
        self.tokenizer = tokenizer_for(
            self.name, task, trust_remote_code=self.trust_remote_code, pad_token=self.pad_token
        )
        self.weights_at = self.name
        self._reload()

    def _reload(self) -> None:
        """Take up the encoder at `weights_at`."""
        model = frozen_model(
            self.weights_at,
            self.task,
            self.tokenizer,
            layers=self.layers,
            trust_remote_code=self.trust_remote_code,
            pooling=self.pooling,
            normalize=self.normalize,
            head_dropout=self.head_dropout,
        )
        self._use(model)

    def _use(self, model: FrozenHeadModel) -> None:
        """Embed by this model from now on."""
        length = max_length_of(model.encoder, self.tokenizer, self.max_length)
        self._model, self._states = model, None
        if self.task.embedded == "pair":
            self._store = PairStore(model, self.tokenizer, length, self.task, self.cache)
        else:
            self._store = EmbeddingStore(model, cache_for(self.tokenizer, self.task, length), self.task, self.cache)

    def _texts(self) -> TokenCache:
        return self.store.texts.tokens if isinstance(self.store, PairStore) else self.store.tokens

    def own_head(self) -> None:
        """Part with the head of the learner that this is a copy of; encoder and embeddings stay shared."""
        assert self._model is not None
        model = copy.copy(self._model)
        model._modules = dict(model._modules)
        model.classifier = copy.deepcopy(model.classifier)
        self._model = model

    def hold_to(self, prior: tuple[NDArray[np.float64], NDArray[np.float64]]) -> None:
        """Have the penalty pull towards these weights [C, D] and biases [C], not towards zeros."""
        self._prior = prior

    @property
    def reads_unlabeled(self) -> bool:
        """Whether `fit` is to be given the rows without labels."""
        return self.few.pseudo_labels is not None

    def fit(self, train: Dataset, validation: Dataset | None = None, unlabeled: Dataset | None = None) -> FitReport:
        """See `Learner.fit`. Validation rows are not used: the head has nothing to stop early."""
        self._C = self.C
        if self.few.grow:
            self._C = grown([self.C * share for share in GROWING], train, FOLDS, self.seed, self._sized)
        report = fit_in_stages(self.few, self.task, self.seed, train, unlabeled, self._fit, self._judge)
        return replace(report, details=report.details | {"C": self._C}) if self.few.grow else report

    def _sized(self, size: float, rows: Dataset) -> Judge:
        self._C = size
        self._fit(rows)
        return self._judge

    def _judge(self, rows: Dataset) -> Tensor:
        return self._head(self.store.gather(self.store.slots(rows)))

    def _fit(self, train: Dataset, row_weights: NDArray[np.float32] | None = None) -> FitReport:
        """Fit a head to these rows."""
        slots, targets = self.store.slots(train), self.task.targets(train["labels"])
        read: Batches = partial(self._read, slots, targets)
        if not self.task.per_word or len(targets.values) <= HELD:
            held = list(read())
            read = partial(iter, held)
        if self.task.per_word:
            weight, bias, steps = self._fitter.words(read, targets, self.store.dimensions)
        else:
            features = torch.cat([part for part, _ in read()]).numpy().astype(np.float64)
            weight, bias, steps = self._fitter.rows(features, targets, row_weights)
        self._take(weight, bias)
        loss, outputs = 0.0, 0
        for embeddings, wanted in read():
            loss += float(self.task.loss(self._head(embeddings), wanted, None, 0.0).sum())
            outputs += len(embeddings)
        return FitReport(steps, loss / max(1, outputs))

    def _take(self, weight: NDArray[np.float64], bias: NDArray[np.float64]) -> None:
        """A fitted head becomes the one in use."""
        assert self._model is not None
        put_head(self._model.classifier, weight, bias)
        self._trained = True

    @property
    def _fitter(self) -> HeadFitter:
        threshold = self.threshold == "f1"
        return HeadFitter(
            self.task, self._C, self.class_power, self.twins, threshold, derive_seed("folds", self.seed), self._prior
        )

    @property
    def class_power(self) -> float:
        """Power of the inverse frequency by which classes are weighed."""
        if self.class_weights != "auto":
            return 1.0 if self.class_weights == "balanced" else float(self.class_weights or 0)
        return usual_power(self.task)

    def _read(self, slots: Slots, targets: Tensor | Ragged) -> Iterator[tuple[Tensor, Tensor]]:
        """Embeddings and targets, part by part; words that the model cannot see are left out."""
        for part in self._parts(slots):
            embeddings = self.store.gather(slots[part])
            if not isinstance(targets, Ragged):
                yield embeddings, targets[part]
                continue
            wanted = targets.values[int(targets.offsets[part.start]) : int(targets.offsets[part.stop])]
            seen = seen_words(embeddings)
            yield embeddings[seen], wanted[seen]

    def evaluate(self, rows: Dataset) -> dict[str, Any]:
        """See `Learner.evaluate`."""
        return evaluate(self, self.task, rows)

    def learn_source(self, rows: Dataset) -> None:
        """Learn another set first: what is labelled later moves the head from there, held by the same penalty."""
        if self.task.per_word or self.task.multi_label:
            raise HfalError(f"transfer with frozen_head is for rows with one label, not for {self.task.name}")
        self._prior = None
        targets = self.task.targets(rows["labels"])
        features = self.store.gather(self.store.slots(rows)).numpy().astype(np.float64)
        weight, bias, _ = replace(self._fitter, threshold=False).rows(features, targets)
        self._prior = weight, bias
        self._take(weight, bias)

    def trial(self, train: Dataset | None, rows: Dataset) -> Any:
        """The logits of a head trained on other rows; the model in use stays as it is (and gives them without any)."""
        assert self._model is not None
        kept, trained = copy.deepcopy(self._model.classifier.state_dict()), self._trained
        try:
            if train is not None:
                self.fit(train)
            return outputs_of(self, self.task, rows).logits
        finally:
            self._model.classifier.load_state_dict(kept)
            self._trained = trained

    def last(self) -> FineTune | None:
        """What is trained once when the budget is spent, where anything is."""
        if self.finally_ is None:
            return None
        return FineTune(
            self.name,
            self.training,
            max_length=self.max_length,
            pooling=self.pooling,
            pad_token=self.pad_token,
            trust_remote_code=self.trust_remote_code,
            few=self.few,
        )

    def save(self, folder: Path) -> None:
        """See `Learner.save`: one folder with encoder and head."""
        with quiet():
            self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def load(self, folder: Path) -> None:
        """See `Learner.load`."""
        with quiet():
            loaded = HEADS[self.task.embedded].from_pretrained(folder, use_safetensors=True)
        assert self._model is not None
        if self.few.adapt is not None and self.weights_at == self.name:  # it was another process that read the pool
            self._use(loaded.eval())
        else:
            self._model.classifier.load_state_dict(loaded.classifier.state_dict())
        self._trained = True
