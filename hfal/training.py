"""The training loop, on Accelerate.

A step's rows are cut into micro-batches before they are shared among processes, and dropout is seeded by
micro-batch: the gradient of a step is the same sum on one process and on many.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from hfal.alignment import WordTokens, model_inputs, unit_values
from hfal.compute import (
    derive_seed,
    generator_for,
    is_main,
    on_cpu,
    own_randomness,
    state,
    sum_over_processes,
)
from hfal.errors import HfalError
from hfal.functional import Ragged
from hfal.tasks.base import Task
from hfal.tokens import Tokens

Weights = dict[str, Tensor]
"""A model's weights by name."""


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
        learning_rate: peak of a linear schedule.
        warmup_ratio: share of the steps in which the rate rises.
        weight_decay: of AdamW, on matrices only.
        max_grad_norm: clipping; 0 switches it off.
        label_smoothing: share of the label given to the other classes.
        class_weights: "balanced" weighs each class by the inverse of its frequency among the labels.
        mixed_precision: "auto" is bf16 on a GPU that has it, else none.
        early_stopping_patience: epochs without a better validation loss before training stops. The best
            epoch is kept. Only with validation rows.
        save_total_limit: epochs, the last ones, whose weights are kept: a committee for `mc_layers=checkpoints`.
        waal: weight of the distance between the features of labelled and unlabelled rows, which are drawn together
            (WAAL; Shui et al. 2020). 0 leaves the unlabelled rows out; 0.01 is the authors'.
        log_with: an Accelerate tracker, as "tensorboard"; logs go to the run folder's `logs`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    num_train_epochs: int = Field(5, ge=1)
    min_steps: int = Field(150, ge=1)
    learning_rate: float = Field(5e-5, gt=0)
    warmup_ratio: float = Field(0.1, ge=0, le=1)
    weight_decay: float = Field(0.01, ge=0)
    max_grad_norm: float = Field(1.0, ge=0)
    per_device_train_batch_size: int = Field(8, ge=1)
    gradient_accumulation_steps: int = Field(2, ge=1)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    class_weights: Literal["balanced"] | None = None
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    early_stopping_patience: int | None = Field(None, ge=1)
    save_total_limit: int = Field(0, ge=0)
    waal: float = Field(0.0, ge=0)
    log_with: Literal["tensorboard", "wandb", "mlflow", "comet_ml", "aim", "clearml", "swanlab"] | None = None


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


class Examples:
    """What is trained on: tokenized rows, and what each of their outputs should be.

    Sentences of words are cut into windows, each with the words that are read in it; words that the model cannot
    see are left out.

    Args:
        tokens: N rows.
        targets: what `task.targets` made of their labels.
        pad_id: the tokenizer's padding token.
        padding_side: where padding goes.
    """

    def __init__(
        self, tokens: Tokens | WordTokens, targets: Tensor | Ragged, pad_id: int, padding_side: str = "right"
    ) -> None:
        if isinstance(tokens, WordTokens) and isinstance(targets, Ragged):
            tokens, kept, words = tokens.as_windows()
            targets = Ragged(targets.values[torch.from_numpy(kept)], torch.from_numpy(words))
        self.tokens = tokens
        self.targets = targets
        self.pad_id = pad_id
        self.padding_side = padding_side

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def values(self) -> Tensor:
        """The targets of all outputs, end to end."""
        return self.targets.values if isinstance(self.targets, Ragged) else self.targets

    def outputs(self, rows: NDArray[np.int64]) -> int:
        """How many outputs these rows have."""
        return int(self.tokens.units[rows].sum())

    def prepare(self, model: PreTrainedModel, seed: int, device: torch.device) -> None:
        """Called before the first step."""

    def after_step(self, step: int) -> None:
        """Called after each step."""

    def losses(
        self,
        model: nn.Module,
        task: Task,
        rows: NDArray[np.int64],
        device: torch.device,
        class_weights: Tensor | None = None,
        smoothing: float = 0.0,
        part: int | None = None,
    ) -> Tensor:
        """The loss of each output of these rows; `part` numbers the micro-batch where it counts."""
        batch = {k: v.to(device) for k, v in self.tokens.pad(rows, self.pad_id, self.padding_side).items()}
        logits = unit_values(model(**model_inputs(batch)).logits.float(), batch)
        wanted = self.values[torch.from_numpy(self.tokens.places(rows))].to(device)
        return task.loss(logits, wanted, class_weights, smoothing)


def train(
    model: PreTrainedModel,
    task: Task,
    examples: Examples,
    config: TrainingConfig,
    *,
    seed: int,
    validation: Examples | None = None,
    logs: Path | None = None,
    checkpoints: list[Weights] | None = None,
) -> tuple[PreTrainedModel, FitReport]:
    """Train a model on tokenized rows. The loss of a step is the mean over its outputs: rows, or words.

    Args:
        model: fresh weights; changed in place.
        task: gives the loss.
        examples: what to learn.
        config: how.
        seed: of row order and dropout.
        validation: rows that decide on early stopping and the best epoch.
        logs: where trackers write.
        checkpoints: takes up the weights of the last `save_total_limit` epochs.

    Returns:
        The model, in evaluation mode on the device, and how it went.

    Raises:
        HfalError: the loss is not finite, or there is nothing to learn.
    """
    if not len(examples):
        raise HfalError("nothing to train on: the tokenizer makes nothing of the words that are labelled")
    if config.early_stopping_patience is not None and validation is None:
        raise HfalError("early_stopping_patience needs validation rows")
    accelerator = _accelerator(config, logs)
    optimizer = torch.optim.AdamW(_parameter_groups(model, config.weight_decay), lr=config.learning_rate)
    batch_size = min(len(examples), config.per_device_train_batch_size * config.gradient_accumulation_steps)
    steps_per_epoch = math.ceil(len(examples) / batch_size)
    epochs = max(config.num_train_epochs, math.ceil(config.min_steps / steps_per_epoch))
    steps = epochs * steps_per_epoch
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    schedule = LambdaLR(optimizer, _linear(steps, config.warmup_ratio))
    weights = _class_weights(task, examples.values, accelerator.device) if config.class_weights else None
    examples.prepare(model, seed, accelerator.device)
    stopper = _Best(config.early_stopping_patience)
    losses: list[float] = []
    step = 0
    with (
        own_randomness(seed),
        tqdm(
            total=steps,
            desc="training",
            unit="step",
            leave=False,
            disable=None if is_main() else True,
            delay=1,
        ) as bar,
    ):
        for epoch in range(epochs):
            wrapped.train()
            losses = []
            for rows in _epoch(len(examples), batch_size, seed, epoch):
                loss = _step(accelerator, wrapped, task, examples, rows, config, weights, seed, step)
                if not math.isfinite(loss):
                    raise HfalError(
                        f"the training loss is {loss} at step {step + 1} of {steps}: lower learning_rate "
                        f'(now {config.learning_rate:g}) or set mixed_precision: "no"'
                    )
                if config.max_grad_norm:
                    accelerator.clip_grad_norm_(wrapped.parameters(), config.max_grad_norm)
                optimizer.step()
                examples.after_step(step)
                schedule.step()
                optimizer.zero_grad()
                losses.append(loss)
                step += 1
                bar.update()
                bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
                if config.log_with:
                    accelerator.log({"train/loss": loss, "train/learning_rate": schedule.get_last_lr()[0]}, step)
            if checkpoints is not None and config.save_total_limit:
                checkpoints.append({name: value.detach().cpu().clone() for name, value in model.state_dict().items()})
                del checkpoints[: -config.save_total_limit]
            if validation is not None:
                value = _validation_loss(wrapped, task, validation, accelerator.device)
                if stopper.seen(value, epoch, model):
                    break
    if config.log_with:
        accelerator.end_training()
    details = {"epochs": epoch + 1, **stopper.restore(model)}
    accelerator.free_memory()
    return model.eval(), FitReport(step, float(np.mean(losses)), details)


def _accelerator(config: TrainingConfig, logs: Path | None) -> Accelerator:
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()  # the precision of an earlier fit must not stick
    accelerator = Accelerator(
        cpu=on_cpu(),
        mixed_precision=precision_for(config.mixed_precision),
        log_with=config.log_with,
        project_dir=None if logs is None else str(logs),
    )
    if config.log_with:
        accelerator.init_trackers("hfal")
    return accelerator


def _step(
    accelerator: Accelerator,
    model: nn.Module,
    task: Task,
    examples: Examples,
    rows: NDArray[np.int64],
    config: TrainingConfig,
    class_weights: Tensor | None,
    seed: int,
    step: int,
) -> float:
    """Forward and backward over the micro-batches of one step; the mean loss of its outputs."""
    processes = state().num_processes
    chunks = np.array_split(rows, min(config.gradient_accumulation_steps, len(rows)))
    turns = math.ceil(len(chunks) / processes)
    outputs = examples.outputs(rows)
    total = torch.zeros(1)
    for turn in range(turns):
        number = turn * processes + state().process_index
        filler = number >= len(chunks)  # of no weight, so that every process keeps step
        chunk = rows[:1] if filler else chunks[number]
        torch.manual_seed(derive_seed(seed, step, number))
        last = turn == turns - 1
        with contextlib.nullcontext() if last else accelerator.no_sync(model):
            losses = examples.losses(
                model,
                task,
                chunk,
                accelerator.device,
                class_weights,
                config.label_smoothing,
                part=None if filler else number,
            )
            weighted = losses.sum() * (0.0 if filler else 1 / outputs)
            accelerator.backward(weighted * processes)  # processes are averaged; a step's loss is a sum
        total += weighted.detach().cpu()
    return float(sum_over_processes(total))


def _epoch(rows: int, batch_size: int, seed: int, epoch: int) -> Iterator[NDArray[np.int64]]:
    order = torch.randperm(rows, generator=generator_for("epoch", seed, epoch)).numpy()
    for start in range(0, rows, batch_size):
        yield order[start : start + batch_size]


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    trained = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]


def _linear(steps: int, warmup_ratio: float) -> Callable[[int], float]:
    warmup = int(steps * warmup_ratio)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return (steps - step) / max(1, steps - warmup)

    return factor


def _class_weights(task: Task, targets: Tensor, device: torch.device) -> Tensor:
    """Weights of mean 1 over the rows: n / (C n_c); for independent labels, no over yes."""
    if task.multi_label:
        yes = targets.sum(0).clamp_min(1)
        return ((len(targets) - yes).clamp_min(1) / yes).to(device)
    counts = torch.bincount(targets, minlength=len(task.names))
    weights = len(targets) / (len(task.names) * counts.clamp_min(1).float())
    return torch.where(counts > 0, weights, torch.ones_like(weights)).to(device)


class _Best:
    """The weights of the epoch with the lowest validation loss, and when to give up."""

    def __init__(self, patience: int | None) -> None:
        self.patience = patience
        self.loss = math.inf
        self.epoch: int | None = None
        self.weights: dict[str, Tensor] = {}

    def seen(self, loss: float, epoch: int, model: nn.Module) -> bool:
        if loss < self.loss:
            self.loss, self.epoch = loss, epoch
            self.weights = copy.deepcopy({k: v.cpu() for k, v in model.state_dict().items()})
        return self.patience is not None and self.epoch is not None and epoch - self.epoch >= self.patience

    def restore(self, model: nn.Module) -> dict[str, Any]:
        if self.epoch is None:
            return {}
        model.load_state_dict(self.weights)
        return {"best_epoch": self.epoch + 1, "validation_loss": self.loss}


@torch.inference_mode()
def _validation_loss(model: nn.Module, task: Task, examples: Examples, device: torch.device) -> float:
    model.eval()
    total = 0.0
    for start in range(0, len(examples), 32):
        rows = np.arange(start, min(start + 32, len(examples)))
        total += float(examples.losses(model, task, rows, device).sum())
    return total / max(1, len(examples.values))
