"""Models that write texts."""

import numpy as np
import pytest
import torch
from datasets import Dataset

from hfal import Generation, HfalError, TextClassification, TrainingConfig
from hfal.generating import token_scores, write
from hfal.learners import Generate
from hfal.pool import labelled
from hfal.signals import Needs
from tests.writing import SAID, make_texts, save_tiny_writer

TASK = Generation()
LONG = TrainingConfig(num_train_epochs=30, learning_rate=5e-3, min_steps=1, per_device_train_batch_size=16)
SHORT = TrainingConfig(num_train_epochs=1, min_steps=4, learning_rate=1e-3)


@pytest.fixture(scope="module", params=["t5", "llama"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def writer(kind, tmp_path_factory):
    return save_tiny_writer(tmp_path_factory.mktemp(kind), kind)


@pytest.fixture(scope="module")
def rows():
    return labelled(make_texts(120), TASK)


@pytest.fixture(scope="module")
def others():
    return labelled(make_texts(40, seed=1), TASK)


def bound(model, tiny_model, config=SHORT, **options):
    learner = Generate(model, config, embedder=tiny_model, max_new_tokens=10, max_source_length=40, **options)
    learner.bind(TASK, seed=0)
    return learner


@pytest.fixture(scope="module")
def trained(writer, tiny_model, rows):
    learner = bound(writer, tiny_model, LONG)
    learner.fit(rows)
    return learner


def test_a_writer_learns_what_to_write_and_when_to_stop(trained, others):
    scores = trained.evaluate(others)
    assert scores["exact_match"] > 0.6 and scores["rouge_l"] > scores["exact_match"] - 1e-9
    written = trained.signals(others, Needs(pool={"texts"})).texts
    assert set(written) & set(SAID.values())


def test_a_saved_writer_comes_back(trained, others, writer, tiny_model, tmp_path):
    trained.save(tmp_path)
    again = bound(writer, tiny_model)
    again.load(tmp_path)
    needs = Needs(pool={"texts", "token_log_probs"})
    before, after = trained.signals(others, needs), again.signals(others, needs)
    assert before.texts == after.texts
    torch.testing.assert_close(before.token_log_probs.values, after.token_log_probs.values)


def test_in_half_precision_too_a_saved_writer_is_the_one_that_was_trained(rows, others, writer, tiny_model, tmp_path):
    config = SHORT.model_copy(update={"mixed_precision": "bf16"})
    learner, again = (bound(writer, tiny_model, config) for _ in range(2))
    learner.fit(rows.select(range(40)))
    learner.save(tmp_path)
    again.load(tmp_path)
    needs = Needs(pool={"texts", "token_log_probs", "samples"}, mc_samples=2)
    before, after = learner.signals(others, needs), again.signals(others, needs)
    assert (before.texts, before.samples) == (after.texts, after.samples)
    assert torch.equal(before.token_log_probs.values, after.token_log_probs.values)
    plain = bound(writer, tiny_model)
    plain.load(tmp_path)
    full = plain.signals(others, needs)
    assert before.token_log_probs.values.tolist() != full.token_log_probs.values.tolist()


def test_what_a_row_gets_does_not_depend_on_its_neighbours(trained, others):
    needs = Needs(pool={"texts", "samples", "mc_latent", "token_entropies"}, mc_samples=4)
    whole = trained.signals(others, needs)
    part = trained.signals(others.select([11, 3]), needs)
    assert part.texts == [whole.texts[11], whole.texts[3]]
    assert part.samples == [whole.samples[11], whole.samples[3]]
    torch.testing.assert_close(part.mc_latent, whole.mc_latent[:, [11, 3]], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(part.token_entropies[0], whole.token_entropies[11], atol=1e-4, rtol=1e-3)


def test_token_scores_equal_a_forward_by_hand(trained, others):
    sources = trained.writer.sources(others["source"][:1])
    (text,) = (row[0] for row in write(trained.model, sources, trained.writer, torch.device("cpu")))
    log_p, entropy = token_scores(trained.model, sources, [text], trained.writer, torch.device("cpu"))
    read, said = torch.from_numpy(sources.ids.astype(np.int64)), torch.from_numpy(text.ids.astype(np.int64))
    with torch.no_grad():
        if trained.writer.decoder_only:
            logits = trained.model(input_ids=torch.cat((read, said))[None]).logits[0, len(read) - 1 : -1]
        else:
            start = torch.cat((torch.zeros(1, dtype=torch.int64), said[:-1]))
            logits = trained.model(input_ids=read[None], decoder_input_ids=start[None]).logits[0]
    p = torch.log_softmax(logits.float(), -1)
    torch.testing.assert_close(log_p.values, p[torch.arange(len(said)), said], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(entropy.values, -(p.exp() * p).sum(-1), atol=1e-5, rtol=1e-4)
    assert int(said[-1]) == trained.writer.end  # greedy: each token is the likeliest where it stands
    assert (p.argmax(-1) == said).all()


def test_samples_are_drawn_from_the_models_distribution(writer, tiny_model, rows):
    """Of many samples of one row, the first token is as often each as the model says."""
    learner = bound(writer, tiny_model)
    learner.fit(rows.select(range(8)))
    learner.writer.max_new_tokens = 1
    sources = learner.writer.sources(rows["source"][:1])
    drawn = write(
        learner.model, sources, learner.writer, torch.device("cpu"), keys=[b"row"], samples=3000, sample_by="sampling"
    )[0]
    first = (
        torch.bincount(torch.tensor([int(text.ids[0]) for text in drawn]), minlength=learner.model.config.vocab_size)
        / 3000
    )
    read = torch.from_numpy(sources.ids.astype(np.int64))[None]
    with torch.no_grad():
        more = {} if learner.writer.decoder_only else {"decoder_input_ids": torch.zeros(1, 1, dtype=torch.int64)}
        p = torch.softmax(learner.model(input_ids=read, **more).logits[0, -1], -1)
    assert float((first - p).abs().sum()) < 0.15


@pytest.mark.parametrize("how", ["sampling", "dropout", "beams"])
def test_samples_of_each_kind_are_as_many_as_asked(how, trained, others):
    needs = Needs(pool={"samples", "mc_latent"}, mc_samples=3, sample_by=how)
    found = trained.signals(others.select(range(6)), needs)
    assert [len(row) for row in found.samples] == [3] * 6 and found.mc_latent.shape[:2] == (3, 6)
    if how == "beams":
        assert all(len(set(row)) > 1 for row in found.samples)


def test_texts_are_bounded_and_sources_cut_and_told(writer, tiny_model, caplog):
    learner = bound(writer, tiny_model)
    long = Dataset.from_dict({"source": ["the film " * 3000, "a phone"], "labels": [["sad"], ["happy"]]})
    learner.fit(long)
    found = learner.signals(long, Needs(pool={"texts", "token_log_probs"}))
    assert int(found.token_log_probs.lengths.max()) <= 10
    assert "1 source longer than" in caplog.text


def test_a_target_longer_than_the_bound_is_cut_with_its_end(writer, tiny_model):
    learner = bound(writer, tiny_model)
    tokens = learner.writer.targets(["sad " * 50])
    assert len(tokens.ids) == 10 and int(tokens.ids[-1]) == learner.writer.end


def test_what_stands_around_the_source_is_never_cut(writer, tiny_model):
    learner = bound(writer, tiny_model, prompt="the {source} is")
    tokens = learner.writer.sources(["film " * 100])
    words = learner.tokenizer.convert_ids_to_tokens(tokens.ids)
    inner = [word for word in words if word not in ("[CLS]", "[SEP]")]
    assert len(words) == 40 and inner[0] == "the" and inner[-1] == "is" and set(inner[1:-1]) == {"film"}


def test_before_training_sources_can_be_embedded(writer, tiny_model, others):
    learner = bound(writer, tiny_model)
    assert learner.signals(others, Needs(pool={"embeddings"})).embeddings.shape == (40, 32)
    with pytest.raises(HfalError, match="before the first labels"):
        learner.signals(others, Needs(pool={"texts"}))


def test_adapters_are_trained_and_saved_alone(writer, kind, tiny_model, rows, others, tmp_path):
    pytest.importorskip("peft")
    names = ["q", "v"] if kind == "t5" else ["q_proj", "v_proj"]
    learner = bound(writer, tiny_model, LONG, lora={"r": 4, "target_modules": names})
    learner.fit(rows)
    assert sum(p.numel() for p in learner.model.parameters() if p.requires_grad) < 4000
    learner.save(tmp_path)
    assert (tmp_path / "adapter_model.safetensors").exists() and not (tmp_path / "model.safetensors").exists()
    again = bound(writer, tiny_model, LONG, lora={"r": 4, "target_modules": names})
    again.load(tmp_path)
    needs = Needs(pool={"texts"})
    assert again.signals(others, needs).texts == learner.signals(others, needs).texts


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": "no place"}, 'must hold "{source}" once'),
        ({"lora": {"rank": 3}}, "learner.lora"),
        ({"lora": {"target_modules": ["nothing"]}}, "learner.lora"),
    ],
)
def test_impossible_settings_are_told(options, message, writer, tiny_model):
    with pytest.raises(HfalError, match=message):
        bound(writer, tiny_model, **options)


def test_no_room_for_the_source_is_told(writer, kind, tiny_model):
    learner = Generate(writer, SHORT, embedder=tiny_model, max_new_tokens=60)
    if kind == "t5":
        learner.bind(TASK, 0)  # its encoder has all its room
        return
    with pytest.raises(HfalError, match="leaves 4 tokens for the source"):
        learner.bind(TASK, 0)


def test_other_tasks_and_fields_are_refused(writer, tiny_model, trained, others):
    with pytest.raises(HfalError, match="it does not do text_classification"):
        Generate(writer).bind(TextClassification(label_names=["a", "b"]), 0)
    with pytest.raises(HfalError, match="generate cannot give logits"):
        trained.signals(others, Needs(pool={"logits"}))
