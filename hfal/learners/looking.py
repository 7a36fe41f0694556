"""Closer looks as learners have them."""

from __future__ import annotations

from typing import Any, Protocol

from transformers import PreTrainedModel

from hfal.compute import state
from hfal.errors import HfalError, listing
from hfal.looks import Look, Looks, Surprise, both
from hfal.signals import Needs
from hfal.tasks.base import Task

UNTRAINED = frozenset({"embeddings", "hidden_states", "surprisal", "similarity"})
"""What can be had before anything is labelled."""
NOT_YET = "before the first labels only embeddings can be had: start with typiclust, alps or random"
LOOK_SHARE = 4
"""Batches of a look that goes back through the model are so many times smaller."""


def refuse_unknown(learner: str, needs: Needs, known: frozenset[str]) -> None:
    """Say what a strategy asks for that this kind of learner does not have."""
    unknown = needs.every_field - known
    if unknown:
        raise HfalError(f"{learner} cannot give {listing(sorted(unknown))}")


def look_budget(tokens: int) -> int:
    """Tokens of a batch that goes back through the model too."""
    return max(256, tokens // LOOK_SHARE)


class Looking(Protocol):
    """A learner of one named model."""

    name: str
    task: Task
    tokenizer: Any
    trust_remote_code: bool


def look_of(learner: Looking, model: PreTrainedModel, fields: frozenset[str]) -> Look:
    """What looks at a batch for these fields, through the model as it is now."""
    special = list(learner.tokenizer.all_special_ids)
    looks: Look = Looks(model, fields, special, learner.task.multi_label)
    if "surprisal" not in fields:
        return looks
    surprise = Surprise(learner.name, special, trust_remote_code=learner.trust_remote_code)
    surprise.model.to(state().device)
    return both(looks, surprise)
