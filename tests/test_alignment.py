import logging
import types

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from hfal import HfalError, TokenClassification
from hfal.alignment import UNSEEN, WordCache, unit_values
from hfal.learners import FineTune, FrozenHead
from hfal.signals import Needs
from tests.conftest import FILLER, TAGS, make_tagged

TASK = TokenClassification(label_names=TAGS, scheme="BIO")
ODD = [
    "",
    " ",
    "\u200b",
    "\u00ad",
    "🙂",
    "👩‍👩‍👧",
    "\U000e0041",
    "ﷺ",
    "a" * 90,
    "don't",
    "\u202e",
    "é",
    "\x00",
    "你好",
    "##a",
]
WORDS = st.one_of(st.sampled_from([*FILLER, *ODD]), st.text(max_size=8))
SENTENCES = st.lists(
    st.lists(WORDS, min_size=1, max_size=90).filter(lambda row: any(w.strip() for w in row)), min_size=1, max_size=4
)


def rows_of(sentences):
    return Dataset.from_dict({"tokens": sentences})


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.fixture(scope="module")
def bpe(tmp_path_factory):
    """A byte-level tokenizer: everything is seen, blanks before words matter."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: index for index, piece in enumerate(["<pad>", "<s>", "</s>", *alphabet])}
    core = Tokenizer(models.BPE(vocabulary, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    core.decoder = decoders.ByteLevel()
    core.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", model_max_length=64)


def first_pieces(cache, tokens, row):
    """What stands where each word of a row is said to be: (token id, or None), over the row's windows."""
    start = tokens.tokens.offsets[tokens.windows[row]]
    return [
        None if at == UNSEEN else int(tokens.tokens.ids[start + at])
        for at in tokens.at[tokens.words[row] : tokens.words[row + 1]]
    ]


@settings(max_examples=80)
@given(sentences=SENTENCES, length=st.sampled_from([10, 24, 64]), which=st.sampled_from(["tokenizer", "bpe"]))
def test_every_word_is_read_at_its_own_first_piece(sentences, length, which, request):
    tokenizer = request.getfixturevalue(which)
    cache = WordCache(tokenizer, TASK, length)
    tokens = cache._encode({"tokens": sentences})
    assert tokens.units.tolist() == [len(row) for row in sentences]
    assert tokens.tokens.lengths.max() <= length
    for row, words in enumerate(sentences):
        whole = tokenizer(words, is_split_into_words=True, add_special_tokens=False)
        expected = [None] * len(words)
        for piece, word in zip(whole["input_ids"], whole.word_ids(), strict=True):
            if word is not None and expected[word] is None:
                expected[word] = piece
        assert first_pieces(cache, tokens, row) == expected


@settings(max_examples=20)
@given(sentences=SENTENCES)
def test_there_are_as_many_predictions_as_words_whatever_the_text(sentences, tiny_model):
    for kind in (FrozenHead, FineTune):
        learner = kind(tiny_model)
        learner.bind(TASK, 0)
        learner._trained = True
        signals = learner.signals(rows_of(sentences), Needs(pool={"logits", "embeddings"}, units={"word"}))
        tags, sure = TASK.predict(signals.logits)
        assert [len(row) for row in tags] == [len(row) for row in sentences]
        assert np.isfinite(sure).all() and bool(torch.isfinite(signals.embeddings).all())
        unseen = (signals.logits.values.amax(-1) == 30).tolist()
        flat = [tag for row in tags for tag in row]
        words = [word for row in sentences for word in row]
        assert all(flat[i] == 0 and unseen[i] for i, word in enumerate(words) if not word)
        assert all(flat[i] == 0 for i, gone in enumerate(unseen) if gone)


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_padded_batch_says_where_the_words_are(tokenizer, side):
    rows = make_tagged(12)
    long = rows_of([["great"] * 150, *rows["tokens"][:]])
    cache = WordCache(tokenizer, TASK, 32)
    tokens = cache.get(long)
    order = np.array([5, 0, 3])
    batch = tokens.pad(order, 0, side)
    found = unit_values(batch["input_ids"][..., None], batch)[:, 0].tolist()
    expected = [piece for row in order for piece in first_pieces(cache, tokens, row)]
    assert found == expected
    assert batch["word_offsets"].tolist() == [0, *np.cumsum(tokens.units[order])]


def test_a_long_row_is_read_in_windows_with_context_on_both_sides(tokenizer, caplog):
    with caplog.at_level(logging.WARNING):
        tokens = WordCache(tokenizer, TASK, 32).get(rows_of([["great"] * 150, ["a"]]))
    assert "1 row longer than 32 tokens: read in overlapping windows" in caplog.text
    assert np.diff(tokens.windows).tolist() == [7, 1]
    lengths = tokens.tokens.lengths[:7]
    ends = np.cumsum(lengths)
    at = tokens.at[:150]
    window = np.searchsorted(ends, at, side="right")
    inside = at - (ends - lengths)[window]
    context = np.minimum(inside, lengths[window] - 1 - inside)
    assert (np.diff(at) > 0).all()  # words keep their order
    assert context[5:-5].min() >= 3


def test_windows_as_examples_hold_every_word_that_can_be_seen_once(tokenizer):
    tokens = WordCache(tokenizer, TASK, 32).get(rows_of([["great"] * 100, ["a", "", "the"]]))
    windows, seen, words = tokens.as_windows()
    assert seen.tolist() == [True] * 101 + [False, True]
    assert words[-1] == 102 == windows.units.sum()
    pieces = [
        int(windows.tokens.ids[windows.tokens.offsets[w] + at])
        for w in range(len(windows))
        for at in windows.at[windows.words[w] : windows.words[w + 1]]
    ]
    assert pieces[:100] == [tokenizer.convert_tokens_to_ids("great")] * 100
    assert len(windows) == len(words) - 1


def test_words_that_cannot_be_seen_are_told_once(tokenizer, caplog):
    cache = WordCache(tokenizer, TASK, 32)
    cache.get(rows_of([["a", ""], ["", "b", ""]]))
    cache.get(rows_of([["c", ""]]))
    assert caplog.text.count("words of which the tokenizer makes nothing: kept, and tagged O") == 1
    assert "3 words" in caplog.text


def test_a_slow_tokenizer_and_a_window_too_small_are_refused(tokenizer):
    with pytest.raises(HfalError, match="not a fast tokenizer, and only those tell which word"):
        WordCache(types.SimpleNamespace(is_fast=False), TASK, 64)
    with pytest.raises(HfalError, match="too few to read words in windows"):
        WordCache(tokenizer, TASK, 9)


def test_order_and_repeats_of_rows_do_not_change_their_tokens(tokenizer):
    rows = make_tagged(20)
    cache = WordCache(tokenizer, TASK, 16)
    straight = cache.get(rows)
    order = np.random.default_rng(0).integers(0, 20, 40)
    mixed = cache.get(rows.select(order))
    for here, there in enumerate(order):
        assert first_pieces(cache, mixed, here) == first_pieces(cache, straight, there)
