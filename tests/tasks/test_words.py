import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfal import HfalError
from hfal.tasks.words import spans_of, word_bounds, words_of


@given(st.text(max_size=60))
def test_words_cover_all_but_blanks_without_overlap(text):
    bounds = word_bounds(text)
    assert all(start < end for start, end in bounds)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(bounds))
    inside = {i for start, end in bounds for i in range(start, end)}
    assert all(text[i].isspace() for i in range(len(text)) if i not in inside)
    assert words_of(text) == [text[start:end] for start, end in bounds]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Obama's in Paris, again.", ["Obama", "'", "s", "in", "Paris", ",", "again", "."]),
        ("e\u0301te\u0301 👩‍👩‍👧 a_b 3.5", ["e\u0301te\u0301", "👩‍👩‍👧", "a_b", "3", ".", "5"]),
        ("我爱北京 OK", ["我", "爱", "北", "京", "OK"]),
        ("iPhone手机", ["iPhone", "手", "机"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("\u200b \t\n", ["\u200b"]),
        ("", []),
    ],
)
def test_words_are_what_people_call_words(text, words):
    assert words_of(text) == words


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 3)), max_size=4, unique_by=lambda pair: pair[0]))
def test_character_spans_become_spans_of_words(picks):
    words = [f"w{i}" for i in range(14)]
    text = "  ".join(words)
    where = [(text.index(word), text.index(word) + len(word)) for word in words]
    chosen, used = [], set()
    for first, size in picks:
        if not used & set(range(first, first + size)):
            used |= set(range(first, first + size))
            chosen.append((first, first + size, "x"))
    given_ = [{"start": where[a][0], "end": where[b - 1][1], "label": kind} for a, b, kind in chosen]
    assert spans_of(text, given_, "row 1") == sorted(chosen)


@pytest.mark.parametrize(
    ("entities", "problem"),
    [
        ([{"start": 0, "end": 3, "label": "x"}], r"entity 0 in row 7, 'Oba' \(0 to 3\), ends inside the word 'Obama'"),
        ([{"start": 2, "end": 5, "label": "x"}], "begins inside the word 'Obama'"),
        ([{"start": 0, "end": 99, "label": "x"}], "from 0 to 99, but the text has 14 characters"),
        ([{"start": 5, "end": 5, "label": "x"}], "from 5 to 5"),
        ([{"start": 5, "end": 6, "label": "x"}], "' ', holds no word"),
        ([{"start": 0, "label": "x"}], "entity 0 in row 7 has no end; expected start, end and label"),
        ([{"start": 0, "end": "5", "label": "x"}], "must be whole numbers"),
        (["Obama"], "expected start, end and label"),
        (
            [{"start": 0, "end": 8, "label": "x"}, {"start": 6, "end": 14, "label": "y"}],
            "row 7: entities x and y overlap at the word 'in'",
        ),
    ],
)
def test_a_wrong_span_is_named_with_its_word(entities, problem):
    with pytest.raises(HfalError, match=problem):
        spans_of("Obama in Paris", entities, "row 7")
