"""Fine-tune the whole model in each round, from the pretrained weights."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from datasets import Dataset
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from hfal.aligning import AlignedExamples
from hfal.compute import barrier, derive_seed, from_main, is_main, own_randomness, state
from hfal.consistency import ConsistentExamples
from hfal.errors import HfalError
from hfal.examples import Examples
from hfal.few import FewLabels
from hfal.files import read_json, write_file, write_json
from hfal.frozen import layers_of, train_upper
from hfal.inference import as_signals, reducer, run_pass, token_budget
from hfal.learners.adapting import PoolReader
from hfal.learners.looking import NOT_YET, UNTRAINED, look_budget, look_of
from hfal.learners.lora import for_classifier, load_adapters, with_adapters
from hfal.learners.staged import Judge, Once, fit_in_stages, grown
from hfal.learners.trained import TrainedLearner
from hfal.learners.warm import INCREMENTAL, Before, Incremental, MetaExamples, begin, names_of, replayed
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
from hfal.training import Weights, loss_of_a_guess, weights_of
from hfal.training_config import FitReport, TrainingConfig

CHECKPOINTS = "checkpoints"
KNOWN = "known.json"
GROWN_FOLDS = 3
"""Parts of the labels by which `grow` is judged: each is a training."""
LORA_TRAINING = TrainingConfig(learning_rate=1e-3)
"""Adapters, which begin at zero, are trained at a higher rate (Hu et al. 2022 use 2e-4 to 2e-3)."""


class FineTune(PoolReader, TrainedLearner[PreTrainedModel]):
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
        few: how to make the most of few labels.
        incremental: what a round begins with. "restart" with the pretrained weights; "continue" with those of the
            round before; "shrink_and_perturb" with these, drawn towards fresh ones (Ash and Adams 2020); "replay" as
            "continue", but on what is new and as many of the rows known; "meta" with steps that look ahead on what is
            new (ActiveLink; Ostapuk et al. 2019). Rounds that go on do without `min_steps`.
        lora: settings of peft's `LoraConfig` (`{"r": 8}`, say): adapters (in all linear layers, where nothing else is
            said), pooler and head are trained, and saved as peft saves them; the rate is then that of `LORA_TRAINING`
            where no other is given (Hu et al. 2022).
    """

    _source: Weights | None = None
    """What another set has left, from which every round begins."""
    _wrapped: Any = None
    """The model with peft's adapters around it, where there are some; `_model` is the one inside."""
    _layers: int | None = None
    """How many upper layers are trained, where not all are."""

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
        few: FewLabels | None = None,
        incremental: Incremental = "restart",
        lora: dict[str, Any] | None = None,
    ) -> None:
        if incremental not in INCREMENTAL:
            raise HfalError(f"learner.incremental must be one of {', '.join(INCREMENTAL)}, got {incremental!r}")
        if pooling not in POOLINGS:
            raise HfalError(f"learner.pooling must be one of {', '.join(POOLINGS)}, got {pooling!r}")
        self.name = model
        self.config = config or (TrainingConfig() if lora is None else LORA_TRAINING)
        self.max_length = max_length
        if threshold not in ("f1", None):
            raise HfalError(f"learner.threshold must be f1 or nothing, got {threshold!r}")
        self.pooling = pooling
        self.threshold = threshold
        self.pad_token = pad_token
        self.trust_remote_code = trust_remote_code
        self.few = few or FewLabels()
        self.incremental, self.lora = incremental, lora
        self._checkpoints: list[Weights] = []
        self._known: frozenset[str] = frozenset()

    def describe(self) -> dict[str, Any]:
        """The learner as configuration."""
        return {
            "type": "fine_tune",
            "model": self.name,
            "max_length": self.max_length,
            "pooling": self.pooling,
            "threshold": self.threshold,
            "training": self.config.model_dump(),
            **({} if self.incremental == "restart" else {"incremental": self.incremental}),
            **({} if self.lora is None else {"lora": self.lora}),
            **self.few.record(),
        }

    @property
    def continues(self) -> bool:
        """Whether a round's model depends on that of the round before."""
        return self.incremental != "restart"

    def bind(self, task: Task, seed: int, cache: Path | None = None) -> None:
        """See `Learner.bind`."""
        self.task = task
        self.seed = seed
        self.cache = cache
        check_pooling(self.pooling, task)
        self.few.check(task)
        if task.per_word and (self.config.waal or self.config.consistency):
            raise HfalError("learner.training.waal and consistency are for rows: they do not go with tags of words")
        if self.config.consistency and (task.multi_label or self.config.waal):
            raise HfalError("learner.training.consistency goes neither with several labels a row nor with waal")
        if self.incremental == "meta" and (self.config.waal or self.config.consistency):
            raise HfalError("learner.incremental: meta goes neither with training.waal nor with training.consistency")
        if self.few.grow and self.lora is not None:
            raise HfalError("learner.grow chooses the layers that are trained, learner.lora trains none: choose one")
        if self.few.adapt is not None and self.lora is not None:
            raise HfalError("learner.adapt trains the whole encoder, learner.lora would leave it: choose one")
        self.tokenizer = tokenizer_for(
            self.name, task, trust_remote_code=self.trust_remote_code, pad_token=self.pad_token
        )
        self.weights_at, self._source, self._known = self.name, None, frozenset()
        self._reload()
        self._sides: PairStore | None = None
        length = max_length_of(self._model, self.tokenizer, self.max_length)
        if task.embedded == "picture":
            self.tokens: TokenCache = visual_cache(self.name, self._model, self.tokenizer, task, length, cache)
        else:
            self.tokens = cache_for(self.tokenizer, task, length)

    def _reload(self) -> None:
        self._model, self._trained, self._checkpoints = self._fresh(), False, []

    def _texts(self) -> TokenCache:
        return self.tokens

    def _fresh(self, rows: int = 0) -> PreTrainedModel:
        """The pretrained model with a new head: the same in every round, but where weights are perturbed."""
        perturbed = (rows,) if self.incremental == "shrink_and_perturb" else ()
        with own_randomness(derive_seed("head", self.seed, *perturbed)):
            model = self._plain()
            if self.lora is not None:
                kind = "TOKEN_CLS" if self.task.per_word else "SEQ_CLS"
                self._wrapped = with_adapters(model, for_classifier(model, self.lora), kind)
                model = self._wrapped.get_base_model()
        if self._source is not None:
            model.load_state_dict(self._source)
        return model

    def _plain(self) -> PreTrainedModel:
        return classifier_for(self.weights_at, self.task, self.tokenizer, trust_remote_code=self.trust_remote_code)

    def learn_source(self, rows: Dataset) -> None:
        """Learn another set first: every round starts from the weights that this leaves; they are kept in the cache."""
        digest = hashlib.blake2b(content_keys(rows, self.task).tobytes(), digest_size=16)
        read_by = Path(self.weights_at).name, self.few.record(), self.lora
        digest.update(repr((rows["labels"], self.name, self.config.model_dump(), self.seed, read_by)).encode())
        kept = None if self.cache is None else self.cache / f"source-{digest.hexdigest()}.safetensors"
        if kept is None or not from_main(kept.exists()):
            self.fit(rows)
            self._source = weights_of(self.model)
            if kept is not None and is_main():
                weights = self._source
                write_file(kept, lambda path: save_file(weights, path))
            barrier()
        else:
            self._source = load_file(kept)
        self._model, self._trained, self._checkpoints = self._fresh(), True, []
        self._known = frozenset()  # round 0 begins as any: from these weights, with all of its steps

    @property
    def reads_unlabeled(self) -> bool:
        """Whether `fit` is to be given the rows without labels."""
        return self.config.waal > 0 or self.config.consistency > 0 or self.few.pseudo_labels is not None

    def fit(
        self, train_rows: Dataset, validation: Dataset | None = None, unlabeled: Dataset | None = None
    ) -> FitReport:
        """See `Learner.fit`; `unlabeled` are further rows with the task's inputs, for options that read them."""
        before = None
        if self.continues and self._trained and self._known:
            before = Before(weights_of(self.model), self._known)

        def once(rows: Dataset, weights: NDArray[np.float32] | None) -> FitReport:
            return self._fit(rows, weights, validation, unlabeled, before)

        self._layers = None
        if self.few.grow:
            self._layers = self._grown(train_rows, once)
        report = fit_in_stages(self.few, self.task, self.seed, train_rows, unlabeled, once, self._judge)
        if self._layers is not None:
            report = replace(report, details=report.details | {"layers_trained": self._layers})
        if self.continues:
            self._known = frozenset(names_of(train_rows, self.task))
        return report

    def _grown(self, train: Dataset, once: Once) -> int:
        """How many layers to train: 1, 2, 4 … or all."""
        found = layers_of(self.current.base_model)
        total = 1 if found is None else len(found[2])

        def sized(size: int, rows: Dataset) -> Judge:
            self._layers = size
            once(rows, None)
            return self._judge

        sizes = [*(2**step for step in range(total.bit_length()) if 2**step < total), total]
        return int(grown(sizes, train, GROWN_FOLDS, self.seed, sized))

    def _judge(self, rows: Dataset) -> Tensor:
        return self.signals(rows, Needs(pool=frozenset({"logits"}))).get("logits")

    def _fit(
        self,
        rows: Dataset,
        weights: NDArray[np.float32] | None,
        validation: Dataset | None,
        unlabeled: Dataset | None,
        before: Before | None,
    ) -> FitReport:
        """Train a model on these rows, from fresh weights or from those of the round before."""
        model = self._fresh(len(rows))
        if self._layers is not None:
            train_upper(model.base_model, self._layers)
        config, names, new = self.config, [], np.arange(len(rows))
        if before is not None:
            begin(self.incremental, model, before)
            config = config.model_copy(update={"min_steps": 1})
            names = names_of(rows, self.task)
            new = np.array([at for at, name in enumerate(names) if name not in before.known], dtype=np.int64)
        if before is not None and self.incremental == "replay":
            kept = replayed(names, before.known, self.seed)
            rows, weights = rows.select(kept), None if weights is None else weights[kept]
        examples = self._examples(rows, unlabeled, weights)
        if before is not None and self.incremental == "meta" and len(new):
            examples = MetaExamples(examples, new, config.learning_rate, config.per_device_train_batch_size)
        checkpoints: list[Weights] = []
        held_out = None if validation is None else self._examples(validation)
        guess = self._guess(config, rows, weights)
        model, report = self._train(model, examples, held_out, len(rows), checkpoints, config, guess)
        self._model, self._trained, self._checkpoints = model, True, checkpoints
        if validation is not None and self.threshold is not None:
            self._put_threshold(validation)
        return report

    def _guess(self, config: TrainingConfig, rows: Dataset, weights: NDArray[np.float32] | None) -> float | None:
        """The loss of a guess; None where a row has several labels, or a loss is more than that of the labels."""
        if self.task.asks != "one" or config.label_smoothing or config.consistency or config.waal:
            return None
        counts = np.ones(len(rows), dtype=np.float32) if weights is None else weights
        return loss_of_a_guess(config, self.task, self.task.targets(rows["labels"]), counts)

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

    def _examples(
        self, rows: Dataset, unlabeled: Dataset | None = None, weights: NDArray[np.float32] | None = None
    ) -> Examples:
        tokens, targets = self.tokens.get(rows), self.task.targets(rows["labels"])
        padding = self.tokenizer.pad_token_id, self.tokenizer.padding_side
        if unlabeled is None or not len(unlabeled) or not (self.config.waal or self.config.consistency):
            return Examples(tokens, targets, *padding, weights)
        others = self.tokens.get(unlabeled)
        if self.config.consistency:
            return ConsistentExamples(self.tokenizer, tokens, targets, others, self.config.consistency, weights)
        return AlignedExamples(tokens, targets, others, self.config.waal, *padding, weights)

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
            precision=self.precision,
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
        """See `Learner.save`: the model, or the adapters and the head as peft saves them."""
        if self.lora is None:
            super().save(folder)
        else:
            self._wrapped.save_pretrained(folder)
            self.model.config.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
        if self.continues:
            write_json(folder / KNOWN, sorted(self._known))
        for number, weights in enumerate(self._checkpoints):
            (folder / CHECKPOINTS).mkdir(exist_ok=True)
            save_file(weights, folder / CHECKPOINTS / f"{number:03d}.safetensors")

    def load(self, folder: Path) -> None:
        """See `Learner.load`."""
        with quiet():
            if self.lora is not None:
                self._wrapped = load_adapters(self._plain(), folder)
                loaded = self._wrapped.get_base_model()
            else:
                loaded = getattr(transformers, self.task.auto_model).from_pretrained(folder, use_safetensors=True)
        if self.continues:
            self._known = frozenset(read_json(folder / KNOWN))
        self._model, self._trained = loaded.eval(), True
        self._checkpoints = [load_file(path) for path in sorted((folder / CHECKPOINTS).glob("*.safetensors"))]
