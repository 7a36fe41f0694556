"""Closer looks through a whole model: gradients in the embeddings of words, distances to the boundary there, and what a
language model finds surprising."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM, PreTrainedModel

from hfal.errors import HfalError
from hfal.inference import Outputs
from hfal.models import load_quietly

WIDTH = 128
"""Tokens of a text that the language model judges (Yuan et al. 2020 cut texts there)."""
JUDGED = 0.15
"""Share of them whose surprise counts."""
FOOL_STEPS = 10
FOOL_CLASSES = 10
OVERSHOOT = 0.02


class Looks:
    """Looks at batches of rows: `word_gradients` and `word_boundary`, which go through the model and back.

    Args:
        model: a classifier of transformers.
        fields: those wanted.
        special: ids of tokens that are no words.
        multi_label: its outputs are independent decisions.
    """

    def __init__(self, model: PreTrainedModel, fields: frozenset[str], special: list[int], multi_label: bool) -> None:
        self.model = model.eval()
        self.fields = fields
        self.special = torch.tensor(special, dtype=torch.int64)
        self.multi_label = multi_label

    def __call__(self, batch: dict[str, Tensor]) -> Outputs:
        """The fields of one batch, [B, ...]."""
        outputs: Outputs = {}
        if "word_gradients" in self.fields:
            outputs["word_gradients"] = self._word_gradients(batch)
        if "word_boundary" in self.fields:
            outputs["word_boundary"] = self._word_boundary(batch)
        return outputs

    def _slopes(self, batch: dict[str, Tensor], moved: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits [B, C], and the slope of each in the word embeddings, [C, B, S, D]; with these embeddings moved."""
        with torch.inference_mode(False), torch.enable_grad():
            inputs = {name: value.clone() for name, value in batch.items()}
            with _watched(self.model.get_input_embeddings(), moved) as words:
                logits = self.model(**inputs).logits.float()
            slopes = [
                torch.autograd.grad(logits[:, c].sum(), words[0], retain_graph=c + 1 < logits.shape[1])[0]
                for c in range(logits.shape[1])
            ]
        return logits.detach(), torch.stack(slopes)

    def _word_gradients(self, batch: dict[str, Tensor]) -> Tensor:
        """[B] `max_w sum_y p_y |d loss(y) / d embedding of w|` (Zhang et al. 2017, eq. 5), of a whole word."""
        logits, slopes = self._slopes(batch)
        ids, classes = batch["input_ids"], logits.shape[1]
        is_word = (batch["attention_mask"] > 0) & ~torch.isin(ids, self.special.to(ids.device))
        same = (ids[:, :, None] == ids[:, None, :]) & is_word[:, None, :]
        whole = torch.stack([same.float() @ slope for slope in slopes])  # of the word, wherever it stands
        if self.multi_label:
            yes = torch.sigmoid(logits)
            expected = ((2 * yes * (1 - yes)).T[:, :, None] * whole.norm(dim=-1)).mean(0)
        else:
            p = torch.softmax(logits, -1)
            expected = torch.zeros_like(is_word, dtype=torch.float32)
            for label in range(classes):
                error = p - nn.functional.one_hot(torch.tensor(label), classes).to(p)
                expected += p[:, label, None] * torch.einsum("bc,cbsd->bsd", error, whole).norm(dim=-1)
        longest: Tensor = expected.masked_fill(~is_word, 0).amax(1)
        return longest

    def _word_boundary(self, batch: dict[str, Tensor]) -> Tensor:
        """[B] the length of the change of the word embeddings that alters the prediction (DeepFool; Moosavi-Dezfooli et
        al. 2016, algorithm 2); what has not changed after ten steps has the length reached."""
        real = batch["attention_mask"][:, None, :, None].float()
        moved: Tensor | None = None
        first = torch.empty(0)
        for _ in range(FOOL_STEPS):
            logits, slopes = self._slopes(batch, None if moved is None else moved * (1 + OVERSHOOT))
            if moved is None:
                first = logits
                moved = torch.zeros_like(slopes[0])
            gaps, ways = self._towards(first, logits, slopes.transpose(0, 1) * real)
            fooled = (gaps <= 0).any(1)
            if bool(fooled.all()):
                break
            lengths = ways.flatten(2).norm(dim=2).clamp_min(1e-12)
            nearest = (gaps.clamp_min(0) / lengths).argmin(1)
            rows = torch.arange(len(gaps), device=gaps.device)
            step = gaps[rows, nearest] / lengths[rows, nearest].square()
            more = step[:, None, None] * ways[rows, nearest]
            moved = moved + more.masked_fill(fooled[:, None, None], 0)
        assert moved is not None
        length: Tensor = torch.linalg.vector_norm(moved.flatten(1), dim=1)
        return length

    def _towards(self, first: Tensor, logits: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
        """How far each other answer is behind, [B, m], and the way on which it catches up, [B, m, S, D]."""
        rows = torch.arange(len(logits), device=logits.device)
        if self.multi_label:
            sign = torch.where(first > 0, 1.0, -1.0)
            return sign * logits, -sign[:, :, None, None] * slopes
        ranked = first.topk(min(FOOL_CLASSES, first.shape[1]), 1).indices
        label, others = ranked[:, 0], ranked[:, 1:]
        gaps = logits[rows, label][:, None] - logits.gather(1, others)
        return gaps, slopes[rows[:, None], others] - slopes[rows, label][:, None]


@contextmanager
def _watched(embeddings: nn.Module, moved: Tensor | None) -> Iterator[list[Tensor]]:
    """What this layer gives is kept, as a leaf to differentiate in; with something added, where it is given."""
    seen: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        leaf = output.detach() if moved is None else output.detach() + moved
        seen.append(leaf.requires_grad_())
        return seen[0]

    hook = embeddings.register_forward_hook(keep)
    try:
        yield seen
    finally:
        hook.remove()


class Surprise:
    """How unlikely a masked language model finds the tokens that are there: `surprisal` of a batch.

    The model sees the text as it is, and a fixed 15% of its tokens count (Yuan et al. 2020, section 3.1): drawn by the
    text itself, so that they are the same in every batch.

    Args:
        name: a model with its language-model head.
        special: ids of tokens that are no words.
        trust_remote_code: run code that comes with the model.

    Raises:
        HfalError: the model was saved without such a head.
    """

    def __init__(self, name: str, special: list[int], *, trust_remote_code: bool) -> None:
        self.special = torch.tensor(special, dtype=torch.int64)
        self.model, missing = load_quietly(AutoModelForMaskedLM, name, trust_remote_code=trust_remote_code)
        if missing:
            raise HfalError(
                f"learner.model: {name!r} comes without a language-model head ({missing[0]} is missing), so alps "
                "cannot tell what surprises it: choose a model that was saved with it, or start with typiclust"
            )

    @torch.inference_mode()
    def __call__(self, batch: dict[str, Tensor]) -> Outputs:
        """`surprisal` [B, 128]."""
        batch = {name: value[:, :WIDTH] for name, value in batch.items()}
        ids = batch["input_ids"]
        losses = nn.functional.cross_entropy(self.model(**batch).logits.flatten(0, 1), ids.flatten(), reduction="none")
        counts = (batch["attention_mask"] > 0) & ~torch.isin(ids, self.special.to(ids.device)) & _drawn(ids)
        surprise = losses.view(ids.shape).masked_fill(~counts, 0)
        return {"surprisal": nn.functional.pad(surprise, (0, WIDTH - ids.shape[1]))}


def _drawn(ids: Tensor) -> Tensor:
    """[B, S] a fixed share of the tokens, as if at random: by what they are and where, and by the first ones."""
    place = torch.arange(ids.shape[1], device=ids.device)
    mixed = ids.long() * 2_654_435_761 + place * 40_503 + ids[:, :4].long().sum(1, keepdim=True) * 2_246_822_519
    mixed = (mixed ^ (mixed >> 15)) * 2_146_121_005 & 0x7FFFFFFF
    return mixed < int(JUDGED * 0x7FFFFFFF)


Look = Callable[[dict[str, Tensor]], Outputs]


def both(first: Look, second: Look) -> Look:
    """What both find of a batch."""
    return lambda batch: {**first(batch), **second(batch)}
