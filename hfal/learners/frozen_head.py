"""A logistic head on embeddings that are computed once: rounds in seconds."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor

from hfal.compute import derive_seed
from hfal.dropout import dropout_mask
from hfal.embeddings import EmbeddingStore
from hfal.errors import HfalError
from hfal.inference import Outputs, allocate, as_signals, reducer
from hfal.learners.base import FitReport
from hfal.learners.fine_tune import FineTune
from hfal.models import (
    POOLINGS,
    FrozenHeadConfig,
    FrozenHeadModel,
    load_encoder,
    load_tokenizer,
    max_length_of,
)
from hfal.signals import Needs, Signals
from hfal.tasks.base import Task
from hfal.tokens import TokenCache
from hfal.training import TrainingConfig

logger = logging.getLogger("hfal")

ROWS_TOGETHER = 16_384
ABSENT_WEIGHT = 0.1
"""Weight of the pseudo-row that stands for a class without labels: enough for a finite, low score."""


class FrozenHead:
    """Embeddings from a frozen encoder, and a regularised logistic regression fitted in each round.

    It chooses about as well as a fine-tuned model and takes seconds a round (Vysogorets et al. 2024).

    Args:
        model: a Hub name, a folder, or a demo asset (`demo/minilm`).
        C: inverse strength of the L2 penalty on the head's weights, as in scikit-learn.
        class_weights: "balanced" weighs each class by the inverse of its frequency among the labels.
        pooling: "mean" or "cls".
        normalize: scale embeddings to length 1.
        head_dropout: share of the features dropped in Monte Carlo samples.
        max_length: tokens a text may have; the model's own limit where it is lower. Longer texts are cut.
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
        class_weights: str | None = None,
        pooling: str = "mean",
        normalize: bool = True,
        head_dropout: float = 0.1,
        max_length: int | None = None,
        pad_token: str | None = None,
        trust_remote_code: bool = False,
        finally_: str | None = None,
        training: TrainingConfig | None = None,
    ) -> None:
        if pooling not in POOLINGS:
            raise HfalError(f"learner.pooling must be one of {', '.join(POOLINGS)}, got {pooling!r}")
        if not C > 0:
            raise HfalError(f"learner.C must be above 0, got {C!r}")
        if class_weights not in (None, "balanced"):
            raise HfalError(f"learner.class_weights must be balanced or nothing, got {class_weights!r}")
        if finally_ not in (None, "fine_tune"):
            raise HfalError(f"learner.finally must be fine_tune or nothing, got {finally_!r}")
        self.name = model
        self.C = C
        self.class_weights = class_weights
        self.pooling = pooling
        self.normalize = normalize
        self.head_dropout = head_dropout
        self.max_length = max_length
        self.pad_token = pad_token
        self.trust_remote_code = trust_remote_code
        self.finally_ = finally_
        self.training = training or TrainingConfig()
        self._model: FrozenHeadModel | None = None
        self._store: EmbeddingStore | None = None
        self._trained = False

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
            "max_length": self.max_length,
            "finally": self.finally_,
            "training": self.training.model_dump(),
        }

    task: Task
    cache: Path | None

    def bind(self, task: Task, seed: int, cache: Path | None = None) -> None:
        """See `Learner.bind`. The encoder and its embeddings are kept where only the seed is new."""
        same = self._store is not None and self.task == task and self.cache == cache
        self.task, self.seed, self.cache = task, seed, cache
        self._trained = False
        if same:
            return
        self.tokenizer = load_tokenizer(self.name, trust_remote_code=self.trust_remote_code, pad_token=self.pad_token)
        encoder = load_encoder(self.name, trust_remote_code=self.trust_remote_code)
        config = FrozenHeadConfig(
            encoder=encoder.config.to_diff_dict(),
            pooling=self.pooling,
            normalize=self.normalize,
            head_dropout=self.head_dropout,
            num_labels=len(task.names),
            id2label=dict(enumerate(task.names)),
            label2id={name: index for index, name in enumerate(task.names)},
            problem_type="multi_label_classification" if task.multi_label else "single_label_classification",
            pad_token_id=self.tokenizer.pad_token_id,
        )
        self._model = FrozenHeadModel(config, encoder).eval()
        length = max_length_of(encoder, self.tokenizer, self.max_length)
        self._store = EmbeddingStore(self._model, TokenCache(self.tokenizer, task, length), task, cache)

    @property
    def model(self) -> FrozenHeadModel:
        """Encoder and head as one model."""
        if self._model is None or not self._trained:
            raise HfalError("no model has been trained yet")
        return self._model

    @property
    def store(self) -> EmbeddingStore:
        """The embeddings, once the learner is bound."""
        if self._store is None:
            raise HfalError("the learner is not bound to a task yet: call bind(task, seed) first")
        return self._store

    def fit(self, train: Dataset, validation: Dataset | None = None) -> FitReport:
        """See `Learner.fit`. Validation rows are not used: the head has nothing to stop early."""
        embeddings = self.store.gather(self.store.slots(train)).numpy().astype(np.float64)
        targets = self.task.targets(train["labels"]).numpy()
        classes = len(self.task.names)
        if self.task.multi_label:
            heads = [_logistic(embeddings, targets[:, c].astype(int), 2, self) for c in range(classes)]
            weight = np.stack([w[1] - w[0] for w, _, _ in heads])
            bias = np.array([b[1] - b[0] for _, b, _ in heads])
            steps = max(n for _, _, n in heads)
        else:
            weight, bias, steps = _logistic(embeddings, targets, classes, self)
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise HfalError("the head's weights are not finite after fitting")
        assert self._model is not None
        with torch.no_grad():
            self._model.classifier.weight.copy_(torch.from_numpy(weight))
            self._model.classifier.bias.copy_(torch.from_numpy(bias))
        self._trained = True
        logits = self._head(torch.from_numpy(embeddings).float())
        loss = self.task.loss(logits, self.task.targets(train["labels"]), None, 0.0).mean()
        return FitReport(steps, float(loss))

    def _head(self, embeddings: Tensor) -> Tensor:
        head = self.model.classifier
        return embeddings @ head.weight.detach().cpu().T + head.bias.detach().cpu()

    def signals(self, rows: Dataset, needs: Needs) -> Signals:
        """See `Learner.signals`. The encoder runs only for rows that it has not seen."""
        if not self._trained and needs.every_field - {"embeddings"}:
            raise HfalError("before the first labels only embeddings can be had: start with typiclust or random")
        slots = self.store.slots(rows)
        finish = reducer(needs, self.task.multi_label)
        results: Outputs = {}
        for start in range(0, len(slots), ROWS_TOGETHER):
            kept = finish(self._outputs(self.store.gather(slots[start : start + ROWS_TOGETHER]), needs))
            for name, value in kept.items():
                if name not in results:
                    results[name] = allocate((len(slots), *value.shape[1:]), self.cache)
                results[name][start : start + len(value)] = value
        return as_signals(results, self.task.multi_label)

    def _outputs(self, embeddings: Tensor, needs: Needs) -> Outputs:
        outputs: Outputs = {"embeddings": embeddings, "features": embeddings}
        if "logits" in needs.every_field:
            outputs["logits"] = self._head(embeddings)
        if "mc_logits" in needs.every_field:
            outputs["mc_logits"] = self._samples(embeddings, needs.mc_samples)
        return outputs

    def _samples(self, embeddings: Tensor, samples: int) -> Tensor:
        """[B, K, C]: masking a feature for all rows is masking a column of the weights."""
        head = self.model.classifier
        seed, width = derive_seed("mc", self.seed), (head.in_features,)
        masks = [dropout_mask(width, self.head_dropout, seed, k, 1) for k in range(samples)]
        weights = torch.stack(masks)[:, None, :] * head.weight.detach().cpu()  # [K, C, D]
        logits = embeddings @ weights.flatten(0, 1).T
        return logits.view(len(embeddings), samples, -1) + head.bias.detach().cpu()

    def evaluate(self, rows: Dataset) -> dict[str, Any]:
        """See `Learner.evaluate`."""
        logits = self.signals(rows, Needs(pool=frozenset({"logits"}))).get("logits")
        return self.task.metrics(logits, rows["labels"])

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
        )

    def save(self, folder: Path) -> None:
        """See `Learner.save`: one folder with encoder and head."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def load(self, folder: Path) -> None:
        """See `Learner.load`."""
        loaded = FrozenHeadModel.from_pretrained(folder, use_safetensors=True)
        assert self._model is not None
        self._model.classifier.load_state_dict(loaded.classifier.state_dict())
        self._trained = True


def _logistic(
    embeddings: NDArray[np.float64], targets: NDArray[np.int64], classes: int, learner: FrozenHead
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Weights [C, D] and biases [C] of a logistic regression over all C classes, whichever are present."""
    from sklearn.linear_model import LogisticRegression

    weights = np.ones(len(targets))
    if learner.class_weights == "balanced":
        counts = np.bincount(targets, minlength=classes)
        weights = len(targets) / ((counts > 0).sum() * counts[targets])
    absent = np.setdiff1d(np.arange(classes), targets)
    embeddings = np.concatenate((embeddings, np.zeros((len(absent), embeddings.shape[1]))))
    targets = np.concatenate((targets, absent))
    weights = np.concatenate((weights, np.full(len(absent), ABSENT_WEIGHT)))
    fitted = LogisticRegression(C=learner.C, max_iter=1000).fit(embeddings, targets, sample_weight=weights)
    steps = math.ceil(np.max(fitted.n_iter_))
    if classes == 2:  # scikit-learn keeps one row for two classes
        half = fitted.coef_[0] / 2, fitted.intercept_[0] / 2
        return np.stack((-half[0], half[0])), np.array((-half[1], half[1])), steps
    return fitted.coef_, fitted.intercept_, steps
