"""Questions about pictures, as learners read them."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForVisualQuestionAnswering

from hfal import FineTune, HfalError, TextClassification, TrainingConfig, VisualQuestionAnswering
from hfal.fusion import FusionClassifier
from hfal.learners import Fusion
from hfal.pool import labelled
from hfal.signals import Needs
from tests.pictures import make_questions, save_tiny_vilt

QUICK = TrainingConfig(
    num_train_epochs=1, min_steps=80, learning_rate=5e-3, per_device_train_batch_size=32, gradient_accumulation_steps=1
)
SHORT = QUICK.model_copy(update={"min_steps": 3})


@pytest.fixture(scope="module")
def task():
    return VisualQuestionAnswering().resolve(make_questions(60))


@pytest.fixture(scope="module")
def questions(task):
    return labelled(make_questions(160), task)


@pytest.fixture(scope="module")
def others(task):
    return labelled(make_questions(60, seed=1), task)


@pytest.fixture(scope="module")
def vilt(tmp_path_factory):
    return save_tiny_vilt(tmp_path_factory.mktemp("vilt"))


@pytest.fixture(scope="module")
def trained(tiny_model, task, questions):
    learner = Fusion(tiny_model, QUICK, image_size=24)
    learner.bind(task, seed=0)
    learner.fit(questions)
    return learner


def test_a_fusion_learns_what_needs_both_picture_and_question(trained, others):
    scores = trained.evaluate(others)
    assert scores["vqa_accuracy"] == scores["exact_match"] > 0.75  # blind to the picture at most about a half


def test_a_saved_fusion_comes_back_in_transformers(trained, others, task, tiny_model, tmp_path):
    trained.save(tmp_path)
    loaded = AutoModelForVisualQuestionAnswering.from_pretrained(tmp_path).eval()
    assert isinstance(loaded, FusionClassifier) and loaded.config.id2label[0] == task.names[0]
    part = others.select(range(8))
    read = trained._read(part)
    batch = trained.tokenizer(list(part["question"]), padding=True, return_tensors="pt")
    with torch.no_grad():
        pixels = loaded.pixel_values(trained.pixels.gather(read.pictures))
        logits = loaded(**batch, pixel_values=pixels).logits
    expected = trained.signals(part, Needs(pool={"logits"})).logits
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    again = Fusion(tiny_model, QUICK, image_size=24)
    again.bind(task, seed=0)
    again.load(tmp_path)
    torch.testing.assert_close(again.signals(part, Needs(pool={"logits"})).logits, expected)


def test_each_picture_goes_through_its_encoder_once_a_round(trained, others, monkeypatch):
    seen = []
    encode = FusionClassifier.image_features
    monkeypatch.setattr(
        FusionClassifier, "image_features", lambda self, pixels: seen.append(len(pixels)) or encode(self, pixels)
    )
    trained._use(trained.model)  # as after a fit
    trained.signals(others, Needs(pool={"logits", "mc_latent"}, mc_samples=10))
    trained.signals(others, Needs(pool={"embeddings"}))
    assert sum(seen) == 30  # two questions about each


def test_samples_are_of_one_thinned_head_for_all_rows(trained, others):
    needs = Needs(pool={"mc_logits", "mc_latent", "logits", "features"}, mc_samples=4)
    found = trained.signals(others, needs)
    assert found.mc_latent.shape[:2] == (4, 60) == found.mc_logits.shape[:2]
    torch.testing.assert_close(found.mc_latent.norm(dim=-1), torch.ones(4, 60))
    alone = trained.signals(others.select([7, 3]), needs)
    torch.testing.assert_close(alone.mc_latent, found.mc_latent[:, [7, 3]])
    assert found.mc_latent.std(0).sum() > 0
    plain = trained.model.latent(found.features)
    compact = trained._latent(found.features)
    assert compact.shape[1] < plain.shape[1] or compact.shape == plain.shape
    torch.testing.assert_close(compact @ compact.T, plain @ plain.T, atol=1e-4, rtol=1e-3)
    head = trained.model.classifier
    torch.testing.assert_close(found.features @ head.weight.T.detach() + head.bias.detach(), found.logits)


def test_the_latent_space_is_drawn_to_what_answers_mean(tiny_model, task, questions, others):
    def nearness(weight):
        learner = Fusion(tiny_model, QUICK, image_size=24, latent_weight=weight)
        learner.bind(task, seed=0)
        learner.fit(questions)
        read = learner._read(others)
        with torch.no_grad():
            fused = learner.model.fuse(learner.texts.gather(read.text), learner._pictures.gather(read.pictures))
        meant = learner._answers[[task.class_of(label) for label in others["labels"]]]
        return float((fused.latent * meant).sum(1).mean())

    assert nearness(1.0) > nearness(0.0) + 0.3


def test_before_any_label_questions_and_thumbnails_tell_rows_apart(tiny_model, task, questions):
    learner = Fusion(tiny_model, SHORT, image_size=24)
    learner.bind(task, seed=0)
    found = learner.signals(questions, Needs(pool={"embeddings"})).embeddings
    assert len({tuple(row) for row in found.numpy().round(5).tolist()}) == 160
    with pytest.raises(HfalError, match="before the first labels"):
        learner.signals(questions, Needs(pool={"logits"}))


def test_pixels_are_kept_on_disk_and_decoded_once(tiny_model, task, questions, tmp_path, monkeypatch):
    first = Fusion(tiny_model, SHORT, image_size=24)
    first.bind(task, 0, tmp_path)
    before = first.signals(questions, Needs(pool={"embeddings"})).embeddings
    monkeypatch.setattr("hfal.pixels.decode_all", lambda *_: pytest.fail("decoded again"))
    again = Fusion(tiny_model, SHORT, image_size=24)
    again.bind(task, 0, tmp_path)
    torch.testing.assert_close(again.signals(questions, Needs(pool={"embeddings"})).embeddings, before)
    assert isinstance(again.pixels._shards[0], np.memmap)


def test_a_frozen_image_encoder_stays_as_it_was(tiny_model, task, questions, tmp_path):
    from transformers import ResNetConfig, ResNetModel, ViTImageProcessorPil

    with torch.random.fork_rng():
        torch.manual_seed(0)
        ResNetModel(
            ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
        ).save_pretrained(tmp_path)
    ViTImageProcessorPil(image_mean=[0.4] * 3, image_std=[0.2] * 3).save_pretrained(tmp_path)
    learner = Fusion(tiny_model, SHORT, image_model=str(tmp_path), freeze_image=True, image_size=24)
    learner.bind(task, seed=0)
    before = {k: v.clone() for k, v in learner._model.image_encoder.state_dict().items()}
    learner.fit(questions)
    assert learner.model.config.image_mean == [0.4] * 3
    for name, value in learner.model.image_encoder.state_dict().items():
        torch.testing.assert_close(value, before[name])


@pytest.mark.parametrize(
    ("options", "bound", "message"),
    [
        ({"freeze_image": True}, None, "name a pretrained one"),
        ({}, TextClassification(label_names=["a", "b"]), "it does not do text_classification"),
        ({"image_model": "/nowhere/at/all"}, "task", "there is no folder"),
    ],
)
def test_what_a_fusion_cannot_do_is_told(options, bound, message, tiny_model, task):
    with pytest.raises(HfalError, match=message):
        Fusion(tiny_model, **options).bind(task if bound == "task" else bound, 0)


def test_other_looks_and_layers_are_refused(trained, others):
    with pytest.raises(HfalError, match="cannot give word_gradients"):
        trained.signals(others, Needs(pool={"word_gradients"}))
    with pytest.raises(HfalError, match="drops in its head only"):
        trained.signals(others, Needs(pool={"mc_logits"}, mc_samples=2, mc_layers="all"))


def test_a_model_of_transformers_learns_from_pictures(vilt, task, questions, others, tmp_path):
    config = TrainingConfig(num_train_epochs=15, learning_rate=3e-3, per_device_train_batch_size=16, min_steps=1)
    learner = FineTune(vilt, config)
    learner.bind(task, 0, tmp_path / "cache")
    embedded = learner.signals(others, Needs(pool={"embeddings"})).embeddings
    assert embedded.shape == (60, 32)
    learner.fit(questions)
    scores = learner.evaluate(others)
    assert scores["vqa_accuracy"] > 0.5
    needs = Needs(pool={"mc_latent", "mc_logits"}, mc_samples=3, mc_layers="all")
    found = learner.signals(others, needs)
    assert found.mc_latent.shape[:2] == (3, 60) and found.mc_latent.std(0).sum() > 0
    learner.save(tmp_path / "model")
    again = FineTune(vilt, config)
    again.bind(task, 0, tmp_path / "cache")
    again.load(tmp_path / "model")
    assert again.evaluate(others) == scores


def test_the_latent_layer_in_fewer_dimensions_has_the_same_geometry(tiny_model, task, questions):
    learner = Fusion(tiny_model, SHORT, image_size=24, width=8)
    learner.bind(task, seed=0)
    learner.fit(questions)
    hidden = torch.randn(20, 8)
    with torch.no_grad():
        compact, plain = learner.model.compact()(hidden), learner.model.latent(hidden)
    assert compact.shape == (20, 9) and plain.shape == (20, 32)
    torch.testing.assert_close(compact @ compact.T, plain @ plain.T, atol=1e-4, rtol=1e-3)
