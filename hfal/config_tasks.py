"""Tasks as a config says them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hfal.config_yaml import SWITCHES
from hfal.tasks import (
    Generation,
    Pairs,
    QuestionAnswering,
    Relations,
    Task,
    TextClassification,
    TokenClassification,
    VisualQuestionAnswering,
)
from hfal.tasks.relations import MARKERS
from hfal.tasks.vqa import MOST_ANSWERS


class Section(BaseModel):
    """A part of the config: unknown keys are errors, types are not guessed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _switches(cls, values: Any) -> Any:
        """`yes`, `no`, `on` and `off`, where a switch is wanted: elsewhere they are words."""
        if not isinstance(values, dict):
            return values
        switches = {name for name, field in cls.model_fields.items() if field.annotation is bool}
        return {
            name: SWITCHES.get(value.lower(), value) if name in switches and isinstance(value, str) else value
            for name, value in values.items()
        }


class TextTask(Section):
    """`TextClassification`."""

    type: Literal["text_classification"] = "text_classification"
    text: str = "text"
    label: str = "label"
    label_names: list[str] | None = None
    multi_label: bool = False

    def build(self) -> Task:
        """The task."""
        return TextClassification(self.text, self.label, self.label_names, self.multi_label)


class TokenTask(Section):
    """`TokenClassification`."""

    type: Literal["token_classification"]
    tokens: str = "tokens"
    tags: str = "ner_tags"
    scheme: Literal["auto", "BIO", "IOB1", "IOBES", "BILOU", "none"] = "auto"
    label_names: list[str] | None = None
    text: str | None = None
    entities: str = "entities"
    illegal: Literal["refuse", "repair"] = "refuse"
    constrained: bool = True

    def build(self) -> Task:
        """The task."""
        return TokenClassification(**self.model_dump(exclude={"type"}))


class PairsTask(Section):
    """`Pairs`."""

    type: Literal["pairs"]
    left: str = "left"
    right: str = "right"
    label: str = "label"
    label_names: list[str] | None = None
    positive: str | None = None

    def build(self) -> Task:
        """The task."""
        return Pairs(**self.model_dump(exclude={"type"}))


class RelationsTask(Section):
    """`Relations`."""

    type: Literal["relations"]
    text: str = "text"
    label: str = "label"
    label_names: list[str] | None = None
    markers: list[str] = Field(default_factory=lambda: list(MARKERS), min_length=4, max_length=4)
    none: str | None = None

    def build(self) -> Task:
        """The task."""
        return Relations(**self.model_dump(exclude={"type"}))


class VQATask(Section):
    """`VisualQuestionAnswering`."""

    type: Literal["visual_question_answering"]
    image: str = "image"
    question: str = "question"
    answers: str = "answers"
    label_names: list[str] | None = None
    votes: bool = False
    separator: str | None = Field(None, min_length=1)
    top_answers: int = Field(MOST_ANSWERS, ge=2)

    def build(self) -> Task:
        """The task."""
        return VisualQuestionAnswering(**self.model_dump(exclude={"type"}))


class QATask(Section):
    """`QuestionAnswering`."""

    type: Literal["question_answering"]
    question: str = "question"
    context: str = "context"
    answers: str = "answers"

    def build(self) -> Task:
        """The task."""
        return QuestionAnswering(self.question, self.context, self.answers)


class GenerationTask(Section):
    """`Generation`."""

    type: Literal["generation"]
    source: str = "source"
    target: str = "target"

    def build(self) -> Task:
        """The task."""
        return Generation(self.source, self.target)


TaskSection = Annotated[
    TextTask | TokenTask | PairsTask | RelationsTask | VQATask | QATask | GenerationTask, Field(discriminator="type")
]
