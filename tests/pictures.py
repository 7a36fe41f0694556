"""Pictures of coloured shapes, questions about them, and tiny models that read both."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, Features, Image, Value
from PIL import Image as Pil
from PIL import ImageDraw

from tests.conftest import save_tiny_model

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 30), "blue": (30, 30, 220)}


def as_bytes(picture: Pil.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def drawn(colour: str, side: int = 24, seed: int = 0) -> bytes:
    """A disc of this colour somewhere on grey."""
    rng = np.random.default_rng(seed)
    picture = Pil.new("RGB", (side, side), (200, 200, 200))
    x, y = rng.integers(0, side // 2, 2)
    ImageDraw.Draw(picture).ellipse((x, y, x + side // 2, y + side // 2), fill=COLOURS[colour])
    picture.putpixel((0, 0), (seed % 256, seed // 256 % 256, 7))  # no two files alike
    return as_bytes(picture)


def make_questions(size: int, seed: int = 0) -> Dataset:
    """Two questions about each picture: what colour it has, and whether it has one that is named."""
    rng = np.random.default_rng(seed)
    rows: dict[str, list] = {"image": [], "question": [], "answers": []}
    for number in range(size // 2):
        colour, other = (str(rng.choice(list(COLOURS))) for _ in range(2))
        picture = {"bytes": drawn(colour, seed=1000 * seed + number), "path": None}
        asked = [("which bright is it", colour), (f"is it {other}", "yes" if other == colour else "no")]
        for question, answer in asked:
            rows["image"].append(picture)
            rows["question"].append(question)
            rows["answers"].append(answer)
    features = Features({"image": Image(decode=False), "question": Value("string"), "answers": Value("string")})
    return Dataset.from_dict(rows, features=features)


def save_tiny_vilt(folder: Path) -> str:
    """A ViLT of two layers with random weights."""
    from transformers import ViltConfig, ViltImageProcessorPil, ViltModel

    save_tiny_model(folder)
    config = ViltConfig(
        vocab_size=200,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
        max_position_embeddings=40,
        hidden_dropout_prob=0.1,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ViltModel(config).save_pretrained(folder)
    ViltImageProcessorPil(size={"shortest_edge": 32}, size_divisor=8).save_pretrained(folder)
    return str(folder)


def save_tiny_llava(folder: Path) -> str:
    """A Llava of two layers for pictures and two for text, with random weights; [SEP] ends a text."""
    from transformers import (
        AutoTokenizer,
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    save_tiny_model(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.eos_token = "[SEP]"
    tokenizer.model_max_length = 128
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    end, image = (tokenizer.convert_tokens_to_ids(token) for token in ("[SEP]", "<image>"))
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = CLIPVisionConfig(**size, image_size=32, patch_size=8, projection_dim=32)
    words = max(tokenizer.get_vocab().values()) + 1
    text = LlamaConfig(**size, vocab_size=words, max_position_embeddings=128, eos_token_id=end, bos_token_id=2)
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=image, vision_feature_layer=-1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlavaForConditionalGeneration(config).save_pretrained(folder)
    images = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        image_token="<image>",
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    return str(folder)
