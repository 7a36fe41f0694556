"""Models that write answers to questions about pictures."""

import numpy as np
import pytest
import torch

from hfal import HfalError, TrainingConfig, VisualQuestionAnswering
from hfal.generating import token_logits
from hfal.learners import Generate
from hfal.pool import labelled
from hfal.signals import Needs
from tests.pictures import make_questions, save_tiny_llava
from tests.writing import save_tiny_writer

LONG = TrainingConfig(num_train_epochs=25, learning_rate=4e-3, per_device_train_batch_size=16, min_steps=1)


KNOWN = {"red": "great", "green": "awful", "blue": "okay", "yes": "happy", "no": "sad"}
"""Words that the tiny tokenizer has, for the answers."""


def asked(size, seed=0):
    rows = make_questions(size, seed)
    answers = [KNOWN[answer] for answer in rows["answers"]]
    return rows.remove_columns("answers").add_column("answers", answers)


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    return save_tiny_llava(tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="module")
def task():
    return VisualQuestionAnswering().resolve(asked(60))


@pytest.fixture(scope="module")
def others(task):
    return labelled(asked(40, seed=1), task)


def bound(llava, tiny_model, task, config=LONG):
    learner = Generate(llava, config, embedder=tiny_model, max_new_tokens=4, max_source_length=60)
    learner.bind(task, 0)
    return learner


@pytest.fixture(scope="module")
def trained(llava, tiny_model, task):
    learner = bound(llava, tiny_model, task)
    learner.fit(labelled(asked(160), task))
    return learner


def test_answers_are_written_and_scored_as_answers(trained, others, task):
    scores = trained.evaluate(others)
    assert scores["vqa_accuracy"] == scores["exact_match"] > 0.4
    found = trained.signals(others, Needs(pool={"texts"}))
    assert set(found.texts) & set(task.names)


def test_the_picture_is_read(trained, others):
    sources = trained._sources(others.select([0, 2]))
    swapped = trained._sources(others.select([0, 2]))
    object.__setattr__(swapped, "slots", swapped.slots[::-1].copy())
    targets = trained.writer.targets(["great", "great"])
    with torch.no_grad():
        one, _ = token_logits(trained.model, sources, targets, trained.writer, torch.device("cpu"))
        other, _ = token_logits(trained.model, swapped, targets, trained.writer, torch.device("cpu"))
    assert not torch.allclose(one, other)


def test_tokens_and_pixels_are_those_of_the_models_processor(trained, others):
    from PIL import Image

    from hfal.pictures import decode

    part = others.select(range(3))
    ours = trained._sources(part).padded(trained.tokenizer.pad_token_id)
    pictures = [decode(picture).resize((32, 32), Image.Resampling.BILINEAR) for picture in part["image"]]
    texts = [f"<image>\n{question}" for question in part["question"]]
    theirs = trained._reader.processor(images=pictures, text=texts, return_tensors="pt", padding=True)
    torch.testing.assert_close(ours["pixel_values"], theirs["pixel_values"], atol=1e-4, rtol=1e-4)
    for row in range(3):
        mine = ours["input_ids"][row][ours["attention_mask"][row] == 1].tolist()
        other = theirs["input_ids"][row][theirs["attention_mask"][row] == 1].tolist()
        assert mine == other[:-1]  # without the token that would end the text before the answer


def test_a_row_gets_the_same_answer_and_samples_alone(trained, others):
    needs = Needs(pool={"texts", "samples", "mc_latent"}, mc_samples=3)
    whole, part = trained.signals(others, needs), trained.signals(others.select([9, 4]), needs)
    assert part.texts == [whole.texts[9], whole.texts[4]]
    assert part.samples == [whole.samples[9], whole.samples[4]]
    assert np.isfinite(whole.mc_latent.numpy()).all()


def test_a_saved_model_comes_back(trained, others, llava, tiny_model, task, tmp_path):
    trained.save(tmp_path)
    again = bound(llava, tiny_model, task)
    again.load(tmp_path)
    needs = Needs(pool={"texts"})
    assert again.signals(others, needs).texts == trained.signals(others, needs).texts


def test_a_model_of_texts_alone_is_refused(tiny_model, task, tmp_path):
    with pytest.raises(HfalError, match="no model that goes on after a picture|cannot load the model"):
        bound(save_tiny_writer(tmp_path, "llama"), tiny_model, task)
