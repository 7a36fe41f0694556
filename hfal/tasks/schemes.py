"""Schemes of tags: which sequences are legal, and the entities that they spell.

BIO (IOB2) begins every entity with B-; IOB1 only where two of a type touch; IOBES (BIOES) marks ends and
single words too, BILOU is the same with other letters (Ramshaw and Marcus 1995; Ratinov and Roth 2009).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from hfal.errors import HfalError, listing, nearest
from hfal.functional import Legal

LETTERS = {"BIO": "BI", "IOB1": "IB", "IOBES": "BIES", "BILOU": "BILU"}
"""The prefixes of each scheme."""

OUTSIDE = "O"

Span = tuple[int, int, str]
"""First word, word after the last, type."""


def split(tag: str) -> tuple[str, str]:
    """`B-person` -> ("B", "person"); `O` -> ("O", "")."""
    prefix, dash, kind = tag.partition("-")
    return (prefix, kind) if dash and len(prefix) == 1 else (tag, "")


def types_of(names: Iterable[str]) -> tuple[str, ...]:
    """The entity types that tags speak of, in their order."""
    return tuple(dict.fromkeys(kind for kind in (split(name)[1] for name in names) if kind))


def tags_for(types: Iterable[str], scheme: str) -> tuple[str, ...]:
    """Every tag of a scheme over these types, O first."""
    return (OUTSIDE, *(f"{letter}-{kind}" for kind in types for letter in sorted(LETTERS[scheme])))


def spans(tags: Sequence[str]) -> list[Span]:
    """The entities that tags spell, read as conlleval and seqeval read them, illegal sequences too."""
    from seqeval.metrics.sequence_labeling import get_entities

    return [(first, last + 1, kind) for kind, first, last in get_entities([_plain(tag) for tag in tags])]


def _plain(tag: str) -> str:
    """BILOU's letters as those of IOBES, which seqeval knows."""
    return {"L": "E", "U": "S"}.get(tag[:1], tag[:1]) + tag[1:] if split(tag)[1] else tag


def tags_of(entities: Iterable[Span], words: int, scheme: str) -> list[str]:
    """Entities as tags of a scheme."""
    tags = [OUTSIDE] * words
    for first, end, kind in sorted(entities):
        inside, single = "I", end - first == 1
        letters = [inside] * (end - first)
        if scheme == "IOB1":
            touches = first > 0 and tags[first - 1] != OUTSIDE and split(tags[first - 1])[1] == kind
            letters[0] = "B" if touches else inside
        else:
            letters[0] = "B"
        if scheme in ("IOBES", "BILOU"):
            last, alone = ("E", "S") if scheme == "IOBES" else ("L", "U")
            letters[-1] = alone if single else last
        tags[first:end] = [f"{letter}-{kind}" for letter in letters]
    return tags


def legal_of(names: Sequence[str], scheme: str) -> Legal:
    """Which sequences of these tags the scheme allows."""
    parts = [split(name) for name in names]
    start = torch.tensor([_follows(OUTSIDE, "", *part, scheme) for part in parts])
    follow = torch.tensor([[_follows(*before, *after, scheme) for after in parts] for before in parts])
    end = torch.tensor([_follows(*part, OUTSIDE, "", scheme) for part in parts])
    return Legal(start, follow, end)


def _follows(before: str, kind_before: str, after: str, kind_after: str, scheme: str) -> bool:
    """Whether a tag may come right after another; O stands for both ends of the sentence."""
    same = kind_before == kind_after and kind_before != ""
    if scheme == "BIO":
        return after != "I" or same
    if scheme == "IOB1":
        return after != "B" or same
    begun = before in ("B", "I")  # an entity that is not ended yet
    continues = after in ("I", "E", "L")
    return same and continues if begun else not continues


def check_scheme(names: Sequence[str], scheme: str) -> None:
    """Every tag is O or a letter of the scheme with a type.

    Raises:
        HfalError: a tag is not, or there is no scheme of this name.
    """
    if scheme not in LETTERS:
        raise HfalError(
            f"scheme: {scheme!r} is not known{nearest(scheme, LETTERS)}; known: {listing([*LETTERS, 'none', 'auto'])}"
        )
    for name in names:
        letter, kind = split(name)
        if name != OUTSIDE and (not kind or letter not in LETTERS[scheme]):
            allowed = listing([OUTSIDE, *(f"{letter}-type" for letter in LETTERS[scheme])])
            raise HfalError(
                f"tag {name!r} is not one of scheme {scheme} ({allowed}); for tags without a scheme say none"
            )


def recognise(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The scheme of a data set, from its tags and, between BIO and IOB1, from how they are used; else "none"."""
    prefixes = {split(name)[0] for name in names if name != OUTSIDE and split(name)[1]}
    plain = [name for name in names if name != OUTSIDE and not split(name)[1]]
    if plain or not prefixes:
        return "none"
    for scheme in ("IOBES", "BILOU"):
        if prefixes <= set(LETTERS[scheme]) and prefixes - set("BI"):
            return scheme
    if not prefixes <= set("BI"):
        return "none"
    if "B" not in prefixes:
        return "IOB1"
    lone = 0  # I- that begins an entity: every entity in IOB1, none in BIO
    begun = 0  # B- that does: none in IOB1
    for tags in rows:
        before = OUTSIDE
        for tag in tags:
            (letter, kind), kind_before = split(tag), split(before)[1]
            if kind and kind != kind_before:
                lone += letter == "I"
                begun += letter == "B"
            before = tag
    return "IOB1" if lone > begun else "BIO"
