"""What closer looks find, by hand and through both learners."""

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertConfig, BertForMaskedLM

from hfal import FineTune, FrozenHead, HfalError, TextClassification, TrainingConfig
from hfal.embeddings import EmbeddingStore
from hfal.looks import JUDGED, OVERSHOOT, Looks, _watched
from hfal.pool import labelled
from hfal.signals import Needs
from tests.conftest import NAMES

TASK = TextClassification(label_names=NAMES)
WORDS = frozenset({"word_gradients", "word_boundary"})


def needs(*fields):
    return Needs(pool=frozenset(fields))


@pytest.fixture(scope="module")
def learners(tiny_model, rows):
    found = {}
    train = labelled(rows.select(range(40)), TASK)
    for name, learner in (
        ("frozen", FrozenHead(tiny_model)),
        (
            "tuned",
            FineTune(tiny_model, TrainingConfig(num_train_epochs=1, min_steps=30, learning_rate=1e-3, max_cycles=1)),
        ),
    ):
        learner.bind(TASK, 0)
        learner.fit(train)
        found[name] = learner
    return found


def batch_of(learner, rows):
    tokenizer = AutoTokenizer.from_pretrained(learner.name)
    return dict(tokenizer(rows["text"][:], padding=True, return_tensors="pt")), tokenizer.all_special_ids


@pytest.mark.parametrize("kind", ["frozen", "tuned"])
def test_word_gradients_are_those_of_the_embedding_matrix(learners, rows, kind):
    learner, part = learners[kind], rows.select(range(40, 46))
    found = learner.signals(part, needs("word_gradients")).get("word_gradients")
    tokenizer = AutoTokenizer.from_pretrained(learner.name)
    model, matrix = learner.model.eval(), learner.model.get_input_embeddings().weight
    for row, text in enumerate(part["text"][:]):
        batch = tokenizer(text, return_tensors="pt")
        log_p = torch.log_softmax(model(**batch).logits[0], -1)
        each = torch.stack(
            [
                log_p[c].exp().detach() * torch.autograd.grad(-log_p[c], matrix, retain_graph=True)[0].norm(dim=1)
                for c in range(3)
            ]
        ).sum(0)
        words = [i for i in batch["input_ids"][0].unique().tolist() if i not in tokenizer.all_special_ids]
        assert float(found[row]) == pytest.approx(float(each[words].max()), rel=1e-3)


@pytest.mark.parametrize("kind", ["frozen", "tuned"])
def test_the_boundary_is_crossed_there_and_not_before(learners, rows, kind):
    learner = learners[kind]
    batch, special = batch_of(learner, rows.select(range(40, 60)))
    looks = Looks(learner.model, WORDS, special, False)
    seen = []

    def slopes(inputs, moved=None, inner=looks._slopes):
        seen.append(moved)
        return inner(inputs, moved)

    looks._slopes = slopes
    distance = looks._word_boundary(batch)
    label = learner.model(**batch).logits.argmax(-1)

    def predicted(moved):
        with torch.no_grad(), _watched(learner.model.get_input_embeddings(), moved):
            return learner.model(**batch).logits.argmax(-1)

    crossed = predicted(seen[-1]) != label
    assert float(crossed.float().mean()) > 0.9
    assert bool((predicted(seen[-1] * 0.7) == label)[crossed].float().mean() > 0.9)
    torch.testing.assert_close(
        distance[crossed], (seen[-1] / (1 + OVERSHOOT)).flatten(1).norm(dim=1)[crossed], rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize("kind", ["frozen", "tuned"])
def test_looks_do_not_depend_on_the_batch(learners, rows, kind):
    learner, part = learners[kind], rows.select(range(30))
    wanted = needs("word_gradients", "word_boundary", "hidden_states", "boundary", "logits")
    whole, one = learner.signals(part, wanted), learner.signals(part.select([7]), wanted)
    for name in ("word_gradients", "word_boundary", "boundary"):
        torch.testing.assert_close(whole.get(name)[7], one.get(name)[0], rtol=1e-3, atol=1e-4)
    assert whole.get("hidden_states").shape == (30, 3, 32)
    torch.testing.assert_close(whole.get("hidden_states")[7], one.get("hidden_states")[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["frozen", "tuned"])
def test_hidden_states_are_the_layers_pooled(learners, rows, kind):
    learner, part = learners[kind], rows.select(range(5))
    found = learner.signals(part, needs("hidden_states")).get("hidden_states")
    batch, _ = batch_of(learner, part)
    body = learner.model.base_model
    with torch.no_grad():
        states = body(**batch, output_hidden_states=True).hidden_states
    mask = batch["attention_mask"][..., None]
    expected = torch.stack([(state * mask).sum(1) / mask.sum(1) for state in states], 1)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_states_of_layers_are_kept_as_embeddings_are(tiny_model, rows, tmp_path, monkeypatch):
    def states():
        learner = FrozenHead(tiny_model)
        learner.bind(TASK, 0, tmp_path)
        return learner.signals(rows, needs("hidden_states", "embeddings"))

    first = states()
    monkeypatch.setattr(EmbeddingStore, "_embed", None)  # nothing is computed anew
    again = states()
    torch.testing.assert_close(first.get("hidden_states"), again.get("hidden_states"))
    torch.testing.assert_close(first.get("embeddings"), again.get("embeddings"))
    assert len(list((tmp_path / "embeddings").iterdir())) == 2


@pytest.fixture(scope="module")
def language_model(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlm")
    config = BertConfig.from_pretrained(tiny_model)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        BertForMaskedLM(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("make", [FrozenHead, FineTune])
def test_surprisal_is_the_loss_of_some_words_and_needs_no_label(language_model, rows, make):
    learner = make(language_model)
    learner.bind(TASK, 0)
    found = learner.signals(rows, needs("surprisal")).get("surprisal")
    assert found.shape == (120, 128)
    model, tokenizer = (
        AutoModelForMaskedLM.from_pretrained(language_model),
        AutoTokenizer.from_pretrained(language_model),
    )
    judged = total = 0
    for row, text in enumerate(rows["text"][:]):
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            losses = torch.nn.functional.cross_entropy(model(input_ids=ids).logits[0], ids[0], reduction="none")
        at = found[row].nonzero().flatten()
        torch.testing.assert_close(found[row, at], losses[at], rtol=1e-3, atol=1e-4)
        assert not set(at.tolist()) & {0, ids.shape[1] - 1} and (not len(at) or int(at.max()) < ids.shape[1])
        judged, total = judged + len(at), total + ids.shape[1] - 2
    assert judged / total == pytest.approx(JUDGED, abs=0.04)


def test_a_model_without_the_head_is_refused(tiny_model, rows):
    learner = FrozenHead(tiny_model)
    learner.bind(TASK, 0)
    with pytest.raises(HfalError, match="comes without a language-model head .* start with typiclust"):
        learner.signals(rows, needs("surprisal"))


def test_before_the_first_labels_gradients_are_refused(tiny_model, rows):
    learner = FineTune(tiny_model)
    learner.bind(TASK, 0)
    with pytest.raises(HfalError, match="typiclust, alps or random"):
        learner.signals(rows, needs("word_gradients"))
    assert len(learner.signals(rows.select(range(4)), needs("hidden_states")).get("hidden_states")) == 4


def test_several_labels_are_looked_at_too(tiny_model, rows):
    task = TextClassification(label_names=NAMES, multi_label=True)
    several = rows.map(lambda row: {"label": [row["label"]]}, features=None, remove_columns=["label"])
    learner = FineTune(tiny_model, TrainingConfig(num_train_epochs=1, min_steps=5))
    learner.bind(task, 0)
    learner.fit(labelled(several.select(range(30)), task))
    found = learner.signals(several.select(range(30, 40)), needs("word_gradients", "word_boundary", "boundary"))
    for name in ("word_gradients", "word_boundary", "boundary"):
        assert bool((found.get(name) > 0).all())
