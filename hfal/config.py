"""A run as YAML: read safely, checked key by key, one line for each mistake."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from hfal.budget import Budget, Cost
from hfal.config_errors import checked
from hfal.config_learners import LearnerSection
from hfal.config_tasks import Section, TaskSection, TextTask
from hfal.config_yaml import read_yaml
from hfal.errors import HfalError
from hfal.strategies import parse


class Source(Section):
    """Where rows come from.

    Attributes:
        source: a file (csv, tsv, json, jsonl, parquet, txt), a folder (of such files, or written by
            `save_to_disk`), a Hub name, or a demo asset (`demo/tweets`).
        split: of a Hub data set or a `DatasetDict` on disk.
        name: configuration of a Hub data set.
        revision: of a Hub data set.
        rows: that many, after a shuffle by `seed`; all where it is not given.
        columns: {wanted: found}, to rename.
        encoding: of text files.
        format: "conll" for CoNLL files of another ending than .conll, .bio, .iob; else told from the ending.
        skip_empty: leave out rows without text instead of refusing them.
    """

    source: str
    split: str = "train"
    name: str | None = None
    revision: str | None = None
    rows: int | None = Field(None, ge=1)
    columns: dict[str, str] = Field(default_factory=dict)
    encoding: str = "utf-8"
    format: Literal["csv", "json", "parquet", "text", "conll"] | None = None
    skip_empty: bool = False


class PoolSource(Source):
    """The pool's rows.

    Attributes:
        id_column: the user's own ids.
        seed_labels: a column of labels that are known from the start, where they are not empty.
    """

    id_column: str | None = None
    seed_labels: str | None = None


class PeopleSection(Section):
    """How people label, with `oracle: people`.

    Attributes:
        overlap: how many people answer each row.
        resolve: how their labels become one.
        suggest: show what the model thinks (never of audited rows).
        ahead: choose each round while the one before is being labelled, so that nobody waits for the training; the
            model that chooses is one round older then.
    """

    overlap: int = Field(1, ge=1)
    resolve: Literal["majority", "dawid_skene"] = "majority"
    suggest: bool = True
    ahead: bool = False


class Prices(Section):
    """What a model's tokens cost, per million."""

    input: float = Field(0.0, ge=0)
    output: float = Field(0.0, ge=0)


class AnnotatorSection(Section):
    """A model that labels, with `oracle: model`.

    Attributes:
        model: its name at the endpoint; without one a Hub name or a folder.
        endpoint: of an OpenAI-compatible server, up to and with /v1.
        api_key_env: the variable that holds the key. The key itself never stands in a config.
        prompt: a template with the task's input columns, {inputs} for all of them, and {labels}.
        system: said before each prompt.
        max_new_tokens: of an answer.
        price: per million tokens, to tell what the labels cost.
        check: share of the rows that people label in its place, to tell how far it can be trusted.
        trust_remote_code: run code that comes with a local model.
    """

    model: str
    endpoint: str | None = Field(None, pattern="^https?://")
    api_key_env: str = Field("OPENAI_API_KEY", pattern="^[A-Za-z_][A-Za-z0-9_]*$")
    prompt: str | None = None
    system: str | None = None
    max_new_tokens: int = Field(64, ge=1)
    price: Prices = Field(default_factory=lambda: Prices())
    check: float = Field(0.1, ge=0, le=1)
    trust_remote_code: bool = False


class OnlineSection(Section):
    """How a model learns while people write, with `mode: online`.

    Attributes:
        candidates: texts that it proposes for each row.
        learning_rate: of the step that it takes on each text.
        replay: older texts that each step repeats.
    """

    candidates: int = Field(3, ge=1, le=10)
    learning_rate: float = Field(5e-5, gt=0)
    replay: int = Field(4, ge=0)


class Stop(Section):
    """When `hfal status` advises to stop; a run never stops by itself.

    Attributes:
        target: the score on the pool that is wanted.
        gain: what a batch must add to the score to be worth its cost.
    """

    target: float | None = Field(None, gt=0, le=1)
    gain: float = Field(0.005, gt=0, lt=1)


def _exists(spec: str) -> str:
    """A strategy's spec, of strategies that there are."""
    try:
        parse(spec)
    except HfalError as error:
        raise ValueError(str(error)) from None
    return spec


Spec = Annotated[str, AfterValidator(_exists)]


class Start(Section):
    """The seed set, where nothing is labelled yet: how it is chosen (as the task has it, where it is not given), and
    how large it is (the batch's size)."""

    strategy: Spec | None = None
    rows: int | None = Field(None, ge=1)
    words: int | None = Field(None, ge=1)

    @property
    def size(self) -> Budget | None:
        """What it may cost, where it is not a batch."""
        return Budget(rows=self.rows) if self.rows else Budget(words=self.words) if self.words else None


class CostSection(Section):
    """`Cost`: what labelling a row costs."""

    unit: str
    per_row: float = Field(0.0, ge=0)
    per_word: float = Field(0.0, ge=0)
    column: str | None = None

    def build(self) -> Cost:
        """The cost."""
        return Cost(**self.model_dump())


def _one_amount(value: dict[str, Any]) -> dict[str, Any]:
    """`{unit: amount}`."""
    try:
        Budget(**value)
    except HfalError as error:
        raise ValueError(str(error).removeprefix("budget: ")) from None
    return value


def _rows(value: Any) -> Any:
    """A bare number counts rows, as it does in Python."""
    return {"rows": value} if isinstance(value, int) and not isinstance(value, bool) else value


Amount = Annotated[dict[str, Any], BeforeValidator(_rows), AfterValidator(_one_amount)]


class RunConfig(Section):
    """Everything that `hfal run` needs to know.

    Attributes:
        output_dir: the run folder.
        seed: of every chance in the run.
        pool: the rows to choose from.
        test: rows that never enter the pool; curves are drawn on them.
        validation: rows for early stopping.
        transfer: labelled rows of another set, which the learner learns before those that are asked.
        task: what the labels are.
        learner: what is trained.
        strategy: a spec string (`hfal strategies`); "auto" where it is not given.
        start: the seed set.
        oracle: who labels: "simulated" reads the label column, "people" waits for them, "model" asks a model and
            people for a share.
        people: how they label.
        annotator: the model that labels.
        mode: "online": while people write, the model proposes texts and takes a step on each that they give.
        online: how it does.
        audit: share of each batch that is drawn by chance to tell how good the model is; 0.1 with people.
        stop: when to advise to stop.
        baseline: "random" runs the same budget by chance beside it, into `baseline/`; null does not.
        repeats: how many seeds, from `seed` on, the run (and chance beside it) is repeated with, on the same
            pool and test rows: one run is one draw of chance. The model kept is that of the first.
        budget: what may be spent in all, the seed set included: `{rows: n}`, `{words: n}`, or a unit that `cost` or
            a column prices.
        batch: what a round may cost.
        cost: what labelling a row costs.
        per_cost: choose the best score per cost.
    """

    output_dir: str
    seed: int = Field(0, ge=0)
    pool: PoolSource
    test: Source | None = None
    validation: Source | None = None
    transfer: Source | None = None
    task: TaskSection = Field(default_factory=lambda: TextTask())
    learner: LearnerSection
    strategy: Spec | None = None
    start: Start = Field(default_factory=lambda: Start())
    oracle: Literal["simulated", "people", "model"] = "simulated"
    people: PeopleSection | None = None
    annotator: AnnotatorSection | None = None
    mode: Literal["rounds", "online"] = "rounds"
    online: OnlineSection | None = None
    audit: float | None = Field(None, ge=0, le=0.5)
    stop: Stop = Field(default_factory=lambda: Stop())
    baseline: Literal["random"] | None = "random"
    repeats: int = Field(1, ge=1)
    budget: Amount
    batch: Amount
    cost: CostSection | None = None
    per_cost: bool = False

    @model_validator(mode="after")
    def _stopping_needs_rows(self) -> Self:
        if self.validation is None and self.learner.training.early_stopping_patience is not None:
            raise ValueError("learner.training.early_stopping_patience needs validation rows: add a validation source")
        return self

    @model_validator(mode="after")
    def _people_are_asked_once(self) -> Self:
        if self.people is not None and not self.waits:
            raise ValueError("people says how people label: add oracle: people")
        if self.waits and self.repeats > 1:
            raise ValueError("repeats: people label a run once, and so does a model; repeats need oracle: simulated")
        if self.mode == "online" and (self.oracle != "people" or self.task.type != "generation"):
            raise ValueError(
                "mode: online is for people who write: it needs oracle: people and task: {type: generation}"
            )
        if self.online is not None and self.mode != "online":
            raise ValueError("online says how a model learns while people write: add mode: online")
        if (self.annotator is not None) != (self.oracle == "model"):
            raise ValueError("oracle: model and annotator: {model: …} belong together")
        return self

    @property
    def waits(self) -> bool:
        """Whether rounds wait for labels, of people or of a model."""
        return self.oracle in ("people", "model")

    @property
    def chooser(self) -> str:
        """The strategy that is meant."""
        return self.strategy or "auto"

    @property
    def starter(self) -> str:
        """What chooses the seed set."""
        return self.start.strategy or self.task.build().default_start

    def record(self) -> dict[str, Any]:
        """The config as it is written to the run folder."""
        values = self.model_dump(mode="json", by_alias=True)
        return values | {"strategy": self.chooser, "start": {**values["start"], "strategy": self.starter}}


def load_config(path: str | Path, changes: Iterable[str] = ()) -> RunConfig:
    """Read a YAML config and apply `--set` changes.

    Args:
        path: the file, or a run folder, which holds its own.
        changes: `a.b=value`, the value as YAML.

    Raises:
        HfalError: the file cannot be read, or a key or value is wrong.
    """
    path, folder = Path(path), Path(path)
    if folder.is_dir():
        path = folder / "config.yaml"
        if not path.exists():
            raise HfalError(f"{folder} is not a run folder: it has no config.yaml")
    values = read_values(path)
    if folder.is_dir():
        values["output_dir"] = str(folder)  # wherever it was when the run began
    for change in changes:
        apply_change(values, change)
    return check_config(values, str(path))


def read_values(path: Path) -> dict[str, Any]:
    """What a YAML file says.

    Raises:
        HfalError: it cannot be read, or holds no keys.
    """
    try:
        values = read_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise HfalError(f"there is no config file {path}; `hfal init` writes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise HfalError(f"cannot read {path}: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise HfalError(f"{path} is not valid YAML{where}: {getattr(error, 'problem', error)}") from error
    if not isinstance(values, dict):
        raise HfalError(f"{path} must hold keys and values (output_dir, pool, learner, …)")
    return values


def with_types(values: dict[str, Any]) -> dict[str, Any]:
    """The same, with the usual type where a learner or a task names none."""
    for key, usual in (("learner", "frozen_head"), ("task", "text_classification")):
        section = values.get(key)
        if isinstance(section, dict) and "type" not in section:
            values = {**values, key: {"type": usual, **section}}
    return values


def check_config(values: dict[str, Any], where: str = "config") -> RunConfig:
    """The values as a `RunConfig`; all that is wrong in one line."""
    return checked(RunConfig, with_types(values), where)


def apply_change(values: dict[str, Any], change: str) -> None:
    """Put `a.b=value` into nested values.

    Raises:
        HfalError: it is not written so.
    """
    key, equals, text = change.partition("=")
    if not equals or not key.strip():
        raise HfalError(f"--set {change!r}: expected key=value, as in --set budget.rows=500")
    try:
        value = read_yaml(text)
    except yaml.YAMLError:
        raise HfalError(f"--set {change!r}: {text!r} is not a YAML value") from None
    try:
        put(values, key.strip(), value)
    except HfalError as error:
        raise HfalError(f"--set {change!r}: {error}") from None


def put(values: dict[str, Any], key: str, value: Any) -> None:
    """Put a value where `a.b` says.

    Raises:
        HfalError: `a` holds a value, not a section.
    """
    *parents, last = key.split(".")
    at = values
    for parent in parents:
        at = at.setdefault(parent, {})
        if not isinstance(at, dict):
            raise HfalError(f"{parent} is a value, not a section")
    at[last] = value
