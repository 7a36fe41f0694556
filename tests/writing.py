"""Texts to be written for sources, and tiny models that write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from datasets import Dataset

from tests.conftest import FILLER, WORDS, save_tiny_model

SAID = {"good": "it is a happy phone", "bad": "it is a sad film", "fine": "quite usual"}


def make_texts(size: int, seed: int = 0) -> Dataset:
    """Sources with a word that decides what should be written; all distinct."""
    rng = np.random.default_rng(seed)
    sources, targets = [], []
    for row in range(size):
        kind = str(rng.choice(list(SAID)))
        words = [*map(str, rng.choice(FILLER, rng.integers(3, 12))), str(rng.choice(WORDS[kind]))]
        rng.shuffle(words)
        sources.append(" ".join(words) + f" no{seed}x{row}")
        targets.append(SAID[kind])
    return Dataset.from_dict({"source": sources, "target": targets})


def save_tiny_writer(folder: Path, kind: str) -> str:
    """A T5 or a Llama of two layers with random weights; [SEP] ends a text."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

    save_tiny_model(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.eos_token = "[SEP]"
    if kind == "llama":
        tokenizer.pad_token = None  # as many causal models
    size, end = max(tokenizer.get_vocab().values()) + 1, tokenizer.convert_tokens_to_ids("[SEP]")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "t5":
            config = T5Config(
                vocab_size=size,
                d_model=32,
                d_kv=16,
                d_ff=64,
                num_layers=2,
                num_heads=2,
                dropout_rate=0.1,
                pad_token_id=0,
                eos_token_id=end,
                decoder_start_token_id=0,
            )
            model = T5ForConditionalGeneration(config)
        else:
            config = LlamaConfig(
                vocab_size=size,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=2,
                max_position_embeddings=64,
                attention_dropout=0.1,
                bos_token_id=2,
                eos_token_id=end,
                pad_token_id=None,
            )
            model = LlamaForCausalLM(config)
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
