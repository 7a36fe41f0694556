import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.scheme import IOB1, IOB2, IOBES, Entities

from hfal import HfalError
from hfal.functional import Ragged
from hfal.tasks.schemes import check_scheme, legal_of, recognise, spans, tags_for, tags_of, types_of

SCHEMES = ["BIO", "IOB1", "IOBES", "BILOU"]


@st.composite
def entities(draw):
    """Spans of words that do not overlap, and how many words there are."""
    found, at = [], draw(st.integers(0, 2))
    for _ in range(draw(st.integers(0, 4))):
        end = at + draw(st.integers(1, 3))
        found.append((at, end, draw(st.sampled_from(["x", "y-z"]))))
        at = end + draw(st.integers(0, 2))
    return found, at + draw(st.integers(0, 2))


@pytest.mark.parametrize("scheme", SCHEMES)
@given(entities())
def test_entities_come_back_from_their_tags_and_are_legal(scheme, case):
    found, words = case
    tags = tags_of(found, words, scheme)
    assert spans(tags) == found
    names = tags_for(["x", "y-z"], scheme)
    assert set(tags) <= set(names)
    if words:
        import torch

        legal = legal_of(names, scheme)
        encoded = Ragged.of([torch.tensor([names.index(tag) for tag in tags])])
        assert not legal.violations(encoded).any()


@pytest.mark.parametrize(("scheme", "theirs"), [("BIO", IOB2), ("IOB1", IOB1), ("IOBES", IOBES)])
@given(entities())
def test_a_scheme_is_read_as_seqeval_reads_it_strictly(scheme, theirs, case):
    found, words = case
    tags = tags_of(found, words, scheme)
    strict = [entity.to_tuple()[1:] for row in Entities([tags], theirs).entities for entity in row]
    assert sorted((start, end, kind) for kind, start, end in strict) == found


@pytest.mark.parametrize("scheme", SCHEMES)
@given(entities=entities())
def test_schemes_are_told_apart(scheme, entities):
    every = [(0, 1, "x"), (1, 2, "x"), (3, 5, "y"), (6, 9, "x")]
    rows = [tags_of(every, 10, scheme), tags_of(entities[0], entities[1], scheme)]
    assert recognise(tags_for(["x", "y", "y-z"], scheme), rows) == scheme


def test_tags_that_spell_no_entities_have_no_scheme():
    assert recognise(["NOUN", "VERB", "X-Y"], []) == "none"
    assert recognise(["O", "person", "place"], []) == "none"
    assert recognise(["O", "I-x"], [["I-x"]]) == "IOB1"
    assert recognise(["O", "B-x", "I-x"], []) == "BIO"


def test_a_tag_outside_the_scheme_is_named():
    with pytest.raises(HfalError, match="tag 'S-x' is not one of scheme BIO"):
        check_scheme(["O", "B-x", "S-x"], "BIO")
    with pytest.raises(HfalError, match="scheme: 'IOB2' is not known"):
        check_scheme([], "IOB2")
    with pytest.raises(HfalError, match="tag 'person'"):
        check_scheme(["O", "person"], "BIO")


def test_types_keep_their_order_and_dashes():
    assert types_of(["O", "B-y-z", "I-y-z", "B-x"]) == ("y-z", "x")
