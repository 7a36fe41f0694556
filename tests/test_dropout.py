import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from hfal.dropout import ConsistentDropout, dropout_mask, dropout_on
from hfal.probe import Probe
from hfal.signals import Needs
from tests.conftest import make_rows


@pytest.fixture(scope="module")
def model(tiny_model):
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=3)
    model.classifier.weight.data *= 20
    return model.eval()


@pytest.fixture(scope="module")
def batch(tiny_model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    return dict(tokenizer(make_rows(12)["text"][:], padding=True, return_tensors="pt"))


def probe(model, **needs):
    import contextlib

    return Probe(
        model,
        Needs(pool=frozenset({"mc_logits", "logits"}), **needs),
        pooling="mean",
        seed=3,
        precision=contextlib.nullcontext,
    )


@pytest.mark.parametrize("layers", ["head", "all"])
def test_samples_do_not_depend_on_batching(model, batch, layers):
    run = probe(model, mc_samples=4, mc_layers=layers)
    together = run(batch)["mc_logits"]
    assert together.shape == (12, 4, 3)
    for row in (0, 7):
        width = int(batch["attention_mask"][row].sum())
        alone = {name: value[row : row + 1, :width] for name, value in batch.items()}
        torch.testing.assert_close(run(alone)["mc_logits"][0], together[row], atol=1e-5, rtol=1e-4)
    assert together.std(1).min() > 0  # the samples do differ


def test_head_samples_run_the_encoder_once(model, batch):
    calls = []
    handle = model.base_model.encoder.register_forward_hook(lambda *_: calls.append(1))
    try:
        probe(model, mc_samples=10)(batch)
        assert len(calls) == 1
        probe(model, mc_samples=10, mc_layers="all")(batch)
        assert len(calls) == 12
    finally:
        handle.remove()


def test_dropout_is_off_again_and_normalisation_was_never_on(model, batch):
    before = model(**batch).logits
    seen = []
    norm = model.base_model.encoder.layer[0].output.LayerNorm
    handle = norm.register_forward_hook(lambda module, *_: seen.append(module.training))
    logits = probe(model, mc_samples=2, mc_layers="all")(batch)["logits"]
    handle.remove()
    assert seen == [False] * 3
    torch.testing.assert_close(logits, before)
    assert not any(module.training for module in model.modules())
    assert "forward" not in vars(model.base_model)


def test_attention_dropout_is_included(model, batch):
    import contextlib

    only_attention = AutoModelForSequenceClassification.from_pretrained(model.name_or_path, num_labels=3).eval()
    only_attention.load_state_dict(model.state_dict())
    for name, module in only_attention.named_modules():
        if isinstance(module, nn.Dropout) and "attention.self" not in name:
            module.p = 0.0
    for module in only_attention.modules():
        if isinstance(module, nn.Dropout) and module.p:
            module.p = 0.4
    needs = Needs(pool=frozenset({"mc_logits"}), mc_samples=5, mc_layers="all")
    samples = Probe(only_attention, needs, pooling="mean", seed=0, precision=contextlib.nullcontext)(batch)["mc_logits"]
    assert samples.std(1).max() > 0


def test_masks_keep_the_expectation_and_depend_on_sample_layer_and_seed():
    mask = dropout_mask((20_000,), 0.25, 0, 0, 1)
    assert mask.mean() == pytest.approx(1, abs=0.02)
    assert sorted(set(mask.tolist())) == pytest.approx([0.0, 4 / 3])
    for other in (dropout_mask((20_000,), 0.25, *parts) for parts in ((1, 0, 1), (0, 1, 1), (0, 0, 2))):
        assert not torch.equal(mask, other)


def test_a_wider_batch_has_the_same_mask_for_the_same_key():
    wide, narrow = (dropout_mask((keys, 12), 0.3, 5, 2, 7) for keys in (50, 20))
    assert torch.equal(wide[:20], narrow)


def test_one_mask_serves_all_rows_and_positions():
    layer = nn.Dropout(0.5)
    model = nn.Sequential(layer)
    with dropout_on(model), ConsistentDropout(seed=0, sample=0):
        out = model(torch.ones(4, 6, 8))
    assert torch.equal(out, out[:1, :1].expand_as(out))
    assert not layer.training or model.training
