"""Models that write texts, trained in each round: encoder-decoders and causal models, whole or by adapters."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoModelForSeq2SeqLM, PreTrainedModel

from hfal.compute import derive_seed, is_main, own_randomness, state
from hfal.embeddings import EmbeddingStore
from hfal.errors import HfalError, count
from hfal.generating import Writer, WritingExamples, token_scores, write
from hfal.inference import own_batches, plan_batches, token_budget
from hfal.learners.by_row import ByRow
from hfal.learners.looking import NOT_YET, refuse_unknown
from hfal.learners.lora import load_adapters, with_adapters
from hfal.learners.trained import TrainedLearner
from hfal.models import load_config_of, load_tokenizer, load_writer, max_length_of, quiet
from hfal.pool import content_keys
from hfal.reading import text_store
from hfal.seen_writing import SeenReader
from hfal.sides import SIDE
from hfal.signals import OF_TEXTS, Needs, Signals
from hfal.tasks.base import Task
from hfal.tasks.generation import Generation
from hfal.tasks.vqa import VisualQuestionAnswering
from hfal.tokens import Tokens
from hfal.training_config import FitReport, TrainingConfig

logger = logging.getLogger("hfal")

KNOWN = frozenset({"embeddings", "lengths", "mc_latent", *OF_TEXTS})
MOST_ROWS = 256
EMBEDDER = "sentence-transformers/all-MiniLM-L6-v2"
TRAINING = TrainingConfig(num_train_epochs=3, learning_rate=1e-4, min_steps=60)


class Generate(TrainedLearner[PreTrainedModel]):
    """Any model of `AutoModelForSeq2SeqLM` or `AutoModelForCausalLM`, trained anew on all labels in each round.

    Args:
        model: a Hub name or a folder.
        config: how to train.
        prompt: what stands around the source; "{source}" is the source. "summarize: {source}" for T5; for a causal
            model something that asks for the text, as "{source}\\n\\nSubject:".
        max_source_length: tokens of a source, prompt included; the model's own limit where it is lower.
        max_new_tokens: tokens that are written at most.
        num_beams: of the search for what is written; 1 takes the likeliest token each time.
        lora: settings of peft's `LoraConfig`, as {r: 8, lora_alpha: 16}: only adapters are trained, and saved.
        embedder: an encoder that embeds sources, and samples of texts.
        pad_token: for tokenizers that have none; the end-of-sequence token where it is not given.
        trust_remote_code: run code that comes with the model. Off, and only ever on by your own word.
    """

    def __init__(
        self,
        model: str,
        config: TrainingConfig | None = None,
        *,
        prompt: str = "{source}",
        max_source_length: int = 512,
        max_new_tokens: int = 64,
        num_beams: int = 1,
        lora: dict[str, Any] | None = None,
        embedder: str = EMBEDDER,
        pad_token: str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        if prompt.count("{source}") != 1:
            raise HfalError(f'learner.prompt must hold "{{source}}" once, got {prompt!r}')
        self.name = model
        self.config = config or TRAINING
        self.prompt = prompt
        self.max_source_length = max_source_length
        self.max_new_tokens = max_new_tokens
        self.num_beams = num_beams
        self.lora = lora
        self.embedder = embedder
        self.pad_token = pad_token
        self.trust_remote_code = trust_remote_code

    task: Generation | VisualQuestionAnswering
    output_fields: ClassVar[frozenset[str]] = Generation.output_fields

    def describe(self) -> dict[str, Any]:
        """The learner as configuration."""
        names = ("prompt", "max_source_length", "max_new_tokens", "num_beams", "lora", "embedder")
        settings = {name: getattr(self, name) for name in names}
        return {"type": "generate", "model": self.name, **settings, "training": self.config.model_dump()}

    def bind(self, task: Task, seed: int, cache: Path | None = None) -> None:
        """See `Learner.bind`."""
        if not isinstance(task, (Generation, VisualQuestionAnswering)):
            raise HfalError(f"learner.type generate writes texts: it does not do {task.name}")
        self.task, self.seed, self.cache = task, seed, cache
        found = load_config_of(self.name, trust_remote_code=self.trust_remote_code)
        self._auto = AutoModelForSeq2SeqLM if found.is_encoder_decoder else AutoModelForCausalLM
        if isinstance(task, VisualQuestionAnswering):
            self._auto = AutoModelForImageTextToText
        self.tokenizer = load_tokenizer(
            self.name, trust_remote_code=self.trust_remote_code, pad_token=self.pad_token, pads_with_end=True
        )
        self._model, self._trained = self._fresh(), False
        limit = max_length_of(self._model, self.tokenizer, None)
        decoder_only = not found.is_encoder_decoder
        room = limit - self.max_new_tokens if decoder_only else limit
        if room < 8:
            raise HfalError(
                f"learner.max_new_tokens of {self.max_new_tokens} leaves {room} tokens for the source: the model reads "
                f"{limit}"
            )
        self.writer = Writer(
            self.tokenizer, decoder_only, self.prompt, min(self.max_source_length, room), self.max_new_tokens
        )
        self._reader: SeenReader | None = None
        if isinstance(task, VisualQuestionAnswering):
            size = getattr(getattr(found, "vision_config", None), "image_size", None)
            if found.is_encoder_decoder or not isinstance(size, int):
                raise HfalError(f"learner.model: {self.name} is no model that goes on after a picture of one size")
            self._reader = SeenReader(self.name, task, self.writer, size, cache)
        self._store: EmbeddingStore | None = None
        self._told = False

    @property
    def store(self) -> EmbeddingStore:
        """Sentence embeddings of sources and texts; loaded when a strategy asks for them."""
        if self._store is None:
            self._store = text_store(self.embedder, self.cache, trust_remote_code=self.trust_remote_code)
        return self._store

    def _fresh(self) -> PreTrainedModel:
        with own_randomness(derive_seed("head", self.seed)):
            model = load_writer(self._auto, self.name, trust_remote_code=self.trust_remote_code)
            if getattr(model.config, "pad_token_id", None) is None:
                model.config.pad_token_id = self.tokenizer.pad_token_id
            if self.lora is None:
                return model
            kind = "SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM"
            adapted: PreTrainedModel = with_adapters(model, self.lora, kind)
            return adapted

    def fit(self, train_rows: Dataset, validation: Dataset | None = None) -> FitReport:
        """See `Learner.fit`."""
        held_out = None if validation is None else self._examples(validation)
        model, report = self._train(self._fresh(), self._examples(train_rows), held_out, len(train_rows))
        self._model, self._trained = model, True
        self._tell()
        return report

    def _examples(self, rows: Dataset) -> WritingExamples:
        return WritingExamples(
            self._sources(rows), self.writer.targets([label[0] for label in rows["labels"]]), self.writer
        )

    def _sources(self, rows: Dataset) -> Tokens:
        """What the model reads of these rows."""
        if self._reader is not None:
            return self._reader.sources(rows)
        return self.writer.sources(rows[self._column])

    @property
    def _column(self) -> str:
        """The column of text: the source, or the question."""
        return self.task.source if isinstance(self.task, Generation) else self.task.question

    def _tell(self) -> None:
        if self.writer.cut and not self._told:
            self._told = True
            logger.warning(
                "%s longer than %d tokens: cut to that length", count(self.writer.cut, "source"), self.writer.room
            )

    def signals(self, rows: Dataset, needs: Needs) -> Signals:
        """See `Learner.signals`. Rows go by length; sources are embedded once in a run."""
        model = self.current
        refuse_unknown("generate", needs, KNOWN)
        if not self._trained and needs.every_field - {"embeddings", "sources"}:
            raise HfalError(f"{NOT_YET}, idds or facility_location")
        sources = list(rows[self._column])
        known: dict[str, Any] = {}
        if "sources" in needs.every_field:
            known["sources"] = sources
        if "embeddings" in needs.every_field:
            known["embeddings"] = self._embed(sources)
        found = ByRow(needs)
        if needs.every_field & (set(OF_TEXTS) - {"sources"} | {"mc_latent"}):
            for batch, seen in self._batches(model, rows, needs, known):
                found.put(batch, seen)
        elif is_main():
            found.put(np.arange(len(rows)), Signals(rows=np.arange(len(rows)), **known))
        return found.signals(len(rows))

    def _embed(self, texts: Sequence[str]) -> Tensor:
        """[N, D] of sources, kept for the run."""
        return self.store.gather(self.store.slots(Dataset.from_dict({SIDE.text: list(texts)})))

    def embed_now(self, texts: Sequence[str]) -> Tensor:
        """[N, D] of texts that are only looked at; an empty one has zeros."""
        said = sorted({text for text in texts if text.strip()})
        found = torch.zeros(len(texts), self.store.dimensions)
        if said:
            known = self.store.now(Dataset.from_dict({SIDE.text: said}))
            place = {text: at for at, text in enumerate(said)}
            full = [at for at, text in enumerate(texts) if text.strip()]
            found[full] = known[[place[texts[at]] for at in full]]
        return found

    def _batches(
        self, model: PreTrainedModel, rows: Dataset, needs: Needs, known: dict[str, Any]
    ) -> Iterator[tuple[NDArray[np.int64], Signals]]:
        """This process's batches, with what the model writes for them."""
        tokens, keys = self._sources(rows), [bytes(k) for k in content_keys(rows, self.task)]
        self._tell()
        device = state().device
        model = model.to(device).eval()
        each = needs.mc_samples if needs.every_field & {"samples", "mc_latent"} else 1
        budget = max(1, token_budget(_width(model), device) // each)
        batches = plan_batches(tokens.lengths + self.max_new_tokens, budget, MOST_ROWS)
        for batch in own_batches(batches, "writing"):
            part, names = tokens.take(batch), [keys[row] for row in batch]
            fields: dict[str, Any] = {
                name: value[torch.from_numpy(batch)] if isinstance(value, Tensor) else [value[at] for at in batch]
                for name, value in known.items()
            }
            yield batch, Signals(rows=batch, **fields, **self._fields(model, part, names, needs))

    def _fields(self, model: PreTrainedModel, part: Tokens, keys: list[bytes], needs: Needs) -> dict[str, Any]:
        """What is asked for of one batch."""
        device, fields = state().device, dict[str, Any]()
        if needs.every_field & {"texts", "token_log_probs", "token_entropies"}:
            with self.precision():
                best = [texts[0] for texts in write(model, part, self.writer, device, num_beams=self.num_beams)]
                if needs.every_field & {"token_log_probs", "token_entropies"}:
                    log_p, entropy = token_scores(model, part, best, self.writer, device)
                    fields |= {"token_log_probs": log_p, "token_entropies": entropy}
            fields["texts"] = [self.writer.text(text) for text in best]
        if needs.every_field & {"samples", "mc_latent"}:
            with self.precision():
                drawn = write(
                    model,
                    part,
                    self.writer,
                    device,
                    keys=keys,
                    samples=needs.mc_samples,
                    sample_by=needs.sample_by,
                    seed=derive_seed("mc", self.seed),
                )
            fields["samples"] = [[self.writer.text(text) for text in row] for row in drawn]
            if "mc_latent" in needs.every_field:
                flat = self.embed_now([text for row in fields["samples"] for text in row])
                fields["mc_latent"] = flat.view(len(drawn), needs.mc_samples, -1).transpose(0, 1)
        return fields

    def save(self, folder: Path) -> None:
        """See `Learner.save`: the model, or the adapters as peft saves them."""
        super().save(folder)
        if self.lora is not None:
            self.model.config.save_pretrained(folder)

    def load(self, folder: Path) -> None:
        """See `Learner.load`."""
        with quiet():
            if self.lora is None:
                model = self._auto.from_pretrained(folder, use_safetensors=True, dtype=torch.float32)
            else:
                base = load_writer(self._auto, self.name, trust_remote_code=self.trust_remote_code)
                model = load_adapters(base, folder)
        self._model, self._trained = model.eval(), True


def _width(model: PreTrainedModel) -> int:
    config = model.config.get_text_config()
    width: Any = getattr(config, "hidden_size", None) or getattr(config, "d_model", 512)
    return int(width)
