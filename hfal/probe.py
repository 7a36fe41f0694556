"""Looks into a sequence classifier: logits, pooled states and the last layer's input from one forward."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hfal.dropout import ConsistentDropout, dropout_on
from hfal.errors import HfalError
from hfal.inference import Outputs
from hfal.models import pool_hidden
from hfal.signals import Needs


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
        model: a sequence classifier of transformers.
        needs: the fields wanted.
        pooling: "mean" or "cls", for `embeddings`.
        seed: of the dropout masks.
        precision: a context in which the model runs (autocast), made anew for each batch.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        needs: Needs,
        *,
        pooling: str,
        seed: int,
        precision: Callable[[], Any],
    ) -> None:
        self.model = model
        self.needs = needs
        self.fields = needs.every_field
        self.pooling = pooling
        self.seed = seed
        self.precision = precision
        self.body = model.base_model
        if self.body is model and needs.mc_samples and needs.mc_layers == "head":
            raise HfalError(f"{type(model).__name__} has no separate encoder: use mc_layers='all'")

    @torch.inference_mode()
    def __call__(self, batch: dict[str, Tensor]) -> Outputs:
        """The fields of one batch: [B, ...], `mc_logits` as [B, K, C]."""
        self.model.eval()
        outputs: Outputs = {}
        with self.precision(), self._watch() as seen:
            logits = self.model(**batch).logits
            if "mc_logits" in self.fields:
                outputs["mc_logits"] = self._samples(batch, seen)
        mask = batch["attention_mask"]
        if "logits" in self.fields:
            outputs["logits"] = logits
        if "embeddings" in self.fields:
            outputs["embeddings"] = pool_hidden(seen["body"][0], mask, self.pooling)
        if "features" in self.fields:
            features = seen["features"]
            outputs["features"] = features if features.ndim == 2 else _last_token(features, mask)
        return outputs

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

    def _samples(self, batch: dict[str, Tensor], seen: dict[str, Any]) -> Tensor:
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
        return torch.stack(samples, 1)


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


def _last_token(features: Tensor, mask: Tensor) -> Tensor:
    """[B, S, H] -> [B, H]: the last real token, where decoders classify."""
    positions = torch.arange(mask.shape[1], device=mask.device)
    last = (mask * positions).argmax(1)
    return features[torch.arange(len(features), device=features.device), last]
