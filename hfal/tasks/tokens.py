"""Tagging of words: named entities under a scheme, or tags without one, as parts of speech."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from datasets import ClassLabel, Dataset
from numpy.typing import NDArray
from torch import Tensor

from hfal.errors import HfalError, listing, nearest
from hfal.functional import Legal, Ragged, viterbi
from hfal.tasks.base import Batch
from hfal.tasks.labels import check_columns, check_names, index_of, names_in
from hfal.tasks.schemes import (
    OUTSIDE,
    check_scheme,
    legal_of,
    recognise,
    spans,
    tags_for,
    tags_of,
    types_of,
)
from hfal.tasks.scores import class_scores, from_counts
from hfal.tasks.words import spans_of, word_bounds, words_of

logger = logging.getLogger("hfal")

NO_SCHEME = "none"
LOOK_AT = 20_000
"""Rows that are looked at to tell BIO from IOB1."""


@dataclass(frozen=True)
class TokenClassification:
    """Every word of a row has one of C tags.

    Rows are lists of words with a tag each, or raw text with character spans.

    Args:
        tokens: column of the word lists.
        tags: column of their tags, where the data has them: names, indices, or `ClassLabel`.
        scheme: "BIO", "IOB1", "IOBES" or "BILOU", "none" for tags that spell no entities, or "auto": recognised
            from the tags (BIO for raw text).
        label_names: the tags in the order of the model's outputs; for raw text the entity types. Taken from
            the column where they are not given.
        text: column of raw texts, in place of `tokens`.
        entities: column of their entities, `[{"start", "end", "label"}, …]` in characters.
        illegal: what to do with a sequence that the scheme forbids, as I- without B-: "refuse", or "repair"
            it as conlleval reads it.
        constrained: decode legal sequences only (Viterbi); without it each word gets its likeliest tag.
    """

    tokens: str = "tokens"
    tags: str = "ner_tags"
    scheme: str = "auto"
    label_names: Sequence[str] | None = None
    text: str | None = None
    entities: str = "entities"
    illegal: str = "refuse"
    constrained: bool = True

    name: ClassVar[str] = "token_classification"
    auto_model: ClassVar[str] = "AutoModelForTokenClassification"
    default_strategy: ClassVar[str] = "mnlp>kmeans(prefilter=10)"
    multi_label: ClassVar[bool] = False
    default_start: ClassVar[str] = "typiclust"
    asks: ClassVar[str] = "words"
    per_word: ClassVar[bool] = True
    embedded: ClassVar[str] = "words"
    output_fields: ClassVar[frozenset[str]] = frozenset({"logits"})
    yields: ClassVar[frozenset[str]] = frozenset({"word"})
    checks_row: ClassVar[bool] = True
    skips_empty: ClassVar[bool] = True
    arrow_label: ClassVar[pa.DataType] = pa.list_(pa.string())

    def __post_init__(self) -> None:
        if self.illegal not in ("refuse", "repair"):
            raise HfalError(f"illegal must be refuse or repair, got {self.illegal!r}")
        if self.label_names is None:
            if self.scheme not in ("auto", NO_SCHEME):
                check_scheme((), self.scheme)
            return
        names = check_names(self.label_names)
        if self.text is not None and OUTSIDE not in names:
            names = tags_for(names, "BIO" if self.scheme == "auto" else self.scheme)
        if len(names) < 2:
            raise HfalError(f"label_names: at least two tags are needed, got {listing(names) or 'none'}")
        if self.scheme not in ("auto", NO_SCHEME):
            check_scheme(names, self.scheme)
        object.__setattr__(self, "label_names", names)

    @property
    def label(self) -> str:
        """The column of tags, or of entities."""
        return self.tags if self.text is None else self.entities

    @property
    def inputs(self) -> tuple[str, ...]:
        """The column of words, or of text."""
        return (self.tokens if self.text is None else self.text,)

    @property
    def names(self) -> tuple[str, ...]:
        """The tags; an error before they are known."""
        if self.label_names is None:
            raise HfalError("the tags are not known yet: give label_names, or a data set with a column of tags")
        return tuple(self.label_names)

    @property
    def spells_entities(self) -> bool:
        """Whether the tags follow a scheme."""
        return self.scheme != NO_SCHEME

    @property
    def main_metric(self) -> str:
        """F1 of entities, or macro-F1 of tags."""
        return "f1" if self.spells_entities else "macro_f1"

    @property
    def classes(self) -> tuple[str, ...]:
        """Entity types, or tags."""
        return types_of(self.names) if self.spells_entities else self.names

    @cached_property
    def outside(self) -> int:
        """The tag of words that the model cannot see."""
        return self.names.index(OUTSIDE) if OUTSIDE in self.names else 0

    @cached_property
    def rules(self) -> Legal | None:
        """What the scheme allows."""
        return legal_of(self.names, self.scheme) if self.spells_entities else None

    @property
    def legal(self) -> Legal | None:
        """What decoding allows."""
        return self.rules if self.constrained else None

    def prepare(self, dataset: Dataset) -> Dataset:
        """The same rows."""
        return dataset

    def resolve(self, dataset: Dataset) -> TokenClassification:
        """Check the columns; find the tags and the scheme where they are not given."""
        check_columns(dataset, self.inputs)
        self._check_words(dataset)
        task = self
        there = self.label in dataset.column_names
        if self.label_names is None:
            if not there:
                raise HfalError(
                    f"the tags are not known: there is no column {self.label!r} to take them from; give "
                    f"label_names (columns: {listing(dataset.column_names)})"
                )
            task = replace(self, label_names=self._names_in(dataset))
        if task.scheme == "auto":
            rows = self._tags_in(dataset, task.names) if there and self.text is None else ()
            task = replace(task, scheme=recognise(task.names, rows))
            if self.label_names is None and task.spells_entities and not _class_label(dataset, self.label):
                task = replace(task, label_names=tags_for(types_of(task.names), task.scheme))
        return task

    def joined(self, other: TokenClassification, what: str) -> TokenClassification:
        """The same task with the tags that another part of the data has too."""
        if other.scheme != self.scheme:
            raise HfalError(
                f"the pool's tags follow scheme {self.scheme}, those of {what} {other.scheme}: state the scheme, or "
                "convert one of them"
            )
        new = [name for name in other.classes if name not in self.classes]
        if not new:
            return self
        logger.warning("%s: the pool has no row of %s: it is scored, but cannot be learned", what, listing(new))
        if not self.spells_entities:
            return replace(self, label_names=(*self.names, *new))
        return replace(self, label_names=(*self.names, *(tag for tag in tags_for(new, self.scheme) if tag != OUTSIDE)))

    def _check_words(self, dataset: Dataset) -> None:
        (column,) = self.inputs
        feature = dataset.features[column]
        inner = getattr(feature, "feature", None)
        kind = getattr(feature if self.text else inner, "dtype", None)
        if kind not in ("string", "large_string"):
            wanted = "text" if self.text else "lists of words"
            found = getattr(feature, "dtype", None) or f"lists of {getattr(inner, 'dtype', 'structures')}"
            raise HfalError(f"column {column!r} must hold {wanted}, but it holds {found}")

    def _names_in(self, dataset: Dataset) -> tuple[str, ...]:
        if self.text is None:
            names = names_in(dataset, self.tags)
            return names if _class_label(dataset, self.tags) else tuple(sorted(names, key=lambda n: n != OUTSIDE))
        types: set[str] = set()
        for batch in dataset.select_columns([self.entities]).iter(10_000):
            types.update(str(e["label"]) for row in batch[self.entities] for e in row or () if "label" in e)
        if not types:
            raise HfalError(f"column {self.entities!r} holds no entity with a label: give label_names")
        return tuple(sorted(types))

    def _tags_in(self, dataset: Dataset, names: tuple[str, ...]) -> Iterator[list[str]]:
        for tags in dataset.select(range(min(len(dataset), LOOK_AT)))[self.tags]:
            known = [tag for tag in tags or () if isinstance(tag, str) or 0 <= (tag or 0) < len(names)]
            yield [tag if isinstance(tag, str) else names[tag or 0] for tag in known]

    def words(self, batch: Batch) -> list[list[str]]:
        """The words of each row."""
        (column,) = self.inputs
        return [words_of(text) for text in batch[column]] if self.text else batch[column]

    def lengths(self, batch: Batch) -> list[int]:
        """Words of each row."""
        return [len(words) for words in self.words(batch)]

    def keys(self, batch: Batch) -> list[bytes]:
        """The words, or the text itself."""
        (column,) = self.inputs
        rows = batch[column] if self.text else (json.dumps(words) for words in batch[column])
        return [row.encode("utf-8", "surrogatepass") for row in rows]

    def empty(self, batch: Batch) -> list[str | None]:
        """Rows that are missing, have no word, or lack one."""
        (column,) = self.inputs
        problems = (_problem([row] if self.text and row else row) for row in batch[column])
        return [problem and f"column {column!r} {problem}" for problem in problems]

    def encode(self, label: Any, where: str, row: Mapping[str, Any] | None = None) -> list[int]:
        """Tags (names or indices), or entities, as a list of int; illegal sequences are refused or repaired.

        Raises:
            HfalError: an unknown tag, as many tags as words there are not, an illegal sequence; row and word
                are named.
        """
        if label is None or isinstance(label, (str, bytes)) or not isinstance(label, (Sequence, np.ndarray)):
            raise HfalError(f"label {label!r} in {where} is not a list of {'entities' if self.text else 'tags'}")
        words = None if row is None else self.words({name: [row[name]] for name in self.inputs})[0]
        if self.text is not None and row is not None and (not len(label) or isinstance(label[0], Mapping)):
            return self._from_entities(row[self.text], list(label), where)
        if words is not None and len(words) != len(label):
            raise HfalError(f"{where} has {len(words)} words but {len(label)} tags ({_excerpt(words)})")
        encoded = [
            index_of(tag, self.names, f"tag {tag!r} of {_word(words, at)} in {where}") for at, tag in enumerate(label)
        ]
        return self._lawful(encoded, words, where)

    def _from_entities(self, text: str, entities: Sequence[Any], where: str) -> list[int]:
        found = spans_of(text, entities, where)
        for _, _, kind in found:
            if kind not in self.classes:
                hint = nearest(kind, self.classes)
                raise HfalError(f"entity type {kind!r} in {where} is not one of {listing(self.classes)}{hint}")
        tags = tags_of(found, len(word_bounds(text)), self.scheme)
        return [self.names.index(tag) for tag in tags]

    def _lawful(self, encoded: list[int], words: Sequence[str] | None, where: str) -> list[int]:
        at = self._first_illegal(encoded)
        if at is None:
            return encoded
        tags = self.decode(encoded)
        if self.illegal == "repair":
            mended = tags_of(spans(tags), len(tags), self.scheme)
            return [self.names.index(tag) for tag in mended]
        stands = "at the end" if at == len(tags) else f"after {tags[at - 1]}" if at else "at the start"
        at = min(at, len(tags) - 1)
        raise HfalError(
            f"tag {tags[at]!r} of {_word(words, at)} in {where} may not stand {stands} in scheme "
            f"{self.scheme}; illegal: repair mends such tags"
        )

    @cached_property
    def _tables(self) -> tuple[list[bool], list[list[bool]], list[bool]] | None:
        """What the scheme allows as plain lists, which are quick to ask for one row."""
        rules = self.rules
        return None if rules is None else (rules.start.tolist(), rules.follow.tolist(), rules.end.tolist())

    def _first_illegal(self, encoded: Sequence[int]) -> int | None:
        """The first word whose tag may not stand where it stands; their number where the last may not be last."""
        if self._tables is None or not encoded:
            return None
        start, follow, end = self._tables
        if not start[encoded[0]]:
            return 0
        for at in range(1, len(encoded)):
            if not follow[encoded[at - 1]][encoded[at]]:
                return at
        return None if end[encoded[-1]] else len(encoded)

    def decode(self, encoded: Any) -> list[str]:
        """list of int -> list of tags."""
        return [self.names[index] for index in encoded]

    def present(self, row: Mapping[str, Any], encoded: Any) -> Any:
        """Tags, or for raw text its entities in characters, as `entities` holds them."""
        if self.text is None or not self.spells_entities:
            return self.decode(encoded)
        bounds = word_bounds(row[self.text])
        found = spans(self.decode(encoded))
        return [{"start": bounds[a][0], "end": bounds[b - 1][1], "label": kind} for a, b, kind in found]

    @property
    def arrow_prediction(self) -> pa.DataType:
        """The type of what `present` gives."""
        if self.text is None or not self.spells_entities:
            return self.arrow_label
        return pa.list_(pa.struct([("start", pa.int64()), ("end", pa.int64()), ("label", pa.string())]))

    def mentions(self, encoded: Any) -> list[str]:
        """The type of each entity, or each tag."""
        tags = self.decode(encoded)
        return [kind for _, _, kind in spans(tags)] if self.spells_entities else tags

    def targets(self, encoded: Sequence[Any]) -> Ragged:
        """Values [T] int64."""
        return Ragged.of([torch.tensor(row, dtype=torch.int64) for row in encoded])

    def loss(self, logits: Tensor, targets: Tensor, class_weights: Tensor | None, smoothing: float) -> Tensor:
        """[T] cross entropy of each word."""
        return torch.nn.functional.cross_entropy(
            logits, targets, weight=class_weights, label_smoothing=smoothing, reduction="none"
        )

    def predict(self, logits: Ragged) -> tuple[list[list[int]], NDArray[np.float32]]:
        """The likeliest (legal) tags of each row, and their probability per word (its geometric mean)."""
        tags, log_p = viterbi(logits, self.legal)
        per_word = torch.exp(log_p / logits.lengths.clamp_min(1))
        return [tags[row].tolist() for row in range(len(logits))], per_word.numpy().astype(np.float32)

    @property
    def tallied(self) -> str:
        """F1 of entities, or the accuracy of tags."""
        return "f1" if self.spells_entities else "accuracy"

    def tally(self, logits: Ragged, encoded: Sequence[Any]) -> NDArray[np.float64]:
        """Right entities of each row, and half of those predicted and true together; or right tags and words."""
        predicted, _ = self.predict(logits)
        if not self.spells_entities:
            pairs = zip(predicted, encoded, strict=True)
            return np.array([[np.equal(guess, true).sum(), len(true)] for guess, true in pairs], float)
        found = []
        for guess, true in zip(predicted, encoded, strict=True):
            a, b = self._entities([guess]), self._entities([true])
            found.append([len(a & b), (len(a) + len(b)) / 2])
        return np.array(found, float)

    def metrics(self, logits: Ragged, encoded: Sequence[Any]) -> dict[str, Any]:
        """Entities: micro `f1`, `precision`, `recall`, and `per_class` by type, an entity counting as right
        when words and type are. Tags: `accuracy` and `macro_f1` over words."""
        guesses, _ = self.predict(logits)
        if not self.spells_entities:
            true, guess = (np.concatenate([np.asarray(row) for row in rows]) for rows in (encoded, guesses))
            macro, table = class_scores(true, guess, self.names)
            return {"accuracy": float((true == guess).mean()), "macro_f1": macro, "per_class": table}
        there, guessed = (self._entities(rows) for rows in (encoded, guesses))
        right = there & guessed
        everything = from_counts(len(right), len(guessed), len(there))
        table = {
            kind: from_counts(*(sum(entity[-1] == kind for entity in part) for part in (right, guessed, there)))
            for kind in self.classes
        }
        return {name: everything[name] for name in ("f1", "precision", "recall")} | {"per_class": table}

    def absent(self, encoded: Sequence[Any]) -> str | None:
        """Entities, where there are none."""
        return None if not self.spells_entities or self._entities(encoded) else "entity"

    def _entities(self, rows: Sequence[Any]) -> set[tuple[int, int, int, str]]:
        outside = self.outside
        found: set[tuple[int, int, int, str]] = set()
        for number, row in enumerate(rows):
            if any(tag != outside for tag in row):
                found.update((number, *span) for span in spans(self.decode(row)))
        return found


def _problem(words: Any) -> str | None:
    if words is None:
        return "is missing (None)"
    if any(word is None for word in words):
        return f"has no word in place {list(words).index(None)} (None)"
    return None if any(word.strip() for word in words) else "has no words"


def _word(words: Sequence[str] | None, at: int) -> str:
    return f"word {at}" if words is None else f"word {at}, {words[at]!r},"


def _excerpt(words: Sequence[str]) -> str:
    return " ".join(words[:8]) + (" …" if len(words) > 8 else "")


def _class_label(dataset: Dataset, column: str) -> bool:
    feature = dataset.features[column]
    return isinstance(getattr(feature, "feature", feature), ClassLabel)
