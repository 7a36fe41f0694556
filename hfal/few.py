"""How a learner makes the most of few labels: options of `FineTune` and `FrozenHead`, all off unless asked for."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from hfal.config_yaml import SWITCHES
from hfal.errors import HfalError
from hfal.tasks.base import Task

WORDS = SWITCHES | {"true": True, "false": False, "none": False}
"""Words that switch an option on, with its usual settings, or off."""


class Option(BaseModel):
    """Base: unknown keys are errors, and nothing changes once it is made."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Adapt(Option):
    """An encoder adapted to the texts of the pool, labels unseen, once and before the first round.

    Attributes:
        by: "mlm" guesses masked tokens (Margatina et al. 2022; the unsupervised stage of Siméoni et al. 2020);
            "contrastive" tells a text, read twice with dropout, from others (SimCSE; Gao et al. 2021).
        num_train_epochs: passes over the pool.
        learning_rate: peak of a linear schedule.
        per_device_train_batch_size: texts of half a step; in "contrastive", those that a text is told from.
        mlm_probability: share of the tokens that are guessed.
        temperature: of the cosines in "contrastive".
        most_rows: rows that are read at most, drawn by the seed from a larger pool.
        seed: of all that is drawn. It is not the run's: runs of other seeds share one adapted encoder.
    """

    by: Literal["mlm", "contrastive"]
    num_train_epochs: int = Field(1, ge=1)
    learning_rate: float = Field(5e-5, gt=0)
    per_device_train_batch_size: int = Field(32, ge=2)
    mlm_probability: float = Field(0.15, gt=0, lt=1)
    temperature: float = Field(0.05, gt=0)
    most_rows: int = Field(50_000, ge=2)
    seed: int = Field(0, ge=0)


class PseudoLabels(Option):
    """Rows of the pool that the model is sure of, learned with the class it gives them (CEAL; Wang et al. 2017).

    They are found anew in each round, only ever trained on, and never written as labels.

    Attributes:
        threshold: probability of the class that a row must have, before any labels.
        fall: taken off for each hundred labels.
        floor: it never falls below.
        ratio: of each class at most so many rows as are labelled with it, times this.
        weight: of such a row; a labelled one has 1.
        most_rows: rows that are looked at, drawn by the learner's seed from a larger pool.
    """

    threshold: float = Field(0.95, gt=0, le=1)
    fall: float = Field(0.05, ge=0)
    floor: float = Field(0.7, gt=0, le=1)
    ratio: float = Field(2.0, gt=0)
    weight: float = Field(0.3, gt=0, le=1)
    most_rows: int = Field(20_000, ge=1)


class CleanLabels(Option):
    """Labels that are likely wrong are left out of training (confident learning; Northcutt et al. 2021).

    Models that have not seen a row judge its label: `folds` more trainings in each round.

    Attributes:
        folds: parts of the labels that take turns.
        most: largest share of the labels that is left out.
    """

    folds: int = Field(5, ge=2)
    most: float = Field(0.2, gt=0, lt=1)


class FewLabels(Option):
    """What to do beside learning from the labels.

    Attributes:
        adapt: "mlm" or "contrastive", or their settings.
        pseudo_labels: yes, or their settings.
        clean_labels: yes, or its settings.
        grow: choose anew in each round, by cross-validation on what is labelled, how much may be learned: of a frozen
            head how strong its penalty is, of a fine-tuned model how many of its layers are trained. It begins small
            and grows while the next larger is better (after Active-iNAS; Geifman and El-Yaniv 2019).
    """

    adapt: Adapt | None = None
    pseudo_labels: PseudoLabels | None = None
    clean_labels: CleanLabels | None = None
    grow: bool = False

    @field_validator("adapt", mode="before")
    @classmethod
    def _kind(cls, value: Any) -> Any:
        kind = isinstance(value, str) and WORDS.get(value.lower()) is not False
        return {"by": value} if kind else _switched(value)

    @field_validator("pseudo_labels", "clean_labels", mode="before")
    @classmethod
    def _switch(cls, value: Any) -> Any:
        return _switched(value)

    def record(self) -> dict[str, Any]:
        """What is on, as configuration."""
        return self.model_dump(exclude_none=True, exclude_defaults=True)

    def check(self, task: Task) -> None:
        """Say which option does not go with a task."""
        for name in ("pseudo_labels", "clean_labels", "grow"):
            if getattr(self, name) and (task.per_word or task.multi_label or not task.classes):
                raise HfalError(f"learner.{name} is for rows with one label of several classes, not for {task.name}")
        if self.adapt is not None and task.embedded == "picture":
            raise HfalError("learner.adapt reads texts: it does not go with pictures")


def _switched(value: Any) -> Any:
    """A switch as settings that are the usual ones, or none."""
    switch = WORDS.get(value.lower(), value) if isinstance(value, str) else value
    return {} if switch is True else None if switch is False else value
