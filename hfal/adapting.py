"""An encoder that has read the pool: adapted to its texts without any label, once, and kept."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM, PreTrainedModel

from hfal.alignment import WordTokens, model_inputs
from hfal.compute import barrier, derive_seed, generator_for, is_main, own_randomness
from hfal.errors import HfalError
from hfal.examples import Examples
from hfal.few import Adapt
from hfal.files import disk_errors, read_json, write_folder, write_json
from hfal.models import freeze_pooler, load_encoder, load_quietly, locate, pool_hidden, quiet, unit_length
from hfal.pool import content_keys
from hfal.tasks.base import Task
from hfal.tokens import TokenCache, Tokens
from hfal.training import Weights, train
from hfal.training_config import TrainingConfig

logger = logging.getLogger("hfal")

KEPT = 0.8, 0.9
"""Of the tokens to be guessed: masked up to the first share, replaced up to the second, the rest left (BERT's)."""


class TextExamples(Examples):
    """Base: texts without labels, whose loss is one number a row.

    Args:
        tokens: N rows.
        tokenizer: of the model.
    """

    def __init__(self, tokens: Tokens | WordTokens, tokenizer: Any) -> None:
        super().__init__(tokens, torch.zeros(len(tokens)), tokenizer.pad_token_id, tokenizer.padding_side)

    def outputs(self, rows: NDArray[np.int64]) -> int:
        """One for each row."""
        return len(rows)


class MaskedExamples(TextExamples):
    """Texts some of whose tokens are to be guessed. The loss of a row is the mean over those.

    Args:
        tokens: N rows.
        tokenizer: of the model; it has a mask token.
        share: of the tokens that are guessed; one of each row at least.
    """

    def __init__(self, tokens: Tokens | WordTokens, tokenizer: Any, share: float) -> None:
        super().__init__(tokens, tokenizer)
        self.mask_id, self.vocabulary, self.share = tokenizer.mask_token_id, len(tokenizer), share
        self.special = torch.tensor(sorted(tokenizer.all_special_ids))

    def losses(self, model: nn.Module, task: Task, rows: NDArray[np.int64], device: Any, *_: Any, **__: Any) -> Tensor:
        """[B] the mean loss of the tokens to be guessed of each row; those are drawn anew each time."""
        batch = self.tokens.pad(rows, self.pad_id, self.padding_side)
        ids = batch["input_ids"]
        luck = torch.rand(ids.shape).masked_fill(torch.isin(ids, self.special), 2.0)
        guessed = (luck < self.share) | ((luck == luck.min(1, keepdim=True).values) & (luck < 2))
        fate, other = torch.rand(ids.shape), torch.randint(self.vocabulary, ids.shape)
        shown = torch.where(guessed & (fate < KEPT[0]), self.mask_id, ids)
        shown = torch.where(guessed & (fate >= KEPT[0]) & (fate < KEPT[1]), other, shown)
        inputs = model_inputs({name: value.to(device) for name, value in (batch | {"input_ids": shown}).items()})
        logits = model(**inputs).logits[guessed.to(device)].float()
        each = nn.functional.cross_entropy(logits, ids[guessed].to(device), reduction="none")
        row = torch.nonzero(guessed)[:, 0].to(device)
        sums = torch.zeros(len(rows), device=device).index_add(0, row, each)
        return sums / guessed.sum(1).clamp_min(1).to(device)


class TwiceExamples(TextExamples):
    """Texts that are read twice, under two dropout masks: each is to be told from the others of its batch (SimCSE).

    Args:
        tokens: N rows.
        tokenizer: of the model.
        temperature: of the cosines.
    """

    def __init__(self, tokens: Tokens | WordTokens, tokenizer: Any, temperature: float) -> None:
        super().__init__(tokens, tokenizer)
        self.temperature = temperature

    def losses(self, model: nn.Module, task: Task, rows: NDArray[np.int64], device: Any, *_: Any, **__: Any) -> Tensor:
        """[B] how badly each text is told from the others (Gao et al. 2021, eq. 1)."""
        batch = self.tokens.pad(np.concatenate((rows, rows)), self.pad_id, self.padding_side)
        inputs = model_inputs({name: value.to(device) for name, value in batch.items()})
        hidden = model(**inputs).last_hidden_state.float()
        pooled = unit_length(pool_hidden(hidden, inputs["attention_mask"], "mean"))
        one, other = pooled.chunk(2)
        return nn.functional.cross_entropy(
            one @ other.T / self.temperature, torch.arange(len(rows), device=device), reduction="none"
        )


def adapted(
    name: str, task: Task, tokens: TokenCache, rows: Dataset, settings: Adapt, folder: Path, *, trust_remote_code: bool
) -> tuple[str, dict[str, Any]]:
    """The folder of a model that has read these rows, and what that took; made where it is not there yet.

    Args:
        name: the model that is adapted.
        task: gives the loop a loss that is not used.
        tokens: reads the rows.
        rows: all of the pool, in an order that is always the same.
        settings: how.
        folder: of the cache.
        trust_remote_code: run code that comes with the model.

    Raises:
        HfalError: the model has no token to mask, or its loss is not finite.
    """
    tokenizer = tokens.tokenizer
    if settings.by == "mlm" and tokenizer.mask_token_id is None:
        raise HfalError(f"learner.adapt: mlm: the tokenizer of {name} has no mask token; contrastive needs none")
    place = folder / f"adapted-{_fingerprint(name, tokens, rows, settings)}"
    with _alone(place):
        if not (place / "adapted.json").exists():
            _adapt(name, task, tokens, rows, settings, place, trust_remote_code)
        barrier()
        return str(place), read_json(place / "adapted.json")


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Of several runs that want the same encoder, one makes it and the others wait."""
    if not is_main():
        yield
        return
    lock = FileLock(place.with_name(f".{place.name}.lock"))
    with disk_errors(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _fingerprint(name: str, tokens: TokenCache, rows: Dataset, settings: Adapt) -> str:
    """Of all that decides the weights."""
    digest = hashlib.blake2b(np.sort(content_keys(rows, tokens.task)).tobytes(), digest_size=12)
    place = Path(locate(name))
    files = sorted(place.glob("*.safetensors")) if place.is_dir() else []
    sizes = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    digest.update(json.dumps([name, sizes, tokens.max_length, settings.model_dump()]).encode())
    return digest.hexdigest()


def _adapt(
    name: str, task: Task, tokens: TokenCache, rows: Dataset, settings: Adapt, place: Path, trust_remote_code: bool
) -> None:
    order = np.argsort(content_keys(rows, tokens.task))
    if len(rows) > settings.most_rows:
        drawn = torch.randperm(len(rows), generator=generator_for("adapt", settings.seed))[: settings.most_rows]
        order = order[np.sort(drawn.numpy())]
    read = tokens.get(rows.select(order))
    if isinstance(read, WordTokens):
        read = read.as_windows()[0]
    if settings.by == "mlm":
        with own_randomness(derive_seed("masked", settings.seed)):  # a head that was not saved begins the same
            model, missing = load_quietly(AutoModelForMaskedLM, name, trust_remote_code=trust_remote_code)
        if missing:
            logger.warning(
                "learner.adapt: %s was saved without the head that guesses masked tokens: it begins untrained", name
            )
        examples: Examples = MaskedExamples(read, tokens.tokenizer, settings.mlm_probability)
    else:
        model = load_encoder(name, trust_remote_code=trust_remote_code)
        freeze_pooler(model)
        examples = TwiceExamples(read, tokens.tokenizer, settings.temperature)
    config = TrainingConfig(
        num_train_epochs=settings.num_train_epochs,
        min_steps=1,
        learning_rate=settings.learning_rate,
        per_device_train_batch_size=settings.per_device_train_batch_size,
        gradient_accumulation_steps=2,
        class_weights=None,
    )
    model, report = train(model, task, examples, config, seed=derive_seed("adapt", settings.seed), what="adapting")
    if is_main():
        weights = dict(model.state_dict())
        if settings.by == "mlm":  # what a model that guesses has no use for, as the layer over the first token
            whole, prefix = load_encoder(name, trust_remote_code=trust_remote_code), model.base_model_prefix
            for part, value in whole.state_dict().items():
                weights.setdefault(f"{prefix}.{part}", value)
        found = {"rows": len(order), "steps": report.steps, "loss": report.loss}
        write_folder(place, lambda path: _save(model, weights, tokens.tokenizer, path, found))


def _save(model: PreTrainedModel, weights: Weights, tokenizer: Any, path: Path, found: dict[str, Any]) -> None:
    with quiet():
        model.save_pretrained(path, state_dict=weights)
    tokenizer.save_pretrained(path)
    write_json(path / "adapted.json", found)
