"""Monte Carlo dropout whose scores do not depend on batching.

Sample k of the model is one thinned network: every dropout layer keeps one mask over its features, the same
for all rows and positions (Gal and Ghahramani 2016b; joint scores need it, Kirsch et al. 2019). In attention
a head's mask is over the keys. Only dropout is switched on, never normalisation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from hfal.compute import generator_for


def dropout_mask(shape: Sequence[int], p: float, seed: int, sample: int, layer: int) -> Tensor:
    """Float32 mask of 0 and 1/(1-p): what sample `sample` keeps in the layer-th dropout it meets."""
    keep = torch.rand(*shape, generator=generator_for("dropout", seed, sample, layer)) >= p
    return keep.float() / (1 - p)


class ConsistentDropout(TorchFunctionMode):
    """While entered, dropout uses the masks of one sample, counted by the order of the calls."""

    def __init__(self, seed: int, sample: int) -> None:
        super().__init__()
        self.seed = seed
        self.sample = sample
        self.layer = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Dropout with own masks; everything else as it is."""
        kwargs = kwargs or {}
        if func is functional.dropout:
            return self._dropout(*args, **kwargs)
        if func is functional.scaled_dot_product_attention:
            return self._attention(func, *args, **kwargs)
        return func(*args, **kwargs)

    def _mask(self, shape: Sequence[int], p: float, like: Tensor) -> Tensor:
        self.layer += 1
        mask = dropout_mask(shape, p, self.seed, self.sample, self.layer)
        return mask.to(like.device, like.dtype)

    def _dropout(self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or p == 0:
            return input
        if input.ndim == 4:  # attention weights [B, heads, queries, keys]
            return input * self._key_mask(input.shape[1], input.shape[-1], p, input)[:, None, :]
        return input * self._mask(input.shape[-1:], p, input)

    def _key_mask(self, heads: int, keys: int, p: float, like: Tensor) -> Tensor:
        """[heads, keys]; drawn key by key, so that a wider batch has the same mask for the same key."""
        return self._mask((keys, heads), p, like).T

    def _attention(
        self,
        func: Callable[..., Tensor],
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        **options: Any,
    ) -> Tensor:
        options.update(attn_mask=attn_mask, is_causal=is_causal)
        if dropout_p == 0:
            return func(query, key, value, **options)
        # to drop a key for a whole head is to drop its value, and needs no attention weights
        mask = self._key_mask(value.shape[1], value.shape[2], dropout_p, value)
        return func(query, key, value * mask[:, :, None], **options)


@contextmanager
def dropping(layer: nn.Dropout) -> Iterator[None]:
    """One dropout layer switched on."""
    before, layer.training = layer.training, True
    try:
        yield
    finally:
        layer.training = before


@contextmanager
def dropout_on(model: nn.Module, inside: Callable[[str], bool] = lambda name: True) -> Iterator[None]:
    """Dropout layers, and attention that drops by its own flag, switched on where `inside(name)` says so."""
    before = {name: module.training for name, module in model.named_modules()}
    model.eval()
    for name, module in model.named_modules():
        drops = isinstance(module, nn.Dropout) or "attention" in type(module).__name__.lower()
        if drops and inside(name):
            module.training = True
    try:
        yield
    finally:
        for name, module in model.named_modules():
            module.training = before[name]
