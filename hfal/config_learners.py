"""Learners as a config says them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from hfal.bringing import bring_in
from hfal.config_tasks import Section
from hfal.errors import HfalError
from hfal.few import FewLabels
from hfal.learners import Contrastive, Ensemble, Extract, FineTune, FrozenHead, Fusion, Generate, Learner
from hfal.learners.contrastive import TRAINING as CONTRASTIVE_TRAINING
from hfal.learners.fine_tune import LORA_TRAINING
from hfal.learners.fusion import TRAINING as FUSION_TRAINING
from hfal.learners.generate import EMBEDDER
from hfal.learners.generate import TRAINING as GENERATE_TRAINING
from hfal.learners.warm import Incremental
from hfal.training_config import TrainingConfig


def _beyond(usual: TrainingConfig) -> BeforeValidator:
    """What is not said of the training is as a kind of learner needs it."""
    return BeforeValidator(lambda value: usual.model_dump() | value if isinstance(value, dict) else value)


class _ModelSection(Section):
    model: str
    pooling: Literal["mean", "cls", "entities"] = "mean"
    max_length: int | None = Field(None, ge=8)
    pad_token: str | None = None
    trust_remote_code: bool = False


class _FewLabelsSection(FewLabels, _ModelSection):
    @property
    def few(self) -> FewLabels:
        """What to do beside learning from the labels."""
        return FewLabels(**{name: getattr(self, name) for name in FewLabels.model_fields})


class FineTuneSection(_FewLabelsSection):
    """`FineTune`."""

    type: Literal["fine_tune"]
    threshold: Literal["f1"] | None = "f1"
    incremental: Incremental = "restart"
    lora: dict[str, Any] | None = None
    training: TrainingConfig = Field(default_factory=lambda: TrainingConfig())

    @model_validator(mode="before")
    @classmethod
    def _of_adapters(cls, values: Any) -> Any:
        """What is not said of the training is as adapters need it, where there are some."""
        if (
            not isinstance(values, dict)
            or values.get("lora") is None
            or not isinstance(values.get("training", {}), dict)
        ):
            return values
        return values | {"training": LORA_TRAINING.model_dump() | values.get("training", {})}

    def build(self) -> Learner:
        """The learner."""
        return FineTune(
            self.model,
            self.training,
            max_length=self.max_length,
            pooling=self.pooling,
            threshold=self.threshold,
            pad_token=self.pad_token,
            trust_remote_code=self.trust_remote_code,
            few=self.few,
            incremental=self.incremental,
            lora=self.lora,
        )


class FrozenHeadSection(_FewLabelsSection):
    """`FrozenHead`."""

    type: Literal["frozen_head"] = "frozen_head"
    C: Annotated[float, Field(gt=0)] = 10.0
    class_weights: Literal["auto", "balanced"] | Annotated[float, Field(ge=0, le=2)] | None = "auto"
    normalize: bool = True
    head_dropout: float = Field(0.1, ge=0, lt=1)
    layers: int | None = Field(None, ge=1)
    threshold: Literal["f1"] | None = "f1"
    twins: bool = False
    finally_: Literal["fine_tune"] | None = Field(None, alias="finally")
    training: TrainingConfig = Field(default_factory=lambda: TrainingConfig())

    def build(self) -> Learner:
        """The learner."""
        return FrozenHead(
            self.model,
            C=self.C,
            class_weights=self.class_weights,
            pooling=self.pooling,
            normalize=self.normalize,
            head_dropout=self.head_dropout,
            layers=self.layers,
            threshold=self.threshold,
            twins=self.twins,
            max_length=self.max_length,
            pad_token=self.pad_token,
            trust_remote_code=self.trust_remote_code,
            finally_=self.finally_,
            training=self.training,
            few=self.few,
        )


class ContrastiveSection(_FewLabelsSection):
    """`Contrastive`."""

    type: Literal["contrastive"]
    pooling: Literal["mean", "cls"] = "mean"
    C: Annotated[float, Field(gt=0)] = 10.0
    pairs_per_row: int = Field(20, ge=1)
    most_pairs: int = Field(2000, ge=2)
    training: Annotated[TrainingConfig, _beyond(CONTRASTIVE_TRAINING)] = Field(
        default_factory=lambda: CONTRASTIVE_TRAINING
    )

    def build(self) -> Learner:
        """The learner."""
        names = ("C", "pairs_per_row", "most_pairs", "max_length", "pooling", "pad_token", "trust_remote_code", "few")
        return Contrastive(self.model, self.training, **{name: getattr(self, name) for name in names})


class EnsembleSection(Section):
    """`Ensemble`."""

    type: Literal["ensemble"]
    of: Annotated[FrozenHeadSection | FineTuneSection, Field(discriminator="type")]
    members: int = Field(5, ge=2)
    by: Literal["init", "bootstrap", "anchor"] | None = None
    calibrate: bool = True

    @field_validator("of", mode="before")
    @classmethod
    def _typed(cls, value: Any) -> Any:
        """A frozen head where no type is named."""
        return {"type": "frozen_head"} | value if isinstance(value, dict) else value

    @property
    def model(self) -> str:
        """The model that the members begin from."""
        return self.of.model

    @property
    def training(self) -> TrainingConfig:
        """How the members are trained."""
        return self.of.training

    def build(self) -> Learner:
        """The learner."""
        return Ensemble(self.of.build(), self.members, by=self.by, calibrate=self.calibrate)  # type: ignore[arg-type]


class FusionSection(Section):
    """`Fusion`."""

    type: Literal["fusion"]
    model: str
    image_model: str | None = None
    image_size: int = Field(64, ge=8, le=1024)
    freeze_image: bool = False
    width: int = Field(128, ge=1)
    dropout: float = Field(0.2, ge=0, lt=1)
    latent_weight: float = Field(1.0, ge=0)
    max_length: int | None = Field(None, ge=8)
    trust_remote_code: bool = False
    training: Annotated[TrainingConfig, _beyond(FUSION_TRAINING)] = Field(default_factory=lambda: FUSION_TRAINING)

    def build(self) -> Learner:
        """The learner."""
        settings = {name: getattr(self, name) for name in type(self).model_fields if name not in ("type", "training")}
        return Fusion(settings.pop("model"), self.training, **settings)


class ExtractSection(Section):
    """`Extract`."""

    type: Literal["extract"]
    model: str
    max_length: int | None = Field(384, ge=16)
    pad_token: str | None = None
    trust_remote_code: bool = False
    training: TrainingConfig = Field(default_factory=lambda: TrainingConfig())

    def build(self) -> Learner:
        """The learner."""
        settings = {name: getattr(self, name) for name in type(self).model_fields if name not in ("type", "training")}
        return Extract(settings.pop("model"), self.training, **settings)


class GenerateSection(Section):
    """`Generate`."""

    type: Literal["generate"]
    model: str
    prompt: str = "{source}"
    max_source_length: int = Field(512, ge=8)
    max_new_tokens: int = Field(64, ge=1)
    num_beams: int = Field(1, ge=1)
    lora: dict[str, Any] | None = None
    embedder: str = EMBEDDER
    pad_token: str | None = None
    trust_remote_code: bool = False
    training: Annotated[TrainingConfig, _beyond(GENERATE_TRAINING)] = Field(default_factory=lambda: GENERATE_TRAINING)

    def build(self) -> Learner:
        """The learner."""
        settings = {name: getattr(self, name) for name in type(self).model_fields if name not in ("type", "training")}
        return Generate(settings.pop("model"), self.training, **settings)


class CustomSection(Section):
    """A learner of one's own.

    Attributes:
        path: "module:Class", found from the current folder too.
        arguments: what the class is made with.
    """

    type: Literal["custom"]
    path: str = Field(pattern=r"^[\w.]+:\w+$")
    arguments: dict[str, Any] = Field(default_factory=dict)
    training: TrainingConfig = Field(default_factory=lambda: TrainingConfig())

    def build(self) -> Learner:
        """The learner."""
        module, name = self.path.split(":")
        found = getattr(bring_in(module, "learner.path"), name, None)
        if not isinstance(found, type):
            raise HfalError(f"learner.path: {module} has no class {name}")
        try:
            made: Learner = found(**self.arguments)
        except TypeError as error:
            raise HfalError(f"learner.arguments: {error}") from None
        return made


LearnerSection = Annotated[
    FrozenHeadSection
    | FineTuneSection
    | ContrastiveSection
    | EnsembleSection
    | FusionSection
    | GenerateSection
    | ExtractSection
    | CustomSection,
    Field(discriminator="type"),
]
