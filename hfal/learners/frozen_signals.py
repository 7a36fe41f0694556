"""What a frozen head tells of rows: from embeddings that are kept, the encoder runs for new ones only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor

from hfal.compute import derive_seed, state
from hfal.dropout import dropout_mask
from hfal.embeddings import EmbeddingStore
from hfal.errors import HfalError, listing
from hfal.frozen import FrozenHeadModel
from hfal.functional import boundary_distance
from hfal.inference import Collected, Outputs, as_signals, reducer, run_pass, token_budget
from hfal.learners.adapting import PoolReader
from hfal.learners.looking import NOT_YET, UNTRAINED, look_budget, look_of
from hfal.probe import word_outputs
from hfal.sides import PairStore
from hfal.signals import Needs, Signals
from hfal.tokens import offsets_of

TOGETHER = 65_536
"""Embeddings (of rows or words) that are scored at once."""
USE = "learner.type: fine_tune"

Slots = NDArray[np.int64]


class FrozenSignals(PoolReader):
    """Base: encoder and head as one model, the embeddings, and what they say of rows."""

    seed: int
    pooling: str
    head_dropout: float
    tokenizer: Any
    _model: FrozenHeadModel | None
    _store: EmbeddingStore | PairStore | None
    _states: EmbeddingStore | None
    _trained: bool

    @property
    def model(self) -> FrozenHeadModel:
        """Encoder and head as one model."""
        if self._model is None or not self._trained:
            raise HfalError("no model has been trained yet")
        return self._model

    @property
    def store(self) -> EmbeddingStore | PairStore:
        """The embeddings, once the learner is bound."""
        if self._store is None:
            raise HfalError("the learner is not bound to a task yet: call bind(task, seed) first")
        return self._store

    def _parts(self, slots: Slots) -> Iterator[slice]:
        """Rows in parts of at most `TOGETHER` embeddings (one row at least)."""
        ends = np.cumsum(self.store.units(slots))
        start = 0
        while start < len(slots):
            before = ends[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, before + TOGETHER, side="right")))
            yield slice(start, stop)
            start = stop

    def _head(self, embeddings: Tensor) -> Tensor:
        head = self.model.classifier
        return embeddings @ head.weight.detach().cpu().T + head.bias.detach().cpu()

    def signals(self, rows: Dataset, needs: Needs) -> Signals:
        """See `Learner.signals`. The encoder runs only for rows that it has not seen."""
        if not self._trained and needs.every_field - UNTRAINED:
            raise HfalError(NOT_YET)
        looked = self._looked(rows, needs)
        slots = self.store.slots(rows)
        finish = reducer(needs, self.task)
        units = self.store.units(slots)
        results = Collected(units, self.cache)
        for part in self._parts(slots):
            embeddings = self.store.gather(slots[part])
            if self.task.per_word:
                found = self._word_outputs(embeddings, units[part], needs)
            else:
                found = self._outputs(embeddings, needs)
                found.update({name: value[part] for name, value in looked.items()})
            results.put(np.arange(part.start, part.stop), finish(found))
        return as_signals(results.outputs(), self.task)

    def _looked(self, rows: Dataset, needs: Needs) -> dict[str, Tensor]:
        """[N, ...] what needs the encoder, not its embeddings alone; states of layers are kept like these."""
        looked: dict[str, Tensor] = {}
        if isinstance(self.store, PairStore):
            if needs.looks:
                raise HfalError(
                    f"frozen_head reads the texts of a pair apart: {listing(sorted(needs.looks))} need {USE}"
                )
            if "similarity" in needs.every_field:
                looked["similarity"] = self.store.similarity(self.store.slots(rows))
            return looked
        if "hidden_states" in needs.looks:
            if self._states is None:
                self._states = EmbeddingStore(self.store.model, self.store.tokens, self.task, self.cache, layers=True)
            found = self._states.gather(self._states.slots(rows))
            looked["hidden_states"] = found.view(len(rows), -1, self.store.dimensions)
        if needs.looks - {"hidden_states"}:
            device = state().device
            outputs = run_pass(
                look_of(self, self.store.model.to(device), needs.looks - {"hidden_states"}),
                self.store.tokens.get(rows),
                pad_id=self.tokenizer.pad_token_id,
                padding_side=self.tokenizer.padding_side,
                budget=look_budget(token_budget(self.store.dimensions, device)),
                device=device,
                description="looking closer",
            )
            looked.update({name: value for name, value in outputs.items() if isinstance(value, Tensor)})
        return looked

    def _outputs(self, embeddings: Tensor, needs: Needs) -> Outputs:
        outputs: Outputs = {"embeddings": embeddings, "features": embeddings}
        if needs.every_field & {"logits", "boundary"}:
            outputs["logits"] = logits = self._head(embeddings)
            if "boundary" in needs.every_field:
                weight = self.model.classifier.weight.detach().cpu()
                outputs["boundary"] = boundary_distance(logits, weight, multi_label=self.task.multi_label)
        if "mc_logits" in needs.every_field:
            outputs["mc_logits"] = self._samples(embeddings, needs)
        return outputs

    def _word_outputs(self, embeddings: Tensor, units: NDArray[np.int64], needs: Needs) -> Outputs:
        words = {"features": embeddings, "hidden": embeddings}
        if self._trained:
            words["logits"] = self._head(embeddings)
        if "mc_logits" in needs.every_field:
            words["mc_logits"] = self._samples(embeddings, needs)
        offsets = torch.from_numpy(offsets_of(units))
        outside = self.task.outside  # type: ignore[attr-defined]
        return word_outputs(words, seen_words(embeddings), offsets, needs.every_field, self.pooling, outside)

    def _samples(self, embeddings: Tensor, needs: Needs) -> Tensor:
        """[B, K, C]: masking a feature for all rows is masking a column of the weights."""
        if needs.mc_layers == "checkpoints":
            raise HfalError(f"frozen_head keeps no checkpoints: mc_layers=checkpoints needs {USE}")
        samples = needs.mc_samples
        head = self.model.classifier
        seed, width = derive_seed("mc", self.seed), (head.in_features,)
        masks = [dropout_mask(width, self.head_dropout, seed, k, 1) for k in range(samples)]
        weights = torch.stack(masks)[:, None, :] * head.weight.detach().cpu()  # [K, C, D]
        logits = embeddings @ weights.flatten(0, 1).T
        return logits.view(len(embeddings), samples, -1) + head.bias.detach().cpu()


def seen_words(embeddings: Tensor) -> Tensor:
    """Words that the model can see: those that it cannot have zeros."""
    return (embeddings != 0).any(1)
