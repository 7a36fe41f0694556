"""Looks into a classifier of rows or words: logits, states and the last layer's input from one forward."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from transformers import PreTrainedModel

from hfal.alignment import UNSEEN, certain_outside, model_inputs, slices, unit_values
from hfal.dropout import ConsistentDropout, dropout_on
from hfal.errors import HfalError
from hfal.functional import Ragged, boundary_distance, mean_words
from hfal.inference import Outputs
from hfal.models import pool_hidden, pool_layers, unit_length
from hfal.signals import SAMPLED, Needs


def last_linear(model: nn.Module, outputs: int) -> tuple[str, nn.Linear]:
    """The last linear layer with this many outputs: where a classifier turns features into logits."""
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == outputs
    ]
    if not found:
        raise HfalError(f"{type(model).__name__} has no linear layer with {outputs} outputs to read features from")
    return found[-1]


class Probe:
    """Runs the model on a batch and gives what `needs` names; the encoder runs once whatever is asked.

    Args:
        model: a classifier of transformers.
        needs: the fields wanted.
        pooling: "mean" or "cls", for `embeddings`.
        seed: of the dropout masks.
        precision: a context in which the model runs (autocast), made anew for each batch.
        checkpoints: weights of the model at other times, for samples of that kind.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        needs: Needs,
        *,
        pooling: str,
        seed: int,
        precision: Callable[[], Any],
        checkpoints: Sequence[dict[str, Tensor]] = (),
    ) -> None:
        self.model = model
        self.needs = needs
        self.fields = needs.every_field
        self.pooling = pooling
        self.seed = seed
        self.precision = precision
        self.checkpoints = checkpoints
        self.body = model.base_model
        if self.body is model and needs.mc_samples and needs.mc_layers == "head":
            raise HfalError(f"{type(model).__name__} has no separate encoder: use mc_layers='all'")

    @torch.inference_mode()
    def __call__(self, batch: dict[str, Tensor]) -> Outputs:
        """The fields of one batch: [B, ...], `mc_logits` as [B, K, C]."""
        found = self._look(batch)
        mask = batch["attention_mask"]
        outputs: Outputs = {name: found[name] for name in ("logits", *sorted(SAMPLED)) if name in self.fields}
        if "embeddings" in self.fields:
            own = getattr(self.model, "pool", None)  # of a model that reads some places only
            hidden = found["hidden"][:, : mask.shape[1]]  # states of patches follow those of tokens
            pooled = pool_hidden(hidden, mask, self.pooling) if own is None else own(hidden, batch["input_ids"], mask)
            outputs["embeddings"] = unit_length(pooled)
        if "hidden_states" in self.fields:
            outputs["hidden_states"] = pool_layers(found["layers"], mask)
        if "features" in self.fields:
            outputs["features"] = row_features(found["features"], mask)
        if "boundary" in self.fields:
            _, layer = last_linear(self.model, self.model.config.num_labels)
            several = self.model.config.problem_type == "multi_label_classification"
            outputs["boundary"] = boundary_distance(found["logits"], layer.weight, multi_label=several)
        return outputs

    def _look(self, inputs: dict[str, Tensor]) -> dict[str, Any]:
        """One forward: logits, the encoder's states and, where asked for, samples and the last layer's input."""
        self.model.eval()
        with self.precision(), self._watch() as seen:
            options = {"output_hidden_states": True} if "hidden_states" in self.fields else {}
            answer = self.model(**inputs, **options)
            found: dict[str, Any] = {"logits": answer.logits}
            if self.fields & SAMPLED:
                found |= self._samples(inputs, seen)
        found["hidden"] = seen["body"][0]
        if "hidden_states" in self.fields:
            found["layers"] = answer.hidden_states
        if "features" in self.fields:
            found["features"] = seen["features"]
        return found

    @contextmanager
    def _watch(self) -> Iterator[dict[str, Any]]:
        """Keep the encoder's output and the last layer's input of the first forward."""
        seen: dict[str, Any] = {}

        def keep_body(_module: nn.Module, _inputs: Any, output: Any) -> None:
            seen.setdefault("body", output)

        def keep_features(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen.setdefault("features", inputs[0])

        hooks = [self.body.register_forward_hook(keep_body)]
        if "features" in self.fields:
            _, layer = last_linear(self.model, self.model.config.num_labels)
            hooks.append(layer.register_forward_pre_hook(keep_features))
        try:
            yield seen
        finally:
            for hook in hooks:
                hook.remove()

    def _samples(self, batch: dict[str, Tensor], seen: dict[str, Any]) -> dict[str, Tensor]:
        """[B, K, C] logits of samples and, where it is asked for, [B, K, H] what the last layer read."""
        if "mc_latent" not in self.fields:
            return {"mc_logits": torch.stack(self._sampled(batch, seen), 1)}
        read: list[Tensor] = []

        def keep(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            read.append(inputs[0])

        _, layer = last_linear(self.model, self.model.config.num_labels)
        hook = layer.register_forward_pre_hook(keep)
        try:
            logits = self._sampled(batch, seen)
        finally:
            hook.remove()
        mask = batch["attention_mask"]
        return {
            "mc_logits": torch.stack(logits, 1),
            "mc_latent": torch.stack([row_features(one, mask) for one in read], 1),
        }

    def _sampled(self, batch: dict[str, Tensor], seen: dict[str, Any]) -> list[Tensor]:
        if self.needs.mc_layers == "checkpoints":
            members = self.checkpoints[-self.needs.mc_samples :]
            return [functional_call(self.model, member, (), batch).logits for member in members]
        every_layer = self.needs.mc_layers == "all"
        body = {name for name, module in self.model.named_modules() if module is self.body}
        prefixes = tuple(f"{name}." for name in body)
        samples = []
        with (
            dropout_on(self.model, lambda name: every_layer or not name.startswith(prefixes)),
            _fixed(self.body, None if every_layer else seen["body"]),
        ):
            for sample in range(self.needs.mc_samples):
                with ConsistentDropout(self.seed, sample):
                    samples.append(self.model(**batch).logits)
        return samples


class WordProbe(Probe):
    """The same for a classifier of words: one entry for each word, rows of any length.

    Args:
        outside: the output of words that the model cannot see.
        together: tokens that go through the model at once; a longer row goes in parts.
    """

    def __init__(self, *arguments: Any, outside: int, together: int, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.outside = outside
        self.together = together

    @torch.inference_mode()
    def __call__(self, batch: dict[str, Tensor]) -> Outputs:
        """The fields of one batch: `Ragged`, but embeddings as [B, D]; `mc_logits` with values [T, K, C]."""
        inputs = model_inputs(batch)
        wanted = [
            "logits",
            *sorted(self.fields & {"mc_logits", "features"}),
            *["hidden"] * ("embeddings" in self.fields),
        ]
        parts: dict[str, list[Tensor]] = {name: [] for name in wanted}
        for part in slices(inputs, self.together):
            found = self._look(part)
            for name, kept in parts.items():
                value = found[name]
                kept.append(value.transpose(1, 2) if name == "mc_logits" else value)  # [W, S, K, C]
        words = {name: unit_values(torch.cat(kept), batch).float().cpu() for name, kept in parts.items()}
        seen, offsets = batch["word_at"].cpu() != UNSEEN, batch["word_offsets"].cpu()
        return word_outputs(words, seen, offsets, self.fields, self.pooling, self.outside)


def word_outputs(
    words: dict[str, Tensor], seen: Tensor, offsets: Tensor, fields: Collection[str], pooling: str, outside: int
) -> Outputs:
    """What was found of T words as fields of a pass.

    Args:
        words: "logits", "mc_logits", "features", "hidden": [T, ...].
        seen: [T] which words the model can see.
        offsets: [B + 1] of the rows' words.
        fields: those wanted.
        pooling: "mean", or "entities": words weighted by the probability of being inside of one.
        outside: the output of words that cannot be seen.
    """
    for name in ("logits", "mc_logits"):
        if name in words:
            words[name] = certain_outside(words[name], seen, outside)
    names = [name for name in ("logits", "mc_logits", "features") if name in fields]
    outputs: Outputs = {name: Ragged(words[name], offsets) for name in names}
    if "embeddings" in fields:
        weights = seen.float()
        if pooling == "entities" and "logits" in words:  # no logits before the first labels
            weights = weights * (1 - torch.softmax(words["logits"], -1)[:, outside])
        outputs["embeddings"] = unit_length(mean_words(Ragged(words["hidden"], offsets), weights))
    return outputs


@contextmanager
def _fixed(module: nn.Module, output: Any | None) -> Iterator[None]:
    """The module gives `output` instead of computing (nothing changes where `output` is None)."""
    if output is None:
        yield
        return
    module.forward = lambda *_args, **_kwargs: output
    try:
        yield
    finally:
        del module.forward


def row_features(features: Tensor, mask: Tensor) -> Tensor:
    """[B, H] the last layer's input of each row; that of its last token, where decoders classify."""
    return features if features.ndim == 2 else _last_token(features, mask)


def _last_token(features: Tensor, mask: Tensor) -> Tensor:
    """[B, S, H] -> [B, H]: the last real token, where decoders classify."""
    positions = torch.arange(mask.shape[1], device=mask.device)
    last = (mask * positions).argmax(1)
    return features[torch.arange(len(features), device=features.device), last]
