import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from hfal import HfalError, TextClassification, inference
from hfal.inference import plan_batches, reducer, run_pass, token_budget
from hfal.signals import Needs
from hfal.tokens import KeyIndex, TokenCache, Tokens
from tests.conftest import NAMES, make_rows

TASK = TextClassification(label_names=NAMES)
CPU = torch.device("cpu")


@pytest.fixture
def cache(tiny_model):
    return TokenCache(AutoTokenizer.from_pretrained(tiny_model), TASK, 64)


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 200))
def test_batches_hold_every_row_once_within_the_budget(lengths, budget):
    lengths = np.array(lengths, dtype=np.int64)
    batches = plan_batches(lengths, budget)
    flat = np.concatenate(batches) if batches else np.empty(0)
    assert sorted(flat.tolist()) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or lengths[batch].max() * len(batch) <= budget


def test_tokens_equal_the_tokenizer_and_are_made_once(cache, rows):
    tokens = cache.get(rows)
    expected = cache.tokenizer(rows["text"][:])["input_ids"]
    assert [tokens.ids[a:b].tolist() for a, b in zip(tokens.offsets, tokens.offsets[1:], strict=False)] == expected
    order = np.random.default_rng(0).permutation(len(rows))
    cache.tokenizer = None  # from here on only what is kept can serve
    again = cache.get(rows.select(order))
    assert again.lengths.tolist() == tokens.lengths[order].tolist()
    assert again.take(np.argsort(order)).ids.tolist() == tokens.ids.tolist()


def test_padding_is_on_the_side_asked_for():
    tokens = Tokens(np.array([5, 6, 7, 8], np.int32), np.array([0, 1, 4]), np.array([0, 0, 1, 1], np.int8))
    right = tokens.pad(np.array([0, 1]), 9)
    assert right["input_ids"].tolist() == [[5, 9, 9], [6, 7, 8]]
    assert right["attention_mask"].tolist() == [[1, 0, 0], [1, 1, 1]]
    assert right["token_type_ids"].tolist() == [[0, 0, 0], [0, 1, 1]]
    assert tokens.pad(np.array([0, 1]), 9, "left")["input_ids"].tolist() == [[9, 9, 5], [6, 7, 8]]


def test_long_texts_are_cut_counted_and_told_once(cache, caplog):
    long = Dataset.from_dict({"text": ["the film " * 3000, "a", "was " * 100]})
    assert cache.get(long).lengths.tolist() == [64, 3, 64]
    cache.get(Dataset.from_dict({"text": ["and " * 100]}))
    assert caplog.text.count("longer than 64 tokens") == 1
    assert "2 texts longer than 64 tokens" in caplog.text


@given(st.lists(st.text(max_size=20), min_size=1, max_size=10))
@settings(max_examples=30, deadline=None)
def test_any_text_tokenizes_to_at_least_the_special_tokens(tiny_model, texts):
    texts = [(t.encode("utf-8", "ignore").decode() or "x") if t.strip() else "🙂" for t in texts]
    cache = TokenCache(AutoTokenizer.from_pretrained(tiny_model), TASK, 64)
    lengths = cache.get(Dataset.from_dict({"text": texts})).lengths
    assert len(lengths) == len(texts) and (lengths >= 2).all() and (lengths <= 64).all()


def forward(batch):
    """A model that can be checked by hand: the sum of the tokens, padding left out."""
    total = (batch["input_ids"] * batch["attention_mask"]).sum(1).float()
    return {"logits": torch.stack((total, -total), 1)}


@pytest.mark.parametrize("budget", [16, 64, 100_000])
def test_results_come_in_the_order_asked_whatever_the_batches(cache, rows, budget):
    tokens = cache.get(rows)
    found = run_pass(forward, tokens, pad_id=0, padding_side="right", budget=budget, device=CPU)["logits"]
    expected = [float(tokens.ids[a:b].sum()) for a, b in zip(tokens.offsets, tokens.offsets[1:], strict=False)]
    assert found[:, 0].tolist() == expected


def test_reductions_keep_one_number_a_row(cache, rows):
    needs = Needs(batch=frozenset({"logits"}), reduce={"first": lambda batch: batch.get("logits")[:, 0]})
    tokens = cache.get(rows)
    found = run_pass(
        forward, tokens, pad_id=0, padding_side="right", budget=64, device=CPU, finish=reducer(needs, TASK)
    )
    assert set(found) == {"reduce:first"}
    assert found["reduce:first"].shape == (120,)
    wrong = Needs(batch=frozenset({"logits"}), reduce={"both": lambda batch: batch.get("logits")})
    with pytest.raises(ValueError, match="a reduction must give"):
        run_pass(
            forward,
            tokens,
            pad_id=0,
            padding_side="right",
            budget=64,
            device=CPU,
            finish=reducer(wrong, TASK),
        )


def test_a_row_whose_output_is_not_finite_is_named(cache, rows):
    def broken(batch):
        logits = forward(batch)["logits"]
        longest = batch["attention_mask"].sum(1) == batch["attention_mask"].shape[1]
        return {"logits": torch.where(longest[:, None] & (longest.cumsum(0) == 1)[:, None], torch.nan, logits)}

    with pytest.raises(HfalError, match=r"logits for row \d+ .* not finite"):
        run_pass(broken, cache.get(rows), pad_id=0, padding_side="right", budget=64, device=CPU)


def test_large_results_are_mapped_files(cache, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(inference, "MAPPED_BYTES", 100)
    tokens = cache.get(rows)
    found = run_pass(
        forward, tokens, pad_id=0, padding_side="right", budget=64, device=CPU, scratch=tmp_path / "scratch"
    )["logits"]
    plain = run_pass(forward, tokens, pad_id=0, padding_side="right", budget=64, device=CPU)["logits"]
    torch.testing.assert_close(found, plain)
    assert list((tmp_path / "scratch").iterdir()) == []  # nameless: nothing to clean up


def test_the_token_budget_follows_the_memory(monkeypatch):
    assert 256 <= token_budget(384, CPU) <= inference.CPU_TOKENS
    assert token_budget(10**9, CPU) == 256
    for free in (2**30, 20 * 2**30):  # what is free changes from round to round: batches must not
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 24 * 2**30))
        assert token_budget(384, torch.device("cuda")) == 65_536
        assert token_budget(1024, torch.device("cuda")) == 24_576


def test_a_batch_that_memory_does_not_hold_is_halved(cache, rows):
    sizes = []

    def crowded(batch):
        size = len(batch["input_ids"])
        if size > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(size)
        return forward(batch)

    options = {"pad_id": 0, "padding_side": "right", "budget": 128, "device": CPU}
    found = run_pass(crowded, cache.get(rows), **options)["logits"]
    assert sum(sizes) == len(rows) and max(sizes) <= 3 and len(set(sizes)) > 1
    torch.testing.assert_close(found, run_pass(forward, cache.get(rows), **options)["logits"])

    def full(batch):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(HfalError, match=r"memory does not suffice for row \d+ .* lower learner.max_length"):
        run_pass(full, cache.get(rows), **options)


def test_key_index_finds_what_was_added():
    keys = np.frombuffer(np.random.default_rng(0).bytes(16 * 50), dtype="V16")
    index = KeyIndex()
    assert index.find(keys[:3]).tolist() == [-1, -1, -1]
    index.add(keys[:20])
    index.add(keys[20:40])
    assert index.find(keys[::-1]).tolist() == [-1] * 10 + list(range(39, -1, -1))


def test_a_pool_of_repeats_is_tokenized_once_each(cache):
    data = make_rows(10)
    twice = Dataset.from_dict({"text": data["text"][:] + data["text"][:]})
    tokens = cache.get(twice)
    assert tokens.lengths[:10].tolist() == tokens.lengths[10:].tolist()
    assert len(cache._tokens) == 10
