"""How a model is trained, in transformers' words, and in which precision."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from hfal.compute import state

GUESS = "loss_of_a_guess"
"""In a report: the loss of a model to which all classes are alike, to hold the loss of training against."""

UNCONVERGED = 0.25
"""Share of the loss of a guess above which training has not converged; where it has, it ends at a tenth or less."""


@dataclass(frozen=True)
class FitReport:
    """How training went: optimizer steps, mean loss of the last epoch, and whatever else is worth keeping."""

    steps: int
    loss: float
    details: dict[str, Any] = field(default_factory=dict)


class TrainingConfig(BaseModel):
    """How a model is trained, in transformers' words.

    The batch of a step is `per_device_train_batch_size * gradient_accumulation_steps` rows, whatever the
    number of processes: they share its micro-batches (so it pays to have at least as many of them).

    Attributes:
        num_train_epochs: passes over the labelled rows; more where `min_steps` asks for it.
        min_steps: floor on optimizer steps. Few labels must not mean few steps: at 100 rows and 5 epochs,
            28 steps, a pretrained encoder is still at chance.
        max_cycles: how often the schedule is gone through at most. It is again, from the peak of the rate on, as long
            as the loss of the last epoch is more than a quarter of a guess's (restarts, as of Loshchilov and Hutter
            2017): many classes, or few rows of each, take longer than `min_steps`. Where a row has one label, and
            without `label_smoothing`, `consistency` and `waal`. 1 switches it off.
        learning_rate: peak of a linear schedule.
        warmup_ratio: share of the steps in which the rate rises.
        weight_decay: of AdamW, on matrices only.
        max_grad_norm: clipping; 0 switches it off.
        label_smoothing: share of the label given to the other classes.
        class_weights: "balanced" weighs each class by the inverse of its frequency among the labels. "auto" does so
            where a row has one label of several, not where one class of two is looked for, nor for words.
        mixed_precision: "auto" is bf16 on a GPU that has it, else none.
        early_stopping_patience: epochs without a better validation loss before training stops. The best
            epoch is kept. Only with validation rows.
        save_total_limit: epochs, the last ones, whose weights are kept: a committee for `mc_layers=checkpoints`.
        waal: weight of the distance between the features of labelled and unlabelled rows, which are drawn together
            (WAAL; Shui et al. 2020). 0 leaves the unlabelled rows out; 0.01 is the authors'.
        consistency: weight of a loss on unlabelled rows: what the model is sure of in a text it shall say of the text
            with tokens masked too (FixMatch, Sohn et al. 2020, and UDA, Xie et al. 2020, for texts). 0 leaves them out.
        self_paced: share of a micro-batch, the rows with the smallest loss, that counts at the first step; it grows to
            all of them by half of the steps (Kumar et al. 2010; DASL, Wang et al. 2018). 1 switches it off.
        anchor: strength of a pull of the weights towards those they began from, beside `weight_decay`, which pulls
            them towards 0; for members of an `Ensemble` (Pearce et al. 2020).
        log_with: an Accelerate tracker, as "tensorboard"; logs go to the run folder's `logs`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    num_train_epochs: int = Field(5, ge=1)
    min_steps: int = Field(150, ge=1)
    max_cycles: int = Field(3, ge=1)
    learning_rate: float = Field(5e-5, gt=0)
    warmup_ratio: float = Field(0.1, ge=0, le=1)
    weight_decay: float = Field(0.01, ge=0)
    max_grad_norm: float = Field(1.0, ge=0)
    per_device_train_batch_size: int = Field(8, ge=1)
    gradient_accumulation_steps: int = Field(2, ge=1)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    class_weights: Literal["auto", "balanced"] | None = "auto"
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    early_stopping_patience: int | None = Field(None, ge=1)
    save_total_limit: int = Field(0, ge=0)
    waal: float = Field(0.0, ge=0)
    consistency: float = Field(0.0, ge=0)
    self_paced: float = Field(1.0, gt=0, le=1)
    anchor: float = Field(0.0, ge=0)
    log_with: Literal["tensorboard", "wandb", "mlflow", "comet_ml", "aim", "clearml", "swanlab"] | None = None


def converged(loss: float, guess: float) -> bool:
    """Whether a loss is that of a model that has learned its rows, beside that of a guess."""
    return loss <= UNCONVERGED * guess


def precision_for(asked: str) -> str:
    """ "auto" as what the device has."""
    if asked != "auto":
        return asked
    return "bf16" if state().device.type == "cuda" and torch.cuda.is_bf16_supported() else "no"


def autocast_for(asked: str) -> Callable[[], contextlib.AbstractContextManager[Any]]:
    """A context for forward passes without gradients in the precision asked for."""
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision_for(asked))
    if kind is None:
        return contextlib.nullcontext
    return lambda: torch.autocast(state().device.type, dtype=kind)
