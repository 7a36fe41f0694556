"""Fine-tune the whole model in each round, from the pretrained weights."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from datasets import Dataset
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from hfal.aligning import AlignedExamples
from hfal.compute import barrier, derive_seed, from_main, is_main, own_randomness, state
from hfal.errors import HfalError
from hfal.files import write_file
from hfal.inference import as_signals, reducer, run_pass, token_budget
from hfal.learners.looking import NOT_YET, UNTRAINED, look_budget, look_of
from hfal.learners.trained import TrainedLearner
from hfal.linear import f1_threshold
from hfal.looks import both
from hfal.models import POOLINGS, check_pooling, max_length_of, quiet
from hfal.pool import content_keys
from hfal.probe import Probe, WordProbe, last_linear
from hfal.reading import cache_for, classifier_for, plain_encoder, tokenizer_for, visual_cache
from hfal.sides import PairStore
from hfal.signals import Needs, Signals
from hfal.tasks.base import Task
from hfal.tokens import TokenCache
from hfal.training import Examples, FitReport, TrainingConfig, Weights, autocast_for

CHECKPOINTS = "checkpoints"


class FineTune(TrainedLearner[PreTrainedModel]):
    """Any encoder of `AutoModelForSequenceClassification` (for words, `AutoModelForTokenClassification`), trained
    anew on all labels in each round.

    Args:
        model: a Hub name, a folder, or a demo asset (`demo/minilm`).
        config: how to train.
        max_length: tokens a text may have; the model's own limit where it is lower. Longer texts are cut, longer
            lists of words read in windows.
        pooling: "mean", "cls", or for words "entities" (weighted by the probability of being one): what
            strategies see as embeddings.
        threshold: where one class of two is looked for and there are validation rows, "f1" puts the decision where its
            F1 is best on them (it goes into the biases); None leaves it at one half.
        pad_token: for tokenizers that have none.
        trust_remote_code: run code that comes with the model. Off, and only ever on by your own word.
    """

    def __init__(
        self,
        model: str,
        config: TrainingConfig | None = None,
        *,
        max_length: int | None = None,
        pooling: str = "mean",
        threshold: str | None = "f1",
        pad_token: str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        if pooling not in POOLINGS:
            raise HfalError(f"learner.pooling must be one of {', '.join(POOLINGS)}, got {pooling!r}")
        self.name = model
        self.config = config or TrainingConfig()
        self.max_length = max_length
        if threshold not in ("f1", None):
            raise HfalError(f"learner.threshold must be f1 or nothing, got {threshold!r}")
        self.pooling = pooling
        self.threshold = threshold
        self.pad_token = pad_token
        self.trust_remote_code = trust_remote_code
        self._checkpoints: list[Weights] = []

    def describe(self) -> dict[str, Any]:
        """The learner as configuration."""
        return {
            "type": "fine_tune",
            "model": self.name,
            "max_length": self.max_length,
            "pooling": self.pooling,
            "threshold": self.threshold,
            "training": self.config.model_dump(),
        }

    def bind(self, task: Task, seed: int, cache: Path | None = None) -> None:
        """See `Learner.bind`."""
        self.task = task
        self.seed = seed
        self.cache = cache
        check_pooling(self.pooling, task)
        if self.config.waal and task.per_word:
            raise HfalError("learner.training.waal draws rows together: it does not go with tags of words")
        self.tokenizer = tokenizer_for(
            self.name, task, trust_remote_code=self.trust_remote_code, pad_token=self.pad_token
        )
        self._source: Weights | None = None
        self._model, self._trained, self._checkpoints = self._fresh(), False, []
        self._sides: PairStore | None = None
        length = max_length_of(self._model, self.tokenizer, self.max_length)
        if task.embedded == "picture":
            self.tokens: TokenCache = visual_cache(self.name, self._model, self.tokenizer, task, length, cache)
        else:
            self.tokens = cache_for(self.tokenizer, task, length)

    def _fresh(self) -> PreTrainedModel:
        with own_randomness(derive_seed("head", self.seed)):  # the new head is the same in every round
            model = classifier_for(self.name, self.task, self.tokenizer, trust_remote_code=self.trust_remote_code)
        if self._source is not None:
            model.load_state_dict(self._source)
        return model

    def learn_source(self, rows: Dataset) -> None:
        """Learn another set first: every round starts from the weights that this leaves; they are kept in the cache."""
        digest = hashlib.blake2b(content_keys(rows, self.task).tobytes(), digest_size=16)
        digest.update(repr((rows["labels"], self.name, self.config.model_dump(), self.seed)).encode())
        kept = None if self.cache is None else self.cache / f"source-{digest.hexdigest()}.safetensors"
        if kept is None or not from_main(kept.exists()):
            self.fit(rows)
            self._source = {name: value.detach().cpu().contiguous() for name, value in self.model.state_dict().items()}
            if kept is not None and is_main():
                weights = self._source
                write_file(kept, lambda path: save_file(weights, path))
            barrier()
        else:
            self._source = load_file(kept)
        self._model, self._trained, self._checkpoints = self._fresh(), True, []

    @property
    def reads_unlabeled(self) -> bool:
        """Whether `fit` is to be given the rows without labels."""
        return self.config.waal > 0

    def fit(
        self, train_rows: Dataset, validation: Dataset | None = None, unlabeled: Dataset | None = None
    ) -> FitReport:
        """See `Learner.fit`; `unlabeled` are further rows with the task's inputs, for losses that read them."""
        checkpoints: list[Weights] = []
        held_out = None if validation is None else self._examples(validation)
        examples = self._examples(train_rows, unlabeled)
        model, report = self._train(self._fresh(), examples, held_out, len(train_rows), checkpoints)
        self._model, self._trained, self._checkpoints = model, True, checkpoints
        if validation is not None and self.threshold is not None:
            self._put_threshold(validation)
        return report

    def _put_threshold(self, validation: Dataset) -> None:
        """Move the biases so that the likeliest class is the decision with the best F1 on these rows."""
        sought = getattr(self.task, "sought", None)
        found = np.array([label == sought for label in validation["labels"]], dtype=bool)
        if sought is None or len(self.task.names) != 2 or min(found.sum(), (~found).sum()) < 2:
            return
        logits = self.signals(validation, Needs(pool=frozenset({"logits"}))).get("logits")
        cut = f1_threshold((logits[:, sought] - logits[:, 1 - sought]).double().numpy(), found)
        _, layer = last_linear(self.model, 2)
        with torch.no_grad():
            layer.bias[sought] -= cut / 2
            layer.bias[1 - sought] += cut / 2

    def _examples(self, rows: Dataset, unlabeled: Dataset | None = None) -> Examples:
        tokens, targets = self.tokens.get(rows), self.task.targets(rows["labels"])
        padding = self.tokenizer.pad_token_id, self.tokenizer.padding_side
        if unlabeled is None or not len(unlabeled):
            return Examples(tokens, targets, *padding)
        others = self.tokens.get(unlabeled)
        return AlignedExamples(tokens, targets, others, self.config.waal, *padding)

    def signals(self, rows: Dataset, needs: Needs) -> Signals:
        """See `Learner.signals`."""
        model = self.current
        if not self._trained and needs.every_field - UNTRAINED:
            raise HfalError(NOT_YET)
        model.to(state().device)
        budget = token_budget(model.base_model.config.hidden_size, state().device)
        options: dict[str, Any] = {}
        if self.task.per_word:
            options = {"outside": self.task.outside, "together": budget}  # type: ignore[attr-defined]
        probe = (WordProbe if self.task.per_word else Probe)(
            model,
            needs,
            pooling="mean" if self.pooling == "entities" and not self._trained else self.pooling,
            seed=derive_seed("mc", self.seed),
            precision=autocast_for(self.config.mixed_precision),
            checkpoints=self._members(needs),
            **options,
        )
        further = needs.looks - {"hidden_states"}  # which the same forward gives
        looks = look_of(self, model, further) if further else None
        outputs = run_pass(
            probe if looks is None else both(probe, looks),
            self.tokens.get(rows),
            pad_id=self.tokenizer.pad_token_id,
            padding_side=self.tokenizer.padding_side,
            budget=budget if looks is None else look_budget(budget),
            device=state().device,
            beside=self._beside(rows, needs),
            finish=reducer(needs, self.task),
            scratch=self.cache,
        )
        return as_signals(outputs, self.task)

    def _beside(self, rows: Dataset, needs: Needs) -> dict[str, Tensor]:
        """What is told of rows by the encoder as it was pretrained."""
        if "similarity" not in needs.every_field:
            return {}
        if self._sides is None:
            model = plain_encoder(self.name, trust_remote_code=self.trust_remote_code)
            self._sides = PairStore(model, self.tokenizer, self.tokens.max_length, self.task, self.cache)
        return {"similarity": self._sides.similarity(self._sides.slots(rows))}

    def _members(self, needs: Needs) -> list[Weights]:
        """The weights of a committee, where one is asked for."""
        if needs.mc_layers != "checkpoints" or not needs.mc_samples:
            return []
        if len(self._checkpoints) < 2:
            raise HfalError(
                f"mc_layers=checkpoints needs the weights of at least two epochs, there are {len(self._checkpoints)}: "
                "set learner.training.save_total_limit (5, say)"
            )
        device = state().device
        return [{name: value.to(device) for name, value in weights.items()} for weights in self._checkpoints]

    def save(self, folder: Path) -> None:
        """See `Learner.save`."""
        super().save(folder)
        for number, weights in enumerate(self._checkpoints):
            (folder / CHECKPOINTS).mkdir(exist_ok=True)
            save_file(weights, folder / CHECKPOINTS / f"{number:03d}.safetensors")

    def load(self, folder: Path) -> None:
        """See `Learner.load`."""
        with quiet():
            loaded = getattr(transformers, self.task.auto_model).from_pretrained(folder, use_safetensors=True)
        self._model, self._trained = loaded.eval(), True
        self._checkpoints = [load_file(path) for path in sorted((folder / CHECKPOINTS).glob("*.safetensors"))]
