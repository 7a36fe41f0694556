"""Small data and a tiny model made from a config: nothing is fetched."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, List, Value
from hypothesis import settings

os.environ.setdefault("ACCELERATE_USE_CPU", "true")  # numbers are held against others to the last bits
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
settings.register_profile("hfal", deadline=None)  # a busy machine is not a failure
settings.load_profile("hfal")

NAMES = ["bad", "fine", "good"]
WORDS = {
    "bad": ["awful", "terrible", "boring", "broken", "sad"],
    "fine": ["okay", "plain", "usual", "average", "normal"],
    "good": ["great", "lovely", "bright", "superb", "happy"],
}
FILLER = [
    "the",
    "film",
    "was",
    "a",
    "very",
    "and",
    "this",
    "phone",
    "seems",
    "quite",
    "really",
    "so",
    "it",
    "is",
]


def make_rows(size: int, seed: int = 0) -> Dataset:
    """Short texts whose label shows in one or two words; all distinct."""
    rng = np.random.default_rng(seed)
    texts, labels = [], []
    for row in range(size):
        label = int(rng.integers(3))
        words = [*list(rng.choice(FILLER, rng.integers(3, 12))), str(rng.choice(WORDS[NAMES[label]]))]
        rng.shuffle(words)
        texts.append(" ".join(words) + f" no{seed}x{row}")
        labels.append(label)
    features = Features({"text": Value("string"), "label": ClassLabel(names=NAMES)})
    return Dataset.from_dict({"text": texts, "label": labels}, features=features)


TAGS = ["O", "B-bad", "I-bad", "B-good", "I-good"]


def make_tagged(size: int, seed: int = 0) -> Dataset:
    """Word lists with one or two entities, which show in their words; all distinct."""
    rng = np.random.default_rng(seed)
    tokens, tags = [], []
    for row in range(size):
        words, labels = [f"n{seed}x{row}"], ["O"]
        for _ in range(rng.integers(1, 3)):
            filler = list(rng.choice(FILLER, rng.integers(1, 5)))
            kind = str(rng.choice(["bad", "good"]))
            entity = list(rng.choice(WORDS[kind], rng.integers(1, 3), replace=False))
            words += filler + entity
            labels += ["O"] * len(filler) + [f"B-{kind}"] + [f"I-{kind}"] * (len(entity) - 1)
        tokens.append([str(word) for word in words])
        tags.append(labels)
    features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=TAGS))})
    return Dataset.from_dict({"tokens": tokens, "ner_tags": tags}, features=features)


@pytest.fixture(scope="session")
def tagged() -> Dataset:
    return make_tagged(120)


@pytest.fixture(scope="session")
def tagged_test() -> Dataset:
    return make_tagged(60, seed=1)


@pytest.fixture(scope="session")
def rows() -> Dataset:
    return make_rows(120)


@pytest.fixture(scope="session")
def test_rows() -> Dataset:
    return make_rows(60, seed=1)


def save_tiny_model(folder: Path, *, pad_token: str | None = "[PAD]") -> Path:
    """A two-layer BERT with random weights and a word-level tokenizer of its own."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *FILLER, *(w for ws in WORDS.values() for w in ws)]
    vocabulary = {word: index for index, word in enumerate([*words, *"abcdefghijklmnopqrstuvwxyz0123456789"])}
    vocabulary.update({f"##{c}": len(vocabulary) + i for i, c in enumerate("abcdefghijklmnopqrstuvwxyz0123456789")})
    core = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        pad_token=pad_token,
        model_max_length=64,
    )
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_model(tmp_path_factory.mktemp("tiny")))


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)
