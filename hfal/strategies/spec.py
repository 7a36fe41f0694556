"""Spec strings: `margin`, `bald(mc_samples=50)`, `margin>kmeans(prefilter=10)`, `exploration(first=random, …)`.

    spec  := step ('>' step)*
    step  := name [ '(' name '=' value (',' name '=' value)* ')' ]
    value := number | true | false | 'text' | word | spec

An argument `prefilter=n` belongs to the `>` before its step: keep the best n x size rows of what stands on
the left, then choose among them.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

from hfal.errors import HfalError
from hfal.strategies.base import Strategy, entry, is_registered
from hfal.strategies.compose import DEFAULT_PREFILTER, Chain

_TOKEN = re.compile(
    r"\s*(?:(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<text>'[^']*'|\"[^\"]*\")|(?P<sign>[>(),=]))"
)


def parse(spec: str) -> Strategy:
    """The strategy that a spec string describes.

    Raises:
        HfalError: the string does not parse, or names a strategy or argument that does not exist.
    """
    parser = _Parser(spec)
    strategy = parser.spec()
    parser.end()
    return strategy


def make(strategy: str | Strategy) -> Strategy:
    """A strategy as it is, or the one that a spec string describes."""
    if isinstance(strategy, str):
        return parse(strategy)
    if isinstance(strategy, type) or not isinstance(strategy, Strategy):
        raise HfalError(f"a strategy is a spec string or an object with needs and select(); got {strategy!r}")
    return strategy


def takes_text(strategy: str, argument: str) -> bool:
    """Whether this argument of a strategy is a text, as in `mc_layers=all`."""
    if not is_registered(strategy):
        return False
    found = inspect.signature(entry(strategy).cls).parameters.get(argument)
    return found is not None and found.annotation in ("str", str)


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str, int]] = []
        self.next = 0
        position = 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if match is None:
                raise self.error(f"unexpected {text[position:].strip()[0]!r}", position)
            kind = str(match.lastgroup)
            self.tokens.append((kind, match.group(kind), match.start(kind)))
            position = match.end()

    def error(self, what: str, position: int | None = None) -> HfalError:
        where = len(self.text) if position is None else position
        return HfalError(f"strategy {self.text!r}: {what} at character {where + 1}")

    def peek(self) -> str:
        return self.tokens[self.next][1] if self.next < len(self.tokens) else ""

    def take(self, kind: str, what: str) -> str:
        if self.next >= len(self.tokens):
            raise self.error(f"expected {what}")
        found, value, position = self.tokens[self.next]
        if found != kind and value != kind:
            raise self.error(f"expected {what}, found {value!r}", position)
        self.next += 1
        return value

    def end(self) -> None:
        if self.next < len(self.tokens):
            _, value, position = self.tokens[self.next]
            raise self.error(f"expected '>' or the end, found {value!r}", position)

    def spec(self) -> Strategy:
        name, arguments = self.step()
        if "prefilter" in arguments:
            raise self.error("prefilter belongs to a step after '>'")
        strategy = entry(name).make(**arguments)
        while self.peek() == ">":
            self.take(">", "'>'")
            name, arguments = self.step()
            prefilter = arguments.pop("prefilter", DEFAULT_PREFILTER)
            strategy = Chain(strategy, entry(name).make(**arguments), prefilter)
        return strategy

    def step(self) -> tuple[str, dict[str, Any]]:
        name = self.take("name", "the name of a strategy")
        arguments: dict[str, Any] = {}
        if self.peek() == "(":
            self.take("(", "'('")
            while self.peek() != ")":
                key = self.take("name", "the name of an argument")
                if key in arguments:
                    raise self.error(f"{key!r} is given twice")
                self.take("=", "'='")
                arguments[key] = self.word() if takes_text(name, key) else self.value()
                if self.peek() != ")":
                    self.take(",", "',' or ')'")
            self.take(")", "')'")
        return name, arguments

    def word(self) -> Any:
        """A text, which needs no quotes where it is one word."""
        kind, value, _ = self.tokens[self.next] if self.next < len(self.tokens) else ("", "", 0)
        if kind != "name":
            return self.value()
        self.next += 1
        return value

    def value(self) -> Any:
        if self.next >= len(self.tokens):
            raise self.error("expected a value")
        kind, value, _ = self.tokens[self.next]
        if kind == "number":
            self.next += 1
            return int(value) if re.fullmatch(r"[-+]?\d+", value) else float(value)
        if kind == "text":
            self.next += 1
            return value[1:-1]
        if value in ("true", "false"):
            self.next += 1
            return value == "true"
        return self.spec()
