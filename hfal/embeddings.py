"""Embeddings of a frozen encoder, computed once for each distinct row and kept on disk."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor

from hfal.compute import barrier, is_main, state
from hfal.files import write_file
from hfal.inference import Outputs, run_pass, token_budget
from hfal.models import FrozenHeadModel
from hfal.pool import content_keys
from hfal.tasks.base import Task
from hfal.tokens import KeyIndex, TokenCache

SHARD = 16_384
"""Rows that are embedded and written together: what a kill can cost at most."""


class EmbeddingStore:
    """[rows, D] float32 by the content of the row, in memory or as mapped files under `folder`.

    Args:
        model: embeds a batch.
        tokens: tokenizes, and says with what.
        task: says what a row's content is.
        folder: keeps one sub-folder per encoder and tokenizer.
    """

    def __init__(self, model: FrozenHeadModel, tokens: TokenCache, task: Task, folder: Path | None) -> None:
        self.model = model
        self.tokens = tokens
        self.task = task
        self.folder = None if folder is None else folder / "embeddings" / self._fingerprint()
        self._index = KeyIndex()
        self._shards: list[NDArray[np.float32]] = []
        self._starts = [0]
        if self.folder is not None and self.folder.exists():
            for path in sorted(self.folder.glob("*.keys.npy")):
                self._open(path)

    def _fingerprint(self) -> str:
        """Of all that decides an embedding: weights, pooling, tokenizer, length."""
        digest = hashlib.blake2b(digest_size=16)
        for name, weight in sorted(self.model.encoder.state_dict().items()):
            digest.update(name.encode())
            digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().data)
        settings: dict[str, Any] = {
            "pooling": self.model.config.pooling,
            "normalize": self.model.config.normalize,
            "max_length": self.tokens.max_length,
            "tokenizer": self.tokens.tokenizer("Fingerprint: ÀÉ 你好 🙂 don't")["input_ids"],
            "inputs": len(self.task.inputs),
        }
        digest.update(json.dumps(settings, sort_keys=True).encode())
        return digest.hexdigest()

    @property
    def dimensions(self) -> int:
        """D."""
        return int(self.model.encoder.config.hidden_size)

    def slots(self, rows: Dataset) -> NDArray[np.int64]:
        """Where the embeddings of these rows are kept; those that are missing are computed first."""
        keys = content_keys(rows, self.task)
        slots = self._index.find(keys)
        if (slots < 0).any():
            new, first = np.unique(keys[slots < 0], return_index=True)
            missing = np.flatnonzero(slots < 0)[first]
            for start in range(0, len(new), SHARD):
                part = slice(start, start + SHARD)
                self._add(new[part], self._embed(rows.select(missing[part]), f"embedding {start:,}+"))
            slots = self._index.find(keys)
        return slots

    def gather(self, slots: NDArray[np.int64]) -> Tensor:
        """[len(slots), D], copied."""
        result = np.empty((len(slots), self.dimensions), dtype=np.float32)
        shard = np.searchsorted(self._starts, slots, side="right") - 1
        for number in np.unique(shard):
            mine = shard == number
            result[mine] = self._shards[number][slots[mine] - self._starts[number]]
        return torch.from_numpy(result)

    def _embed(self, rows: Dataset, description: str) -> NDArray[np.float32]:
        device = state().device
        model = self.model.to(device)

        @torch.inference_mode()
        def forward(batch: dict[str, Tensor]) -> Outputs:
            return {"embeddings": model.embed(**batch)}

        outputs = run_pass(
            forward,
            self.tokens.get(rows),
            pad_id=self.tokens.tokenizer.pad_token_id,
            padding_side=self.tokens.tokenizer.padding_side,
            budget=token_budget(self.dimensions, device),
            device=device,
            description=description if len(rows) >= SHARD else "embedding",
        )
        return outputs["embeddings"].numpy()

    def _add(self, keys: NDArray[np.void], values: NDArray[np.float32]) -> None:
        if self.folder is None:
            self._append(keys, values)
            return
        name = hashlib.blake2b(keys.tobytes(), digest_size=8).hexdigest()
        path = self.folder / f"{len(self._shards):05d}-{name}.keys.npy"
        if is_main():
            write_file(_values_of(path), lambda temporary: _save(temporary, values))
            write_file(path, lambda temporary: _save(temporary, keys))
        barrier()
        self._open(path)

    def _open(self, path: Path) -> None:
        keys = np.frombuffer(np.load(path, allow_pickle=False).tobytes(), dtype="V16")
        if (self._index.find(keys) >= 0).any():
            return  # written twice after an interruption
        self._append(keys, np.load(_values_of(path), mmap_mode="r", allow_pickle=False))

    def _append(self, keys: NDArray[np.void], values: NDArray[np.float32]) -> None:
        self._index.add(keys)
        self._shards.append(values)
        self._starts.append(self._starts[-1] + len(values))


def _values_of(path: Path) -> Path:
    return path.with_name(path.name.replace(".keys.npy", ".values.npy"))


def _save(path: Path, array: NDArray[Any]) -> None:
    with open(path, "wb") as handle:
        np.save(handle, array.view(np.uint8).reshape(len(array), -1) if array.dtype.kind == "V" else array)
        handle.flush()
        os.fsync(handle.fileno())
