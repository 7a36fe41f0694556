"""Several models as one learner: their mean decides, where they part is what they do not know."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel

from hfal.compute import derive_seed, generator_for
from hfal.errors import HfalError
from hfal.files import read_json, write_json
from hfal.functional import Ragged
from hfal.learners.base import evaluate, outputs_of
from hfal.learners.fine_tune import FineTune
from hfal.learners.frozen_head import FrozenHead
from hfal.signals import Needs, Signals
from hfal.tasks.base import Task
from hfal.training_config import FitReport

TOGETHER = 4096
"""Rows that are reduced at once."""
FILE = "ensemble.json"
Values = Tensor | Ragged


class Ensemble:
    """Members of one kind that differ in what they began with or in what they saw (Beluch et al. 2018).

    Their mean probability is the prediction. As samples of the model, for `bald`, `vote_entropy` and the rest,
    there are their own logits; where more are asked for than there are members, each gives as many by dropout
    (DEBAL; Pop and Fulop 2018) or of its checkpoints (Chitta et al. 2018).

    Args:
        of: a `FrozenHead` or `FineTune`: what the members are.
        members: how many.
        by: how they differ. "init": new layers and the order of rows; "bootstrap": each learns rows drawn with
            replacement; "anchor": each is held to weights drawn from the prior (Pearce et al. 2020), a fine-tuned one
            to those that it began with. "bootstrap" for a frozen head, which has no initial weights, else "init".
        calibrate: where there are validation rows, scale the logits by the temperature that fits them best (Guo et al.
            2017).

    Raises:
        HfalError: fewer than two members, or they cannot differ like this.
    """

    def __init__(
        self,
        of: FrozenHead | FineTune,
        members: int = 5,
        *,
        by: Literal["init", "bootstrap", "anchor"] | None = None,
        calibrate: bool = True,
    ) -> None:
        frozen = isinstance(of, FrozenHead)
        by = by or ("bootstrap" if frozen else "init")
        if members < 2:
            raise HfalError(f"learner.members must be at least 2, got {members}")
        if by not in ("init", "bootstrap", "anchor"):
            raise HfalError(f"learner.by must be init, bootstrap or anchor, got {by!r}")
        if frozen and by == "init":
            raise HfalError("learner.by: init: a frozen head has no initial weights to differ in: bootstrap or anchor")
        if frozen and by == "anchor" and of.few.pseudo_labels is not None:
            raise HfalError("learner.by: anchor does not go with pseudo_labels on a frozen head: take bootstrap")
        self.of, self.size, self.by, self.calibrate = of, members, by, calibrate
        self.members: list[FrozenHead | FineTune] = []
        self.temperature = 1.0

    def describe(self) -> dict[str, Any]:
        """The learner as configuration."""
        told = {"type": "ensemble", "of": self.of.describe(), "members": self.size, "by": self.by}
        return told | {"calibrate": self.calibrate}

    @property
    def model(self) -> PreTrainedModel:
        """The model of the first member."""
        return self.members[0].model

    @property
    def reads_unlabeled(self) -> bool:
        """Whether `fit` is to be given the rows without labels."""
        return self.of.reads_unlabeled

    @property
    def continues(self) -> bool:
        """Whether a round's models depend on those of the round before."""
        return bool(getattr(self.of, "continues", False))

    def bind(self, task: Task, seed: int, cache: Path | None = None) -> None:
        """See `Learner.bind`. Members with a frozen encoder share it and its embeddings."""
        self.task, self.seed, self.cache, self.temperature = task, seed, cache, 1.0
        if self.by == "anchor" and (task.per_word or task.multi_label) and isinstance(self.of, FrozenHead):
            raise HfalError(f"learner.by: anchor is for rows with one label, not for {task.name}: take bootstrap")
        if isinstance(self.of, FrozenHead):
            self.of.bind(task, seed, cache)
        self.members = [self._member(number) for number in range(self.size)]

    def _member(self, number: int) -> FrozenHead | FineTune:
        seed = derive_seed("member", self.seed, number)
        one = copy.copy(self.of)
        if isinstance(one, FrozenHead):
            one.seed = seed
            one.own_head()
            if self.by == "anchor":
                one.hold_to(self._anchor(one, seed))
            return one
        if self.by == "anchor":
            change = {"weight_decay": 0.0, "anchor": one.config.anchor or max(one.config.weight_decay, 0.01)}
            one.config = one.config.model_copy(update=change)
        one.bind(self.task, seed, self.cache)
        return one

    def _anchor(self, one: FrozenHead, seed: int) -> Any:
        """Weights drawn from the prior that the penalty stands for: normal, of variance C."""
        shape = len(self.task.names), one.store.dimensions
        weight = math.sqrt(one.C) * torch.randn(shape, generator=generator_for("anchor", seed), dtype=torch.float64)
        return weight.numpy(), np.zeros(shape[0])

    def read_pool(self, rows: Dataset) -> dict[str, Any]:
        """See `PoolReader.read_pool`; all members have the one encoder that read the pool."""
        if isinstance(self.of, FrozenHead):
            found = self.of.read_pool(rows)
            self.members = [self._member(number) for number in range(self.size)] if found else self.members
            return found
        first, *others = self.members
        found = first.read_pool(rows)
        for one in others if found else ():
            one.read_as(first)
        return found

    def learn_source(self, rows: Dataset) -> None:
        """Learn another set first, each member by itself."""
        if self.by == "anchor" and isinstance(self.of, FrozenHead):
            raise HfalError("transfer does not go with an ensemble by anchor: take bootstrap")
        for one in self.members:
            one.learn_source(rows)

    def fit(self, train: Dataset, validation: Dataset | None = None, unlabeled: Dataset | None = None) -> FitReport:
        """See `Learner.fit`: each member in turn."""
        reports = []
        for number, one in enumerate(self.members):
            rows = train
            if self.by == "bootstrap":
                generator = generator_for("bootstrap", self.seed, number, len(train))
                rows = train.select(torch.randint(len(train), (len(train),), generator=generator).numpy())
            extra = {"unlabeled": unlabeled} if one.reads_unlabeled else {}
            reports.append(one.fit(rows, validation, **extra))
        self.temperature = 1.0
        if self.calibrate and validation is not None and not self.task.multi_label:
            self.temperature = self._fitting(validation)
        details = {"members": self.size, "temperature": self.temperature}
        return FitReport(
            sum(r.steps for r in reports), float(np.mean([r.loss for r in reports])), reports[0].details | details
        )

    def _fitting(self, validation: Dataset) -> float:
        """The temperature of the least log-loss on these rows."""
        from scipy.optimize import minimize_scalar

        found = outputs_of(self, self.task, validation).logits
        targets = self.task.targets(validation["labels"])
        logits = found.values if isinstance(found, Ragged) else found
        wanted = targets.values if isinstance(targets, Ragged) else targets
        assert logits is not None

        def loss(log_t: float) -> float:
            return float(torch.nn.functional.cross_entropy(logits.double() / math.exp(log_t), wanted))

        return math.exp(float(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))

    def signals(self, rows: Dataset, needs: Needs) -> Signals:
        """See `Learner.signals`: one pass for each member; what is not an output is told by the first."""
        fields = needs.every_field
        sampled, several = "mc_logits" in fields, bool(fields & {"logits", "mc_logits"})
        if "mc_latent" in fields:
            raise HfalError("an ensemble has no common latent space: mc_latent needs a single learner")
        each = math.ceil(needs.mc_samples / self.size) if sampled else 0
        dropping = each > 1
        own = {"logits"} if several else set()
        asked = replace(needs, pool=frozenset(own), batch=frozenset(), reduce={}, labeled=frozenset(), mc_samples=0)
        if dropping:
            asked = replace(asked, pool=frozenset(own | {"mc_logits"}), mc_samples=each)
        first = replace(asked, pool=asked.pool | (fields - {"mc_logits"}))
        heard = self.members if several else self.members[:1]
        told = [one.signals(rows, first if at == 0 else asked) for at, one in enumerate(heard)]
        found = told[0]
        if several:
            logits = [signals.logits for signals in told]
            found = replace(found, logits=_each(logits, self._mean))
            if sampled:
                at = 1 if self.task.per_word else 0  # samples lie along: [K, N, C], of words [T, K, C]
                if dropping:
                    samples = _each([signals.mc_logits for signals in told], lambda parts: torch.cat(parts, at))
                else:
                    samples = _each(logits, lambda parts: torch.stack(parts, at))
                found = replace(found, mc_logits=samples)
        return _reduced(found, needs)

    def _mean(self, values: list[Tensor]) -> Tensor:
        """The logits of the mean probability, scaled by the temperature."""
        stacked = torch.stack(values).double()
        if self.task.multi_label:
            return stacked.sigmoid().mean(0).logit(eps=1e-12).float()
        mean = stacked.log_softmax(-1).logsumexp(0) - math.log(len(values))
        return (mean / self.temperature).float()

    def evaluate(self, rows: Dataset) -> dict[str, Any]:
        """See `Learner.evaluate`."""
        return evaluate(self, self.task, rows)

    def save(self, folder: Path) -> None:
        """See `Learner.save`: the first member as a model of transformers, the others beside it."""
        for number, one in enumerate(self.members):
            place = folder if number == 0 else folder / f"member-{number}"
            place.mkdir(parents=True, exist_ok=True)
            one.save(place)
        write_json(folder / FILE, {"members": self.size, "temperature": self.temperature})

    def load(self, folder: Path) -> None:
        """See `Learner.load`."""
        self.temperature = float(read_json(folder / FILE)["temperature"])
        for number, one in enumerate(self.members):
            one.load(folder if number == 0 else folder / f"member-{number}")


def _each(parts: list[Any], combine: Any) -> Values:
    """Put values together: of rows, or of all their words."""
    if isinstance(parts[0], Ragged):
        return Ragged(combine([part.values for part in parts]), parts[0].offsets)
    joined: Tensor = combine(parts)
    return joined


def _reduced(found: Signals, needs: Needs) -> Signals:
    """What was asked for: the fields, and one number a row for each reduction."""
    reduced: dict[str, Tensor] = {}
    for name, reduce in needs.reduce.items():
        parts = [
            reduce(found.take(torch.arange(start, min(start + TOGETHER, len(found)))))
            for start in range(0, len(found), TOGETHER)
        ]
        reduced[name] = torch.cat(parts) if parts else torch.empty(0)
    dropped: dict[str, Any] = {name: None for name in needs.every_field | {"logits"} if name not in needs.pool}
    return replace(found, reduced=reduced, **dropped)
