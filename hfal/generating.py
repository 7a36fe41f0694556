"""Texts from models that write: sources and targets as tokens, decoding within bounds, samples that follow the row."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedModel

from hfal.compute import generator_for
from hfal.dropout import ConsistentDropout, dropout_on
from hfal.errors import HfalError
from hfal.examples import Examples
from hfal.functional import Ragged
from hfal.tasks.base import Task
from hfal.tokens import Tokens, offsets_of

IGNORED = -100


@dataclass
class Writer:
    """How a tokenizer and a model take sources and targets.

    Args:
        tokenizer: with a pad token.
        decoder_only: the model goes on with the source (a causal model); else an encoder reads it.
        prompt: what stands around the source, with "{source}".
        max_source_length: tokens of a source, prompt included; longer ones are cut at their end.
        max_new_tokens: tokens that are written at most, and that a target may have.
    """

    tokenizer: Any
    decoder_only: bool
    prompt: str
    max_source_length: int
    max_new_tokens: int
    cut: int = field(default=0, init=False)
    tail: list[int] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        before, _, after = self.prompt.partition("{source}")
        plain = self.tokenizer("a", add_special_tokens=False)["input_ids"]
        whole = self.tokenizer("a")["input_ids"]
        lead = next((at for at in range(len(whole)) if whole[at : at + len(plain)] == plain), 0)
        self._start, self._stop = whole[:lead], whole[lead + len(plain) :]
        self.tail = self._stop
        if self.decoder_only:
            self._stop = []
        self._before, self._after = (self._ids(part) for part in (before, after))
        if self.end is None:
            raise HfalError("the tokenizer has no end-of-sequence token: the model cannot learn to stop")
        self.room = self.max_source_length - len(self._start + self._before + self._after + self._stop)
        if self.room < 1:
            raise HfalError(f"learner.max_source_length of {self.max_source_length} leaves no room for the source")

    @property
    def end(self) -> int | None:
        """The token that ends a text."""
        token: int | None = self.tokenizer.eos_token_id
        return self.tokenizer.sep_token_id if token is None else token

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]) if text else []

    def sources(self, texts: Sequence[str]) -> Tokens:
        """What the model reads."""
        rows = []
        for ids in self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]:
            self.cut += len(ids) > self.room
            rows.append(self._start + self._before + ids[: self.room] + self._after + self._stop)
        return Tokens.of(rows)

    def targets(self, texts: Sequence[str]) -> Tokens:
        """What the model should write, its end included."""
        assert self.end is not None
        found = self.tokenizer(text_target=list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return Tokens.of([[*ids[: self.max_new_tokens - 1], self.end] for ids in found])

    def text(self, tokens: Tokens) -> str:
        """Written tokens as text."""
        return str(self.tokenizer.decode(tokens.ids.tolist(), skip_special_tokens=True)).strip()


class WritingExamples(Examples):
    """Sources and the texts that should be written for them. The loss is of each token of a text.

    Args:
        sources: N rows.
        targets: N rows.
        writer: says how the model takes them.
    """

    def __init__(self, sources: Tokens, targets: Tokens, writer: Writer) -> None:
        super().__init__(sources, torch.zeros(len(sources)), writer.tokenizer.pad_token_id)
        self.sources = sources
        self.goals = targets
        self.writer = writer

    @property
    def values(self) -> Tensor:
        """One for each token that is learned."""
        return torch.zeros(int(self.goals.offsets[-1]))

    def outputs(self, rows: NDArray[np.int64]) -> int:
        """Tokens of these texts."""
        return int(self.goals.lengths[rows].sum())

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
        """[T] cross entropy of each token of these rows' texts."""
        logits, labels = token_logits(model, self.sources.take(rows), self.goals.take(rows), self.writer, device)
        return nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")


def token_logits(
    model: nn.Module, sources: Tokens, targets: Tokens, writer: Writer, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The logits from which each token of the targets is told, [T, V] float32, and the tokens [T]."""
    pad = writer.tokenizer.pad_token_id
    wanted = targets.padded(pad)
    if not writer.decoder_only:
        batch = {name: value.to(device) for name, value in sources.padded(pad).items() if name != "token_type_ids"}
        labels = wanted["input_ids"].masked_fill(wanted["attention_mask"] == 0, IGNORED).to(device)
        logits = model(**batch, labels=labels).logits.float()
        known = labels != IGNORED
        return logits[known], labels[known]
    lengths, more = sources.lengths, targets.lengths
    whole = Tokens(_joined_rows(sources, targets), offsets_of(lengths + more))
    batch = {name: value.to(device) for name, value in (whole.padded(pad) | sources.extras()).items()}
    at = torch.arange(batch["input_ids"].shape[1])[None]
    first, last = torch.from_numpy(lengths)[:, None], torch.from_numpy(lengths + more)[:, None]
    learned = ((at >= first) & (at < last)).to(device)
    logits = model(**batch).logits
    return logits[:, :-1][learned[:, 1:]].float(), batch["input_ids"][learned]


def _joined_rows(sources: Tokens, targets: Tokens) -> NDArray[np.int32]:
    parts = []
    for row in range(len(sources)):
        parts.append(sources.ids[sources.offsets[row] : sources.offsets[row + 1]])
        parts.append(targets.ids[targets.offsets[row] : targets.offsets[row + 1]])
    return np.concatenate(parts) if parts else np.empty(0, np.int32)


class RowNoise(LogitsProcessor):
    """Gumbel noise that follows from the row, the sample and the step: the best of what comes out is a draw from the
    model's distribution (Gumbel 1954), whatever other rows are in the batch."""

    def __init__(self, keys: Sequence[bytes], samples: int, seed: int, start: int) -> None:
        self.generators = [generator_for("write", seed, key, k) for key in keys for k in range(samples)]
        self.start = start

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Scores with noise."""
        uniform = torch.stack([torch.rand(scores.shape[-1], generator=g) for g in self.generators])
        noise = -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))
        return torch.log_softmax(scores.float(), -1) + noise.to(scores.device)


@torch.inference_mode()
def write(
    model: PreTrainedModel,
    sources: Tokens,
    writer: Writer,
    device: torch.device,
    *,
    num_beams: int = 1,
    keys: Sequence[bytes] = (),
    samples: int = 0,
    sample_by: str = "sampling",
    seed: int = 0,
) -> list[list[Tokens]]:
    """What the model writes for each source: one text, or `samples` of them.

    Args:
        model: with its weights.
        sources: B rows.
        writer: says how the model takes them.
        device: where the model is.
        num_beams: of the search for the one text.
        keys: [B] what each row's draws follow from.
        samples: K, or 0 for the one text.
        sample_by: "sampling", "dropout" or "beams".
        seed: of the draws and masks.

    Returns:
        For each row its texts, as tokens of one row each, without those after the end.
    """
    side = "left" if writer.decoder_only else "right"
    batch = {k: v.to(device) for k, v in sources.padded(writer.tokenizer.pad_token_id, side).items()}
    batch.pop("token_type_ids", None)
    config = copy.deepcopy(model.generation_config)
    for name in ("temperature", "top_k", "top_p", "typical_p", "min_p", "epsilon_cutoff", "eta_cutoff"):
        setattr(config, name, None)
    plain: dict[str, Any] = {
        "do_sample": False,
        "max_length": None,
        "min_length": None,
        "max_new_tokens": writer.max_new_tokens,
        "num_beams": num_beams if not samples else 1,
        "num_return_sequences": 1,
        "pad_token_id": writer.tokenizer.pad_token_id,
        "eos_token_id": writer.end,
        "early_stopping": False,
        "use_cache": True,
    }
    if samples and sample_by == "beams":
        plain |= {"num_beams": max(2, samples), "num_return_sequences": samples}
    for name, value in plain.items():
        setattr(config, name, value)
    repeated, processors = batch, LogitsProcessorList()
    if samples and sample_by == "sampling":
        repeated = {name: value.repeat_interleave(samples, 0) for name, value in batch.items()}
        processors.append(RowNoise(keys, samples, seed, batch["input_ids"].shape[1]))
    start = batch["input_ids"].shape[1] if writer.decoder_only else 1
    if samples and sample_by == "dropout":
        found: list[list[Tokens]] = [[] for _ in range(len(sources))]
        for sample in range(samples):
            with dropout_on(model), ConsistentDropout(seed, sample):
                ids = model.generate(**batch, generation_config=config)
            for row, text in enumerate(_texts(ids, start, writer)):
                found[row].append(text)
        return found
    ids = model.generate(**repeated, generation_config=config, logits_processor=processors)
    texts, each = _texts(ids, start, writer), max(1, samples)
    return [texts[row * each : (row + 1) * each] for row in range(len(sources))]


def _texts(ids: Tensor, start: int, writer: Writer) -> list[Tokens]:
    """Rows of generated ids without what was read and what comes after the end."""
    found = []
    for row in ids[:, start:].tolist():
        stop = row.index(writer.end) + 1 if writer.end in row else len(row)
        found.append(Tokens.of([row[:stop]]))
    return found


@torch.inference_mode()
def token_scores(
    model: PreTrainedModel, sources: Tokens, texts: Sequence[Tokens], writer: Writer, device: torch.device
) -> tuple[Ragged, Ragged]:
    """Log-probability and entropy (nats) of each token that was written, `Ragged` with values [T]."""
    lengths = torch.tensor([len(text.ids) for text in texts])
    offsets = torch.cat((torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)))
    whole = Tokens(np.concatenate([text.ids for text in texts]), offsets.numpy())
    if not len(whole.ids):
        return Ragged(torch.empty(0), offsets), Ragged(torch.empty(0), offsets)
    logits, labels = token_logits(model, sources, whole, writer, device)
    log_p = torch.log_softmax(logits, -1)
    chosen = log_p.gather(1, labels[:, None])[:, 0]
    entropy = -(log_p.exp() * log_p).sum(-1)
    return Ragged(chosen.cpu(), offsets), Ragged(entropy.cpu(), offsets)
