"""A model that learns while people write: it proposes texts, and takes a step on what they made of them.

After Asghar et al. (2016, "Deep active learning for dialogue generation"): the person is shown K candidates, picks,
changes or writes one, and the model takes one step at once. Steps repeat a few older texts, against forgetting.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from hfal.compute import derive_seed, own_randomness, state
from hfal.errors import HfalError
from hfal.functional import idds
from hfal.generating import WritingExamples, write
from hfal.learners.generate import Generate

DRAWN = 3
"""So many times the candidates are drawn, of which the most unlike are shown."""


@dataclass(frozen=True)
class Turn:
    """A source, and what a person wrote for it."""

    id: str
    source: str
    text: str


class OnlineWriter:
    """Proposes and learns, turn by turn. What it has learned follows from the turns: they can be taken again.

    Args:
        learner: bound to the task, with its last model, or as it was pretrained.
        candidates: K.
        learning_rate: of the steps.
        replay: older turns in each step.
        seed: of draws, dropout and replay.
    """

    def __init__(
        self, learner: Generate, *, candidates: int = 3, learning_rate: float = 5e-5, replay: int = 4, seed: int = 0
    ) -> None:
        self.learner = learner
        self.candidates = candidates
        self.replay = replay
        self.seed = seed
        self.turns: list[Turn] = []
        self._before: list[Turn] = []
        self.model = learner.current
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=learning_rate, fused=True)

    def remember(self, turns: Iterable[Turn]) -> None:
        """Turns that the model has learned from already: only to be repeated."""
        self._before.extend(turns)

    def propose(self, row: str, source: str) -> list[str]:
        """At most K texts that differ, the likeliest first.

        Args:
            row: id, from which the draws follow.
            source: for which they are written.
        """
        writer, device = self.learner.writer, state().device
        tokens, model = writer.sources([source]), self.model.to(device).eval()
        best = writer.text(write(model, tokens, writer, device)[0][0])
        drawn = write(
            model,
            tokens,
            writer,
            device,
            keys=[row.encode()],
            samples=DRAWN * self.candidates,
            seed=derive_seed("online", self.seed, len(self.turns)),
        )[0]
        texts = [text for text in dict.fromkeys([best, *map(writer.text, drawn)]) if text]
        return texts[:1] + self._unlike(texts[:1], texts[1:], self.candidates - 1)

    def _unlike(self, shown: Sequence[str], others: Sequence[str], count: int) -> list[str]:
        """The texts that are farthest from what is shown and from each other."""
        if len(others) <= count:
            return list(others)
        known, rest = (self.learner.embed_now(texts) for texts in (shown, others))
        picks, _ = idds(rest, known, count, weight=0.2)
        return [others[at] for at in picks.tolist()]

    def learn(self, turn: Turn) -> float:
        """One optimizer step on a turn and some older ones; the loss before it.

        Raises:
            HfalError: the loss is not finite; the step is not taken.
        """
        older = [*self._before, *self.turns]
        drawn = random.Random(derive_seed("replay", self.seed, len(self.turns), turn.id)).sample(
            older, min(self.replay, len(older))
        )
        batch, writer = [turn, *drawn], self.learner.writer
        examples = WritingExamples(
            writer.sources([one.source for one in batch]), writer.targets([one.text for one in batch]), writer
        )
        self.model.to(state().device).train()
        with own_randomness(derive_seed("step", self.seed, len(self.turns))):
            losses = examples.losses(self.model, self.learner.task, np.arange(len(batch)), state().device)
            loss = losses.mean()
        if not bool(torch.isfinite(loss)):
            raise HfalError("the loss of this step is not finite: lower online.learning_rate")
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.model.eval()
        self.turns.append(turn)
        return float(loss.detach())
