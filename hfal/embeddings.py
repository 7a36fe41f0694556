"""Embeddings of a frozen encoder, computed once for each distinct row and kept on disk."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor

from hfal.alignment import model_inputs, slices, unit_values
from hfal.compute import state
from hfal.frozen import FrozenHeadModel
from hfal.functional import Ragged
from hfal.inference import Outputs, run_pass, token_budget
from hfal.models import pool_layers
from hfal.pool import content_keys
from hfal.shards import KeyedShards, Keys, beside, write_array
from hfal.tasks.base import Task
from hfal.tokens import TokenCache, offsets_of, taken

SHARD = 16_384
WORD_SHARD = 2_048
"""Rows that are embedded and written together: what a kill can cost at most."""


@dataclass(frozen=True)
class Shard:
    """Embeddings of some rows: one each, or (with `offsets` [rows + 1]) one for each of their words."""

    values: NDArray[np.float32]
    offsets: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.values) if self.offsets is None else len(self.offsets) - 1


class EmbeddingStore(KeyedShards[Shard]):
    """Embeddings by the content of the row, in memory or as mapped files under `folder`.

    A row has one, or one for each of its words (zeros for a word that the model cannot see).

    Args:
        model: embeds a batch.
        tokens: tokenizes, and says with what.
        task: says what a row's content is, and whether words are embedded.
        folder: keeps one sub-folder per encoder and tokenizer.
        layers: the states of all layers end to end, in place of the last one's.
    """

    def __init__(
        self, model: FrozenHeadModel, tokens: TokenCache, task: Task, folder: Path | None, *, layers: bool = False
    ) -> None:
        self.model = model
        self.layers = layers
        self.tokens = tokens
        self.task = task
        super().__init__(None if folder is None else folder / "embeddings" / self._fingerprint())

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
        if self.task.per_word:
            settings["words"] = True
        if self.layers:
            settings["layers"] = True
        if self.task.embedded == "marks":
            settings["marks"] = list(self.model.config.marker_ids)
        digest.update(json.dumps(settings, sort_keys=True).encode())
        return digest.hexdigest()

    @property
    def dimensions(self) -> int:
        """D."""
        config = self.model.encoder.config
        return int(config.hidden_size) * (config.num_hidden_layers + 1 if self.layers else self.model.embeds)

    def slots(self, rows: Dataset) -> NDArray[np.int64]:
        """Where the embeddings of these rows are kept; those that are missing are computed first."""

        def make(keys: Keys, places: NDArray[np.int64], done: int | None) -> None:
            self._add(keys, self._embed(rows.select(places), "embedding" if done is None else f"embedding {done:,}+"))

        return self._found(content_keys(rows, self.task), WORD_SHARD if self.task.per_word else SHARD, make)

    def units(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many embeddings these rows have: one, or their words."""
        counts = np.ones(len(slots), dtype=np.int64)
        for shard, mine, local in self._where(slots):
            if shard.offsets is not None:
                counts[mine] = shard.offsets[local + 1] - shard.offsets[local]
        return counts

    def gather(self, slots: NDArray[np.int64]) -> Tensor:
        """[len(slots), D], or all their words end to end [T, D]; copied."""
        offsets = offsets_of(self.units(slots))
        result = np.empty((int(offsets[-1]), self.dimensions), dtype=np.float32)
        for shard, mine, local in self._where(slots):
            source = local if shard.offsets is None else taken(shard.offsets, local)[1]
            result[taken(offsets, mine)[1]] = shard.values[source]
        return torch.from_numpy(result)

    def now(self, rows: Dataset) -> Tensor:
        """[N, D] embeddings of rows that are not kept, by this process alone."""
        return torch.from_numpy(self._embed(rows, "embedding", alone=True).values)

    def _embed(self, rows: Dataset, description: str, *, alone: bool = False) -> Shard:
        device = state().device
        model = self.model.to(device)
        budget = token_budget(int(model.encoder.config.hidden_size), device)

        @torch.inference_mode()
        def forward(batch: dict[str, Tensor]) -> Outputs:
            inputs = model_inputs(batch)
            if self.layers:
                states = model.encoder(**inputs, output_hidden_states=True).hidden_states
                return {"embeddings": pool_layers(states, inputs["attention_mask"]).flatten(1)}
            if not self.task.per_word:
                return {"embeddings": model.embed(**inputs)}
            found = [model.embed(**part) for part in slices(inputs, budget)]
            return {"embeddings": Ragged(unit_values(torch.cat(found), batch), batch["word_offsets"])}

        outputs = run_pass(
            forward,
            self.tokens.get(rows),
            pad_id=self.tokens.tokenizer.pad_token_id,
            padding_side=self.tokens.tokenizer.padding_side,
            budget=budget,
            device=device,
            scratch=self.folder,
            description=description,
            alone=alone,
        )
        found = outputs["embeddings"]
        if isinstance(found, Ragged):
            return Shard(found.values.numpy(), found.offsets.numpy())
        return Shard(found.numpy())

    def _add(self, keys: Keys, shard: Shard) -> None:
        if self.folder is None:
            self._append(keys, shard)
            return

        def write(path: Path) -> None:
            if shard.offsets is not None:
                write_array(beside(path, "offsets"), shard.offsets)
            write_array(beside(path, "values"), shard.values)

        self._write(self.folder, keys, write)

    def _read(self, path: Path) -> Shard:
        values = np.load(beside(path, "values"), mmap_mode="r", allow_pickle=False)
        return Shard(values, np.load(beside(path, "offsets"), allow_pickle=False) if self.task.per_word else None)
