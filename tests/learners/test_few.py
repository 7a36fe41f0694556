"""Options of learners for few labels: each does what it says, and nothing where it is off."""

import json

import numpy as np
import pytest
import torch
import yaml
from transformers import AutoModel, AutoModelForMaskedLM

from hfal import ActiveLearner, FewLabels, FineTune, FrozenHead, HfalError, Pool, TextClassification, TrainingConfig
from hfal.consistency import SURE, ConsistentExamples
from hfal.examples import Examples
from hfal.frozen import train_upper
from hfal.learners.staged import grown
from hfal.learners.warm import MetaExamples, replayed
from hfal.output import _learning, _times
from hfal.pool import labelled
from hfal.signals import Needs
from tests.conftest import NAMES, make_rows
from tests.processes import run_here, run_on

TASK = TextClassification(label_names=NAMES)
LOGITS = Needs(pool=frozenset({"logits"}))
QUICK = TrainingConfig(num_train_epochs=1, min_steps=20, learning_rate=1e-3, max_cycles=1)
UNWEIGHTED = QUICK.model_copy(update={"class_weights": None})


def bound(learner, task=TASK, seed=0, cache=None):
    learner.bind(task, seed, cache)
    return learner


def logits(learner, rows):
    return learner.signals(rows, LOGITS).get("logits")


@pytest.fixture(scope="module")
def train(rows):
    return labelled(rows.select(range(40)), TASK)


@pytest.fixture(scope="module")
def others():
    return make_rows(200, seed=5).select_columns(["text"])


@pytest.mark.parametrize("by", ["mlm", "contrastive"])
def test_an_adapted_encoder_is_made_once_kept_and_used(by, tiny_model, train, rows, others, tmp_path):
    few = FewLabels(adapt=by)
    plain, read = bound(FrozenHead(tiny_model), cache=tmp_path), bound(FrozenHead(tiny_model, few=few), cache=tmp_path)
    found = read.read_pool(others)["adapted"]
    assert found["rows"] == 200 and found["steps"] == 4
    (place,) = tmp_path.glob("adapted-*")
    kept = AutoModel.from_pretrained(place).state_dict()
    assert all(torch.equal(kept[name], value) for name, value in read.store.model.encoder.state_dict().items())
    plain.fit(train), read.fit(train)
    assert not torch.allclose(logits(plain, rows), logits(read, rows), atol=1e-3)
    before = {path: path.stat().st_mtime_ns for path in place.iterdir()}
    again = bound(FineTune(tiny_model, QUICK, few=few), seed=3, cache=tmp_path)
    again.read_pool(others.select(range(199, -1, -1)))
    assert before == {path: path.stat().st_mtime_ns for path in place.iterdir()}, "another learner and order: the same"
    mine = {name: value for name, value in again.current.base_model.state_dict().items() if name in kept}
    assert mine and all(torch.equal(kept[name], value) for name, value in mine.items())
    read.save(tmp_path / "saved")
    other = bound(FrozenHead(tiny_model, few=few))
    other.load(tmp_path / "saved")
    torch.testing.assert_close(logits(other, rows), logits(read, rows))


def test_masked_language_modelling_lowers_the_loss_of_guessing(tiny_model, others, tmp_path):
    losses = []
    for epochs in (1, 12):
        few = FewLabels(adapt={"by": "mlm", "num_train_epochs": epochs, "learning_rate": 3e-3})
        losses.append(bound(FineTune(tiny_model, few=few), cache=tmp_path).read_pool(others)["adapted"]["loss"])
    assert losses[1] < 0.9 * losses[0], losses
    with_head = [
        AutoModelForMaskedLM.from_pretrained(p, output_loading_info=True)[1] for p in tmp_path.glob("adapted-*")
    ]
    assert not any(info["missing_keys"] for info in with_head), "the head that guesses is kept"


@pytest.mark.parametrize("kind", [FrozenHead, lambda model, few: FineTune(model, UNWEIGHTED, few=few)])
def test_pseudo_labels_are_the_surest_rows_and_count_for_less(kind, tiny_model, train, others):
    settings = {"threshold": 0.34, "fall": 0.0, "floor": 0.1, "ratio": 0.5, "weight": 1e-6}
    plain, taught = (
        bound(kind(tiny_model, few=FewLabels())),
        bound(kind(tiny_model, few=FewLabels(pseudo_labels=settings))),
    )
    assert taught.reads_unlabeled and not plain.reads_unlabeled
    plain.fit(train)
    report = taught.fit(train, unlabeled=others)
    known = np.bincount(train["labels"], minlength=3)
    assert 0 < report.details["pseudo_labels"] <= np.ceil(known / 2).sum()
    heavy = bound(kind(tiny_model, few=FewLabels(pseudo_labels=settings | {"weight": 1.0})))
    heavy.fit(train, unlabeled=others)
    assert not torch.allclose(logits(heavy, others), logits(taught, others), atol=1e-3)
    if kind is FrozenHead:
        torch.testing.assert_close(logits(plain, others), logits(taught, others), atol=1e-2, rtol=1e-2)


def test_pseudo_labels_never_become_labels(tiny_model, rows, tmp_path):
    learner = FrozenHead(tiny_model, few=FewLabels(pseudo_labels={"threshold": 0.34, "floor": 0.34}))
    pool = Pool.from_dataset(rows, TextClassification())
    rounds = ActiveLearner(pool, learner, "margin", budget=30, batch_size=15, output_dir=tmp_path).run()
    assert all(r.training["pseudo_labels"] > 0 for r in rounds) and len(pool.labeled) == 30
    told = "\n".join([*_learning(rounds), _times(rounds)])
    assert f"{rounds[-1].training['pseudo_labels']} rows that the model was sure of were learned too" in told
    assert "s in all rounds" in told


def test_where_the_model_is_sure_of_nothing_it_learns_the_labels_alone(tiny_model, rows):
    learner = FrozenHead(tiny_model, few=FewLabels(pseudo_labels={"threshold": 1.0, "floor": 1.0}))
    pool = Pool.from_dataset(rows, TextClassification())
    (done,) = ActiveLearner(pool, learner, "margin", budget=15, batch_size=15).run()
    assert done.training["pseudo_labels"] == 0


def test_labels_that_are_wrong_are_left_out(tiny_model, train, rows):
    """Wrong labels in a place that a head can tell: most are found, few right ones with them."""
    learner = bound(FrozenHead(tiny_model, few=FewLabels(clean_labels=True)))
    many = labelled(make_rows(200, seed=9), TASK)
    wrong = np.random.default_rng(0).choice(200, 20, replace=False)
    right = list(many["labels"])
    spoiled = many.remove_columns("labels").add_column(
        "labels", [(label + 1) % 3 if at in set(wrong.tolist()) else label for at, label in enumerate(right)]
    )
    from hfal.learners.staged import doubtful

    found = doubtful(learner.few.clean_labels, learner.task, 0, spoiled, learner._fit, learner._judge)
    assert len(set(found) & set(wrong)) >= 9 and len(found) <= 40  # of 20, where chance finds 4
    report = learner.fit(spoiled)
    assert report.details["labels_left_out"] == len(found)
    assert len(doubtful(learner.few.clean_labels, learner.task, 0, train.select(range(6)), None, None)) == 0


def test_unlabelled_rows_are_taught_where_the_model_is_sure(tiny_model, train, others):
    learner = bound(FineTune(tiny_model, QUICK))
    model = learner.current
    tokens, more = learner.tokens.get(train), learner.tokens.get(others)
    examples = ConsistentExamples(learner.tokenizer, tokens, TASK.targets(train["labels"]), more, 2.0)
    plain = Examples(tokens, TASK.targets(train["labels"]), learner.tokenizer.pad_token_id)
    rows = np.arange(8)
    with torch.no_grad():
        assert torch.allclose(
            *(e.losses(model, TASK, rows, torch.device("cpu")) for e in (examples, plain)), atol=1e-5
        ), "an unsure model is taught nothing"
        model.classifier.bias[1] += 10
        torch.manual_seed(0)
        drawn = len(train) + torch.randint(200, (8,)).numpy()
        batch = examples.everything.pad(drawn, examples.pad_id)
        sure = model(**batch).logits.softmax(1).max(1).values
        assert float(sure.min()) > SURE
        torch.manual_seed(0)
        beside = examples.losses(model, TASK, rows, torch.device("cpu")) - plain.losses(
            model, TASK, rows, torch.device("cpu")
        )
        assert float(beside.min()) > 0 and float(beside.max()) < 0.1
    assert bound(FineTune(tiny_model, TrainingConfig(consistency=1.0))).reads_unlabeled


def test_what_is_replayed_is_new_and_as_much_of_the_old():
    names = [f"r{i}" for i in range(20)]
    kept = replayed(names, frozenset(names[:15]), 0)
    assert set(range(15, 20)) <= set(kept) and len(kept) == 10
    assert len(replayed(names, frozenset(names[:2]), 0)) == 20
    assert len(replayed(names, frozenset(names), 0)) == 20


@pytest.mark.parametrize("how", ["replay", "meta"])
def test_a_round_goes_on_from_the_last_and_a_resumed_one_is_the_same(how, tiny_model, rows, test_rows, tmp_path):
    def run(folder, most):
        learner = FineTune(tiny_model, QUICK, incremental=how)
        active = ActiveLearner(
            Pool.from_dataset(rows, TextClassification()), learner, "random", test=test_rows, budget=45, batch_size=15,
            output_dir=tmp_path / folder, keep_model=False,
        )  # fmt: skip
        done = []
        for finished in active:
            done.append(finished)
            if len(done) == most:
                active.ledger.close()
                break
        return done, learner

    whole, learner = run("whole", 9)
    assert whole[0].training["steps"] == 20 and whole[1].training["steps"] < 20
    run("cut", 2)
    (tmp_path / "cut" / "rounds" / "0001" / "round.json").unlink()
    again, other = run("cut", 9)
    assert [r.scores for r in again] == [r.scores for r in whole]
    assert [r.training for r in again] == [r.training for r in whole]
    torch.testing.assert_close(logits(other, test_rows), logits(learner, test_rows), atol=0, rtol=0)
    restarted = bound(FineTune(tiny_model, QUICK))
    restarted.fit(labelled(rows.select(range(30)), TASK))
    assert not restarted.continues


def test_without_the_model_that_it_goes_on_from_a_run_says_so(tiny_model, rows, tmp_path):
    def run(budget):
        learner = FineTune(tiny_model, QUICK, incremental="continue")
        pool = Pool.from_dataset(rows, TextClassification())
        return ActiveLearner(pool, learner, "random", budget=budget, batch_size=15, output_dir=tmp_path).run()

    run(15)
    (tmp_path / "model" / "hfal.json").write_text(json.dumps({"round": 7}))
    (tmp_path / "config.yaml").write_text((tmp_path / "config.yaml").read_text().replace("rows: 15", "rows: 15", 1))
    with pytest.raises(HfalError, match="the model of round 0 is not in"):
        run(30)


def test_a_step_ahead_is_taken_back(tiny_model, train):
    learner = bound(FineTune(tiny_model, QUICK))
    model = learner.current
    examples = MetaExamples(learner._examples(train), np.arange(5), 0.5, 4)
    examples.prepare(model, 0, torch.device("cpu"))
    was = {name: value.clone() for name, value in model.state_dict().items()}
    examples.before_step(TASK, 0, torch.device("cpu"))
    assert any(not torch.equal(was[name], value) for name, value in model.state_dict().items())
    examples.before_update()
    assert all(torch.equal(was[name], value) for name, value in model.state_dict().items())


def test_adapters_are_trained_and_saved_as_peft_saves_them(tiny_model, train, rows, tmp_path):
    from peft import AutoPeftModelForSequenceClassification

    lora = {"r": 4}
    learner = bound(FineTune(tiny_model, TrainingConfig(min_steps=20, learning_rate=1e-2), lora=lora))
    before = {
        name: value.clone() for name, value in learner.current.base_model.state_dict().items() if "lora" not in name
    }
    learner.fit(train)
    after = learner.model.base_model.state_dict()
    moved = {name for name, value in before.items() if not torch.equal(after[name], value)}
    assert moved and all("pooler.modules_to_save" in name for name in moved), "the encoder stays, but for its pooler"
    adapters = [value for name, value in after.items() if "lora_B" in name]
    assert adapters and all(float(value.abs().max()) > 0 for value in adapters), "what begins at zero has moved"
    assert logits(learner, rows).shape == (120, 3)
    learner.save(tmp_path)
    assert (tmp_path / "adapter_model.safetensors").exists() and not (tmp_path / "model.safetensors").exists()
    other = bound(FineTune(tiny_model, lora=lora))
    other.load(tmp_path)
    torch.testing.assert_close(logits(other, rows), logits(learner, rows))
    theirs = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path, num_labels=3).eval()
    batch = learner.tokens.get(rows.select(range(4))).padded(0)
    with torch.no_grad():
        torch.testing.assert_close(theirs(**batch).logits, logits(learner, rows.select(range(4))), atol=1e-5, rtol=1e-4)
    assert bound(FineTune(tiny_model, lora=lora)).config.learning_rate == 1e-3


def test_easy_rows_come_first_and_an_anchor_holds(tiny_model, train):
    def trained(**settings):
        learner = bound(FineTune(tiny_model, QUICK.model_copy(update=settings)))
        start = {name: value.clone() for name, value in learner.current.named_parameters()}
        learner.fit(train)
        away = sum(
            float((value - start[name]).detach().square().sum()) for name, value in learner.model.named_parameters()
        )
        return away, logits(learner, train)

    far, plain = trained()
    near, _ = trained(anchor=500.0)
    assert near < 0.5 * far
    _, paced = trained(self_paced=0.3)
    assert not torch.allclose(plain, paced, atol=1e-3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"adapt": "guessing"}, "adapt"),
        ({"pseudo_labels": {"threshold": 2}}, "threshold"),
        ({"clean_labels": {"folds": 1}}, "folds"),
    ],
)
def test_wrong_settings_are_told(values, message, tmp_path):
    from hfal.config import check_config

    given = {"output_dir": str(tmp_path), "pool": {"source": "x.csv"}, "budget": 1, "batch": 1}
    with pytest.raises(HfalError, match=message):
        check_config(given | {"learner": {"model": "m", **values}})


def test_switches_in_a_config_and_what_goes_with_what(tiny_model, tmp_path):
    from hfal import TokenClassification
    from hfal.config import check_config

    given = {"output_dir": str(tmp_path), "pool": {"source": "x.csv"}, "budget": 1, "batch": 1}
    config = check_config(
        given | {"learner": {"model": "m", "adapt": "mlm", "pseudo_labels": "yes", "clean_labels": "no"}}
    )
    few = config.learner.build().few
    assert few.adapt.by == "mlm" and few.pseudo_labels.ratio == 2 and few.clean_labels is None
    tuned = check_config(
        given | {"learner": {"type": "fine_tune", "model": "m", "lora": {"r": 2}, "incremental": "replay"}}
    )
    assert tuned.learner.build().config.learning_rate == 1e-3 and tuned.learner.build().continues
    words = TokenClassification(label_names=["O", "B-x", "I-x"])
    with pytest.raises(HfalError, match="pseudo_labels is for rows"):
        FrozenHead(tiny_model, few=FewLabels(pseudo_labels=True)).bind(words, 0)
    with pytest.raises(HfalError, match="goes neither with training.waal"):
        FineTune(tiny_model, TrainingConfig(consistency=1.0), incremental="meta").bind(TASK, 0)
    with pytest.raises(HfalError, match="choose one"):
        FineTune(tiny_model, few=FewLabels(adapt="mlm"), lora={"r": 2}).bind(TASK, 0)


@pytest.mark.slow
def test_two_processes_train_the_same_model_as_one(tiny_model, tmp_path):
    learner = {"type": "fine_tune", "model": tiny_model, "adapt": "contrastive", "incremental": "meta"}
    learner["pseudo_labels"] = {"threshold": 0.34, "floor": 0.34}
    learner["training"] = QUICK.model_dump() | {"self_paced": 0.5, "per_device_train_batch_size": 4}
    make_rows(100).to_parquet(tmp_path / "pool.parquet")
    make_rows(60, seed=1).to_parquet(tmp_path / "test.parquet")
    config = {name: {"source": str(tmp_path / f"{name}.parquet")} for name in ("pool", "test")}
    config |= {"learner": learner, "strategy": "margin", "baseline": None, "budget": 30, "batch": 15, "output_dir": "-"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    run_on(2, tmp_path / "config.yaml", f"output_dir={tmp_path / 'two'}")
    two = json.loads((tmp_path / "two" / "rounds" / "0001" / "round.json").read_text())
    one = run_here(tmp_path / "config.yaml", f"output_dir={tmp_path / 'one'}").rounds[0][1][-1]
    assert two["metrics"] == one.metrics
    assert two["training"]["pseudo_labels"] == one.training["pseudo_labels"] > 0
    assert two["training"]["loss"] == pytest.approx(one.training["loss"], abs=1e-5)


def test_it_grows_while_the_next_larger_is_better(train):
    """Sizes whose losses fall and then rise: the least is found, and what lies beyond it is not tried."""
    tried = []

    def once(size, rows):
        tried.append(size)
        assert 0 < len(rows) < len(train)

        def judge(held):
            right = torch.nn.functional.one_hot(torch.as_tensor(held["labels"]), 3).float()
            return right * -((size - 3) ** 2)

        return judge

    assert grown([1, 2, 3, 4, 5], train, 4, 0, once) == 3
    assert list(dict.fromkeys(tried)) == [1, 2, 3, 4]


def test_capacity_grows_with_the_labels(tiny_model, train):
    frozen = bound(FrozenHead(tiny_model, few=FewLabels(grow=True)))
    penalty = frozen.fit(train).details["C"]
    fixed = bound(FrozenHead(tiny_model, C=penalty))
    fixed.fit(train)
    torch.testing.assert_close(logits(frozen, train), logits(fixed, train))
    tuned = bound(FineTune(tiny_model, QUICK.model_copy(update={"min_steps": 4}), few=FewLabels(grow="yes")))
    assert tuned.fit(train).details["layers_trained"] in (1, 2)
    model = tuned._fresh()
    train_upper(model.base_model, 1)
    still = {name for name, value in model.base_model.named_parameters() if not value.requires_grad}
    moving = {name for name, value in model.named_parameters() if value.requires_grad}
    assert any(name.startswith("embeddings") for name in still) and any("layer.0" in name for name in still)
    assert not any("layer.1" in name for name in still) and any("classifier" in name for name in moving)
