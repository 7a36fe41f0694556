"""The training loop, on Accelerate.

A step's rows are cut into micro-batches before they are shared among processes, and dropout is seeded by
micro-batch: the gradient of a step is the same sum on one process and on many.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel

from hfal.compute import (
    derive_seed,
    generator_for,
    on_cpu,
    own_randomness,
    progress,
    state,
    sum_over_processes,
)
from hfal.errors import HfalError
from hfal.examples import Examples
from hfal.functional import easiest
from hfal.linear import frequency_weights
from hfal.tasks.base import Task, one_of_several
from hfal.training_config import GUESS, FitReport, TrainingConfig, converged, precision_for

Weights = dict[str, Tensor]
"""A model's weights by name."""

TOO_LARGE = (
    "the GPU's memory does not hold the training of {} rows at once: lower "
    "learner.training.per_device_train_batch_size (and raise gradient_accumulation_steps as much) or learner.max_length"
)


def weights_of(model: nn.Module) -> Weights:
    """A copy of a model's weights, on the CPU."""
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in model.state_dict().items()}


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
    guess: float | None = None,
    what: str = "training",
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
        guess: see `loss_of_a_guess`; by it, where there is one, training has converged or goes through another of
            `config.max_cycles`.
        what: is being done, for the progress bar.

    Returns:
        The model, in evaluation mode on the device, and how it went.

    Raises:
        HfalError: the loss is not finite, there is nothing to learn, or a GPU's memory does not suffice.
    """
    if not len(examples):
        raise HfalError("nothing to train on: the tokenizer makes nothing of the words that are labelled")
    if config.early_stopping_patience is not None and validation is None:
        raise HfalError("early_stopping_patience needs validation rows")
    batch_size = min(len(examples), config.per_device_train_batch_size * config.gradient_accumulation_steps)
    steps_per_epoch = math.ceil(len(examples) / batch_size)
    epochs = max(config.num_train_epochs, math.ceil(config.min_steps / steps_per_epoch))
    if config.self_paced < 1 and epochs == 1:
        guess = None  # its last epoch leaves the hardest rows out
    steps = _Steps(model, task, examples, config, seed, epochs * steps_per_epoch, logs)
    stopper = _Best(config.early_stopping_patience)
    losses: list[float] = []
    with own_randomness(seed), progress(steps.cycle, what) as bar:
        for epoch in range(epochs * config.max_cycles):
            steps.wrapped.train()
            losses = []
            for rows in _epoch(len(examples), batch_size, seed, epoch):
                losses.append(steps.take(rows, bar.total))
                bar.update()
                bar.set_postfix_str(f"loss {losses[-1]:.3f}", refresh=False)
            if checkpoints is not None and config.save_total_limit:
                checkpoints.append(weights_of(model))
                del checkpoints[: -config.save_total_limit]
            if validation is not None:
                value = _validation_loss(steps.wrapped, task, validation, steps.device)
                if stopper.seen(value, epoch, model):
                    break
            if (epoch + 1) % epochs == 0:  # the end of a cycle
                if guess is None or converged(float(np.mean(losses)), guess):
                    break
                bar.total += steps.cycle
    details = {"epochs": epoch + 1, **({} if guess is None else {GUESS: round(guess, 4)}), **stopper.restore(model)}
    steps.end()
    return model.eval(), FitReport(steps.done, float(np.mean(losses)), details)


class _Steps:
    """A model in training, one step of the optimizer after the other.

    Args:
        model: changed in place.
        task: gives the loss.
        examples: what to learn.
        config: how.
        seed: of dropout.
        cycle: steps in which the rate rises and falls; the next begin anew.
        logs: where trackers write.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        task: Task,
        examples: Examples,
        config: TrainingConfig,
        seed: int,
        cycle: int,
        logs: Path | None,
    ) -> None:
        self.model, self.task, self.examples = model, task, examples
        self.config, self.seed, self.cycle = config, seed, cycle
        self.accelerator = _accelerator(config, logs)
        groups = _parameter_groups(model, config.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
        self.wrapped, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.device = self.accelerator.device
        self.schedule = LambdaLR(self.optimizer, _linear(cycle, config.warmup_ratio))
        self.weights = _class_weights(task, examples.values, self.device) if balances(config, task) else None
        examples.prepare(model, seed, self.device)
        self.anchor = [value.detach().clone() for value in model.parameters()] if config.anchor else []
        self.done = 0

    def take(self, rows: NDArray[np.int64], planned: int) -> float:
        """A step on these rows, of so many planned; its loss."""
        self.examples.before_step(self.task, self.done, self.device)
        rate = float(self.schedule.get_last_lr()[0])
        loss = self._checked(rows, planned)
        if self.config.max_grad_norm:
            self.accelerator.clip_grad_norm_(self.wrapped.parameters(), self.config.max_grad_norm)
        self.examples.before_update()
        self.optimizer.step()
        if self.anchor:
            _pull(self.model, self.anchor, min(1.0, self.config.anchor * rate))
        self.examples.after_step(self.done)
        self.schedule.step()
        self.optimizer.zero_grad()
        self.done += 1
        if self.config.log_with:
            self.accelerator.log({"train/loss": loss, "train/learning_rate": rate}, self.done)
        return loss

    def _checked(self, rows: NDArray[np.int64], planned: int) -> float:
        """The loss, and the gradient; or what to change where there is none."""
        try:
            loss = self._loss(rows)
        except torch.OutOfMemoryError:
            raise HfalError(TOO_LARGE.format(self.config.per_device_train_batch_size)) from None
        if not math.isfinite(loss):
            raise HfalError(
                f"the training loss is {loss} at step {self.done + 1} of {planned}: lower learning_rate "
                f'(now {self.config.learning_rate:g}) or set mixed_precision: "no"'
            )
        return loss

    def _loss(self, rows: NDArray[np.int64]) -> float:
        """Forward and backward over the micro-batches; the mean loss of the step's outputs (of the easiest share)."""
        paced = self.config.self_paced
        share = min(1.0, paced + (1 - paced) * 2 * self.done / self.cycle)
        processes = state().num_processes
        chunks = np.array_split(rows, min(self.config.gradient_accumulation_steps, len(rows)))
        turns = math.ceil(len(chunks) / processes)
        outputs = self.examples.outputs(rows)
        total = torch.zeros(1)
        for turn in range(turns):
            number = turn * processes + state().process_index
            filler = number >= len(chunks)  # of no weight, so that every process keeps step
            chunk = rows[:1] if filler else chunks[number]
            torch.manual_seed(derive_seed(self.seed, self.done, number))
            last = turn == turns - 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.wrapped):
                losses = self.examples.losses(
                    self.wrapped,
                    self.task,
                    chunk,
                    self.device,
                    self.weights,
                    self.config.label_smoothing,
                    part=None if filler else number,
                )
                losses = losses if share == 1 else losses * easiest(losses, share) / share
                weighted = losses.sum() * (0.0 if filler else 1 / outputs)
                self.accelerator.backward(weighted * processes)  # processes are averaged; a step's loss is a sum
            total += weighted.detach().cpu()
        return float(sum_over_processes(total))

    def end(self) -> None:
        """Close the trackers, and give the model its own forward again, as it has after it was loaded."""
        if self.config.log_with:
            self.accelerator.end_training()
        self.accelerator.unwrap_model(self.wrapped, keep_fp32_wrapper=False)
        self.accelerator.free_memory()


def balances(config: TrainingConfig, task: Task) -> bool:
    """Whether classes count alike in the loss, however many rows they have."""
    return one_of_several(task) if config.class_weights == "auto" else config.class_weights == "balanced"


def loss_of_a_guess(config: TrainingConfig, task: Task, targets: Tensor, weights: NDArray[np.float32]) -> float | None:
    """The loss of a model that knows how frequent classes are, and nothing of the rows.

    Args:
        config: of the training.
        task: with one label a row.
        targets: [N] classes.
        weights: [N] what rows count.

    Returns:
        nats; None where rows of one class only leave nothing to be learned.
    """
    shares = np.bincount(targets.numpy(), weights, minlength=len(task.names)) / weights.sum()
    if np.count_nonzero(shares) < 2:
        return None
    if balances(config, task):
        return math.log(len(task.names)) * float(weights.mean())
    return float(np.mean(weights * -np.log(shares[targets.numpy()])))


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


@torch.no_grad()
def _pull(model: nn.Module, anchor: list[Tensor], strength: float) -> None:
    """Draw the weights towards those that training began from."""
    for value, first in zip(model.parameters(), anchor, strict=True):
        value.lerp_(first.to(value.device), strength)


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
        step %= steps  # another cycle begins anew
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return (steps - step) / max(1, steps - warmup)

    return factor


def _class_weights(task: Task, targets: Tensor, device: torch.device) -> Tensor:
    """[C] weights of mean 1 over the rows, by the inverse frequency; for independent labels, no over yes."""
    if task.multi_label:
        yes = targets.sum(0).clamp_min(1)
        return ((len(targets) - yes).clamp_min(1) / yes).to(device)
    counts = np.bincount(targets.numpy(), minlength=len(task.names))
    return torch.from_numpy(frequency_weights(counts, 1.0)).float().to(device)


class _Best:
    """The weights of the epoch with the lowest validation loss, and when to give up."""

    def __init__(self, patience: int | None) -> None:
        self.patience = patience
        self.loss = math.inf
        self.epoch: int | None = None
        self.weights: Weights = {}

    def seen(self, loss: float, epoch: int, model: nn.Module) -> bool:
        if loss < self.loss:
            self.loss, self.epoch = loss, epoch
            self.weights = weights_of(model)
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
