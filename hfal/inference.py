"""The pass: rows by length, batches of equal work, the same numbers whatever the order and the processes.

Batches are laid out before they are shared among processes, so that each row meets the same neighbours on
one process and on many; results come back in the order asked.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

from hfal.alignment import WordTokens
from hfal.compute import progress, state, sum_over_processes
from hfal.errors import HfalError
from hfal.functional import Ragged
from hfal.signals import LOOKS, OF_TEXTS, SAMPLED, Needs, Reducer, Signals
from hfal.tasks.base import Task
from hfal.tokens import Tokens, offsets_of, taken

Outputs = dict[str, Tensor | Ragged]
"""Signal name -> [B, ...], or `Ragged` with one entry a word; samples come second: `mc_logits` is [B, K, C],
`mc_latent` [B, K, H]."""

Forward = Callable[[dict[str, Tensor]], Outputs]

MAPPED_BYTES = 256 * 2**20
"""Results larger than this are kept in a file that is mapped into memory."""

CPU_TOKENS, GPU_TOKENS = 2048, 65_536


def token_budget(hidden_size: int, device: torch.device) -> int:
    """Tokens (padding included) per batch: what keeps the device busy, within a quarter of its memory.

    Of all of its memory, not of what is free at the moment: the same batches, and so the same last bits, in every round
    and after a kill. A token's activations are taken as 64 float32 vectors of the hidden size, which is generous for
    encoders.
    """
    if device.type == "cuda":
        memory, most = torch.cuda.mem_get_info(device)[1], GPU_TOKENS
    else:
        memory, most = psutil.virtual_memory().total, CPU_TOKENS
    return max(256, min(most, memory // 4 // (hidden_size * 4 * 64)))


def plan_batches(lengths: NDArray[np.int64], tokens: int, most_rows: int = 1024) -> list[NDArray[np.int64]]:
    """Rows in batches of like length, longest first, each of at most `tokens` tokens (one row at least).

    Args:
        lengths: [N] tokens of each row.
        tokens: budget of a batch, padding included.
        most_rows: bound on the rows of a batch.

    Returns:
        Batches of row numbers that hold every row once.
    """
    order = np.argsort(-lengths, kind="stable")
    batches = []
    start = 0
    while start < len(order):
        longest = max(1, int(lengths[order[start]]))
        stop = start + max(1, min(most_rows, tokens // longest))
        batches.append(order[start:stop])
        start = stop
    return batches


def own_batches(
    batches: Sequence[NDArray[np.int64]], description: str, *, alone: bool = False
) -> Iterator[NDArray[np.int64]]:
    """This process's batches, with progress in rows.

    Args:
        batches: of all processes.
        description: for the progress bar.
        alone: this process does all of them.
    """
    current = state()
    mine = batches if alone else batches[current.process_index :: current.num_processes]
    with progress(sum(len(batch) for batch in mine), description, "row") as bar:
        for rows in mine:
            yield rows
            bar.update(len(rows))


def run_pass(
    forward: Forward,
    tokens: Tokens | WordTokens,
    *,
    pad_id: int,
    padding_side: str,
    budget: int,
    device: torch.device,
    finish: Callable[[Outputs], Outputs] | None = None,
    beside: Mapping[str, Tensor] | None = None,
    scratch: Path | None = None,
    description: str = "scoring",
    alone: bool = False,
) -> Outputs:
    """Apply `forward` to every row once and lay the results out in the order of the rows.

    Args:
        forward: a padded batch on the device -> named outputs, first dimension the row.
        tokens: the rows.
        pad_id: the tokenizer's padding token.
        padding_side: where padding goes.
        budget: tokens a batch.
        device: where the model is.
        beside: name -> [N, ...] what is known of the rows already, added to the outputs.
        finish: what to keep of a batch, on the CPU (reductions); everything where it is None.
        scratch: folder for results too large for memory.
        description: for the progress bar.
        alone: this process does all of it, for rows that the others do not have.

    Returns:
        name -> [N, ...] on the CPU, or `Ragged` over all words, complete on every process.

    Raises:
        HfalError: a row whose output is not finite, or that memory does not suffice for (it is named).
    """
    batches = plan_batches(tokens.lengths, budget)
    results = Collected(tokens.units, scratch)

    def told(rows: NDArray[np.int64]) -> Outputs:
        batch = tokens.pad(rows, pad_id, padding_side)
        outputs = forward({name: value.to(device, non_blocking=True) for name, value in batch.items()})
        return {name: _on_cpu(value) for name, value in outputs.items()}

    for planned in own_batches(batches, description, alone=alone):
        for rows, outputs in _as_memory_allows(told, planned):
            _check_finite(outputs, rows)
            outputs.update({name: value[torch.from_numpy(rows)] for name, value in (beside or {}).items()})
            kept = finish(outputs) if finish else outputs
            results.put(rows, kept)
    return results.outputs() if alone else results.complete()


def _as_memory_allows(
    told: Callable[[NDArray[np.int64]], Outputs], rows: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], Outputs]]:
    """A batch, or its halves where the GPU's memory is taken by others."""
    try:
        found = told(rows)
    except torch.OutOfMemoryError:
        if len(rows) == 1:
            what = f"the GPU's memory does not suffice for row {int(rows[0])} of the rows passed"
            raise HfalError(f"{what}: lower learner.max_length, or free some of it") from None
    else:
        yield rows, found
        return
    torch.cuda.empty_cache()  # a handler would keep the failed batch alive
    for half in np.array_split(rows, 2):
        yield from _as_memory_allows(told, half)


class Collected:
    """What is kept of batches, laid out in the order of the rows.

    Args:
        units: [N] outputs of each row: one, or its words.
        scratch: folder for results too large for memory.
    """

    def __init__(self, units: NDArray[np.int64], scratch: Path | None) -> None:
        self.offsets = offsets_of(units)
        self.scratch = scratch
        self._values: dict[str, Tensor] = {}
        self._ragged: set[str] = set()

    def put(self, rows: NDArray[np.int64], kept: Outputs) -> None:
        """Outputs of these rows."""
        for name, value in kept.items():
            where, size = rows, len(self.offsets) - 1
            if isinstance(value, Ragged):
                self._ragged.add(name)
                value, where, size = value.values, taken(self.offsets, rows)[1], int(self.offsets[-1])
            if name not in self._values:
                self._values[name] = allocate((size, *value.shape[1:]), self.scratch)
            self._values[name][torch.from_numpy(where)] = value

    def outputs(self) -> Outputs:
        """What this process has."""
        ends = torch.from_numpy(self.offsets)
        return {k: Ragged(v, ends) if k in self._ragged else v for k, v in self._values.items()}

    def complete(self) -> Outputs:
        """Each process's part, put together on all of them. Every row is zero but on one process."""
        if state().num_processes == 1:
            return self.outputs()
        from accelerate.utils import gather_object

        shapes: dict[str, torch.Size] = {}
        for part, ragged in gather_object([({k: v.shape for k, v in self._values.items()}, self._ragged)]):
            shapes.update(part)
            self._ragged = self._ragged | ragged
        for name, shape in sorted(shapes.items()):
            if name not in self._values:
                self._values[name] = allocate(tuple(shape), self.scratch)
            for start in range(0, shape[0], 65_536):
                chunk = self._values[name][start : start + 65_536]
                chunk.copy_(sum_over_processes(chunk))
        return self.outputs()


def _on_cpu(value: Tensor | Ragged) -> Tensor | Ragged:
    if isinstance(value, Ragged):
        return Ragged(value.values.detach().float().cpu(), value.offsets.cpu())
    return value.detach().float().cpu()


def allocate(shape: tuple[int, ...], scratch: Path | None = None) -> Tensor:
    """A float32 tensor of zeros; a mapped, nameless file where it would be large."""
    size = int(np.prod(shape)) * 4
    if size <= MAPPED_BYTES:
        return torch.zeros(shape)
    if scratch is not None:
        scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=scratch) as handle:
        handle.truncate(size)
        return torch.from_numpy(np.memmap(handle, dtype=np.float32, mode="r+", shape=shape))


def _check_finite(outputs: Outputs, rows: NDArray[np.int64]) -> None:
    for name, value in outputs.items():
        values = value.values if isinstance(value, Ragged) else value
        bad = ~torch.isfinite(values).reshape(len(values), -1).all(1)
        if bool(bad.any()):
            first = int(bad.nonzero()[0])
            row = int(rows[int(value.row_of[first]) if isinstance(value, Ragged) else first])
            raise HfalError(f"the model's {name} for row {row} of the rows passed are not finite (NaN or infinite)")


def reducer(needs: Needs, task: Task) -> Callable[[Outputs], Outputs]:
    """What to keep of a batch: the fields asked for, and one number a row for each reduction."""

    def finish(outputs: Outputs) -> Outputs:
        kept: Outputs = {name: outputs[name] for name in needs.pool}
        if needs.reduce:
            batch = as_signals(outputs, task)
            kept.update({f"reduce:{name}": _reduced(name, fn, batch) for name, fn in needs.reduce.items()})
        return kept

    return finish


def _reduced(name: str, function: Reducer, batch: Signals) -> Tensor:
    scores = function(batch)
    if scores.shape != (len(batch),):
        raise ValueError(f"{name}: a reduction must give [{len(batch)}] scores, got {list(scores.shape)}")
    return scores


def as_signals(outputs: Outputs, task: Task) -> Signals:
    """Outputs of a pass as `Signals`, with row numbers 0 … N-1."""
    rows = len(next(iter(outputs.values()))) if outputs else 0
    fields: dict[str, Any] = {
        name: outputs.get(name)
        for name in ("logits", "embeddings", "features", "boundary", "similarity", *LOOKS, *OF_TEXTS)
    }
    for name in SAMPLED:
        samples = outputs.get(name)
        fields[name] = samples.transpose(0, 1) if isinstance(samples, Tensor) else samples
    return Signals(
        rows=np.arange(rows, dtype=np.int64),
        reduced={name[7:]: value for name, value in outputs.items() if name.startswith("reduce:")},  # type: ignore[misc]
        multi_label=task.multi_label,
        legal=task.legal,
        **fields,
    )
