"""Models that label: an OpenAI-compatible endpoint, or a local model of transformers."""

from __future__ import annotations

import os
import re
import string
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import httpx

from hfal.errors import HfalError, listing
from hfal.pictures import is_picture
from hfal.tasks.base import Task

TRIES = 5
AT_ONCE = 8
"""Requests to an endpoint that are under way together."""
PATIENCE = 120.0
"""Seconds that an endpoint may take for an answer."""
PROMPTS = {
    "one": "Answer with one of these labels and nothing else: {labels}.\n\n{inputs}\n\nLabel:",
    "several": "Answer with those of these labels that fit, divided by commas, and nothing else: {labels}."
    "\n\n{inputs}\n\nLabels:",
    "answer": "{inputs}\n\nAnswer in a word or two:",
    "text": "{inputs}",
}
NONE = ("none", "no label", "-")


@dataclass(frozen=True)
class Said:
    """What a model answered, and what that cost."""

    text: str
    price: float | None = None


class TextModel(Protocol):
    """Answers prompts."""

    name: str

    def answer(self, prompts: Sequence[str]) -> list[Said]:
        """What it says to each."""
        ...


@dataclass
class Endpoint:
    """A chat endpoint that speaks as OpenAI's does (`POST URL/chat/completions`).

    Args:
        url: up to and with `/v1`.
        name: of the model.
        api_key_env: the variable that holds the key, if one is needed. The key itself is never kept or shown.
        system: said before each prompt.
        max_new_tokens: of an answer.
        prices: per million tokens, `{"input": …, "output": …}`.
    """

    url: str
    name: str
    api_key_env: str = "OPENAI_API_KEY"
    system: str | None = None
    max_new_tokens: int = 64
    prices: Mapping[str, float] = field(default_factory=dict)

    def answer(self, prompts: Sequence[str]) -> list[Said]:
        """One request for each prompt, some at once; a busy or failing endpoint is asked again, later each time.

        Raises:
            HfalError: it cannot be reached, refuses, or answers with something else.
        """
        key = os.environ.get(self.api_key_env)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        limits = httpx.Limits(max_connections=AT_ONCE)
        with (
            httpx.Client(timeout=PATIENCE, headers=headers, limits=limits) as client,
            ThreadPoolExecutor(AT_ONCE) as at,
        ):
            return list(at.map(partial(self._one, client), prompts))

    def _one(self, client: httpx.Client, prompt: str) -> Said:
        system = [{"role": "system", "content": self.system}] if self.system else []
        body = {
            "model": self.name,
            "messages": [*system, {"role": "user", "content": prompt}],
            "temperature": 0,
            "max_tokens": self.max_new_tokens,
        }
        found = self._post(client, body)
        try:
            text = found["choices"][0]["message"]["content"] or ""
            usage = found.get("usage") or {}
        except (KeyError, IndexError, TypeError, AttributeError):
            raise HfalError(f"annotator: {self.url} answered something that is no chat completion") from None
        return Said(str(text).strip(), self._price(usage))

    def _post(self, client: httpx.Client, body: dict[str, Any]) -> Any:
        problem = ""
        for turn in range(TRIES):
            if turn:
                time.sleep(min(2.0**turn, 20.0))
            try:
                answer = client.post(f"{self.url.rstrip('/')}/chat/completions", json=body)
            except httpx.TransportError as error:
                problem = type(error).__name__
                continue
            if answer.status_code == 429 or answer.status_code >= 500:
                problem = f"status {answer.status_code}"
                continue
            if answer.status_code >= 400:
                hint = f" (its key is read from {self.api_key_env})" if answer.status_code in (401, 403) else ""
                raise HfalError(f"annotator: {self.url} refuses model {self.name}: status {answer.status_code}{hint}")
            try:
                return answer.json()
            except ValueError:
                raise HfalError(f"annotator: {self.url} answered something that is not JSON") from None
        raise HfalError(
            f"annotator: {self.url} does not answer ({problem}, {TRIES} tries). What it said before is kept: run the "
            "same command again later"
        )

    def _price(self, usage: Mapping[str, Any]) -> float | None:
        if not self.prices:
            return None
        tokens = {"input": usage.get("prompt_tokens") or 0, "output": usage.get("completion_tokens") or 0}
        return sum(self.prices.get(kind, 0.0) * count for kind, count in tokens.items()) / 1e6


class LocalModel:
    """A model of transformers that is asked as it is, by its chat template where it has one.

    Args:
        name: a Hub name or a folder.
        system: said before each prompt.
        max_new_tokens: of an answer.
        trust_remote_code: run code that comes with the model.
    """

    def __init__(
        self, name: str, *, system: str | None = None, max_new_tokens: int = 64, trust_remote_code: bool = False
    ) -> None:
        self.name = name
        self.system = system
        self.max_new_tokens = max_new_tokens
        self.trust_remote_code = trust_remote_code
        self._loaded: Any = None

    def _ready(self) -> Any:
        if self._loaded is None:
            from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

            from hfal.generating import Writer
            from hfal.models import load_config_of, load_tokenizer, load_writer, max_length_of

            remote = self.trust_remote_code
            encoder_decoder = load_config_of(self.name, trust_remote_code=remote).is_encoder_decoder
            auto = AutoModelForSeq2SeqLM if encoder_decoder else AutoModelForCausalLM
            tokenizer = load_tokenizer(self.name, trust_remote_code=remote, pad_token=None, pads_with_end=True)
            model = load_writer(auto, self.name, trust_remote_code=remote)
            length = max_length_of(model, tokenizer, None) - (0 if encoder_decoder else self.max_new_tokens)
            writer = Writer(tokenizer, not encoder_decoder, "{source}", min(length, 4096), self.max_new_tokens)
            self._loaded = model, writer
        return self._loaded

    def answer(self, prompts: Sequence[str]) -> list[Said]:
        """What it says to each, the likeliest token each time."""
        from hfal.compute import state
        from hfal.generating import write

        model, writer = self._ready()
        asked = [self._framed(writer.tokenizer, prompt) for prompt in prompts]
        found = write(model.to(state().device), writer.sources(asked), writer, state().device)
        return [Said(writer.text(texts[0])) for texts in found]

    def _framed(self, tokenizer: Any, prompt: str) -> str:
        if not tokenizer.chat_template:
            return prompt if self.system is None else f"{self.system}\n\n{prompt}"
        system = [{"role": "system", "content": self.system}] if self.system else []
        messages = [*system, {"role": "user", "content": prompt}]
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


@dataclass(frozen=True)
class Annotator:
    """A model that labels rows of a task.

    Args:
        model: answers prompts.
        task: says what a label is.
        prompt: a template, with the task's input columns, "{inputs}" for all of them, and "{labels}"; a plain one
            where it is not given.
    """

    model: TextModel
    task: Task
    prompt: str | None = None

    def check(self) -> None:
        """Refuse, before anything is asked, a task or a template that cannot work."""
        if self.task.asks not in PROMPTS:
            raise HfalError(f"annotator: models label whole rows, not the words of {self.task.name}")
        try:
            names = [name for _, name, _, _ in string.Formatter().parse(self._template) if name is not None]
        except ValueError as error:
            raise HfalError(
                f"annotator.prompt is no template: {error}; double a brace that stands for itself"
            ) from None
        known = [*self.task.inputs, "inputs", "labels"]
        for name in names:
            if name not in known:
                raise HfalError(f"annotator.prompt: {{{name}}} is not one of {listing(known)}")

    @property
    def _template(self) -> str:
        return PROMPTS[self.task.asks] if self.prompt is None else self.prompt

    def ask(self, rows: Sequence[Mapping[str, Any]]) -> list[tuple[Any, Said]]:
        """A label for each row, as found in data, or None where the model gave none; and what it said.

        Raises:
            HfalError: a row holds a picture, which text models do not see.
        """
        said = self.model.answer([self._fill(row) for row in rows])
        return [(self._label(one.text), one) for one in said]

    def _fill(self, row: Mapping[str, Any]) -> str:
        columns = {name: row[name] for name in self.task.inputs}
        for name, value in columns.items():
            if is_picture(value):
                raise HfalError(f"annotator: column {name!r} holds pictures, which a model of texts does not see")
        single = len(columns) == 1
        inputs = "\n".join(str(v) if single else f"{name}: {v}" for name, v in columns.items())
        return self._template.format(**columns, inputs=inputs, labels=", ".join(self.task.names))

    def _label(self, text: str) -> Any:
        if self.task.asks in ("answer", "text"):
            return text.strip() or None
        if self.task.asks == "several":
            if text.strip().lower().rstrip(".") in NONE:
                return []
            found = [_named(part, self.task.names) for part in re.split(r"[,;\n]", text) if part.strip()]
            return None if not found or None in found else found
        return _named(text, self.task.names)


def _named(text: str, names: Sequence[str]) -> str | None:
    """The label that an answer names: it alone, or the only one that stands in it."""
    bare = text.strip().strip("\"'`*.:").lower()
    for name in names:
        if bare == name.lower():
            return name
    inside = [name for name in names if re.search(rf"(?<!\w){re.escape(name.lower())}(?!\w)", text.lower())]
    longest = [name for name in inside if not any(name != other and name.lower() in other.lower() for other in inside)]
    return longest[0] if len(longest) == 1 else None
