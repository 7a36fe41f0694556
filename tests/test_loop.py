import math

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

from hfal import (
    ActiveLearner,
    FineTune,
    FrozenHead,
    HfalError,
    Pool,
    Simulated,
    TextClassification,
    TrainingConfig,
)
from hfal.strategies import Selection
from tests.conftest import NAMES, make_rows

TASK = TextClassification(label_names=NAMES)


def build(rows, test_rows, model, folder=None, **options):
    settings = {"budget": 40, "batch_size": 10, "seed": 0, "output_dir": folder, "test": test_rows} | options
    learner = settings.pop("learner", None) or FrozenHead(model)
    return ActiveLearner(Pool.from_dataset(rows, TASK), learner, **settings)


def picks(active):
    return [active.ledger.selection(r.number)["id"].to_pylist() for r in active.rounds]


def test_a_run_spends_its_budget_and_scores_each_round(rows, test_rows, tiny_model):
    active = build(rows, test_rows, tiny_model)
    seen = [(r.number, r.asked, r.labeled, r.spent) for r in active]
    assert seen == [(0, 10, 10, 10), (1, 10, 20, 20), (2, 10, 30, 30), (3, 10, 40, 40)]
    assert all(0 <= r.metrics["macro_f1"] <= 1 and set(r.metrics["per_class"]) == set(NAMES) for r in active.rounds)
    flat = sum(picks(active), [])
    assert len(set(flat)) == 40
    assert active.rounds[0].strategy == "typiclust"
    assert active.rounds[1].strategy == "auto: margin>kmeans(prefilter=10)"


def test_the_last_batch_is_what_the_budget_leaves_and_an_empty_pool_ends_the_run(rows, test_rows, tiny_model):
    assert [r.asked for r in build(rows, test_rows, tiny_model, budget=25)] == [10, 10, 5]
    small = rows.select(range(26))
    assert [r.asked for r in build(small, test_rows, tiny_model, budget=500)] == [10, 10, 6]


EVERY_KIND = [
    "margin>kmeans(prefilter=3)",
    "bald",
    "badge",
    "coreset",
    "random",
    "batchbald(mc_samples=5)",
    "bait",
    "cluster_margin",
    "prob_cover",
    "uncertainty_herding",
    "vaal(steps=5)",
    "tavaal(steps=5)",
    "waal(steps=5)",
    "discriminative(steps=5)",
    "learning_loss(steps=5)",
    "multi_view",
    "margin>deepfool(prefilter=2)",
    "seals(then=badge, neighbours=5)",
    "anchoral(then=margin, neighbours=5, subpool=30)",
    "exploration(then=margin, schedule=decay)",
]


@pytest.mark.parametrize("strategy", EVERY_KIND)
def test_picks_do_not_depend_on_the_order_of_the_rows(rows, test_rows, tiny_model, strategy):
    straight = build(rows, test_rows, tiny_model, strategy=strategy)
    mixed = build(rows.shuffle(seed=11), test_rows, tiny_model, strategy=strategy)
    straight.run()
    mixed.run()
    assert picks(straight) == picks(mixed)


def test_other_seeds_choose_other_rows(rows, test_rows, tiny_model):
    runs = [build(rows, test_rows, tiny_model, seed=seed, start="random", strategy="random") for seed in (0, 1)]
    assert picks_after(runs[0]) != picks_after(runs[1])


def picks_after(active):
    active.run()
    return picks(active)


def test_the_run_folder_holds_what_happened(rows, test_rows, tiny_model, tmp_path):
    active = build(rows, test_rows, tiny_model, tmp_path / "run")
    active.run()
    folder = tmp_path / "run"
    assert sorted(path.name for path in (folder / "rounds").iterdir()) == ["0000", "0001", "0002", "0003"]
    table = pq.read_table(folder / "rounds" / "0001" / "selection.parquet").to_pylist()
    assert [row["rank"] for row in table] == list(range(10))
    assert all(row["predicted"] in NAMES and 0 < row["probability"] <= 1 for row in table)
    labels = pq.read_table(folder / "rounds" / "0001" / "labels.parquet").to_pylist()
    truth = dict(zip(active.pool.ids(range(120)), rows["label"], strict=True))
    assert [row["label"] for row in labels] == [NAMES[truth[row["id"]]] for row in labels]
    texts = {active.pool.ids([i])[0]: rows[i]["text"] for i in range(120)}
    assert all(row["text"] == texts[row["id"]] for row in table)
    assert (folder / "model" / "model.safetensors").exists()
    assert not list(folder.rglob("*.tmp"))


def test_running_again_yields_the_same_rounds_and_a_model(rows, test_rows, tiny_model, tmp_path):
    first = build(rows, test_rows, tiny_model, tmp_path)
    rounds = first.run()
    again = build(rows, test_rows, tiny_model, tmp_path)
    assert again.run() == rounds
    assert again.learner.model.config.num_labels == 3


class Killed(BaseException):
    """Stands for the end of the process at a given write."""


def resumed_after(make_active, folder, when, monkeypatch):
    """A run that ended at its nth write and was started again; beside it one that nothing disturbed."""
    import hfal.files

    replace, writes = hfal.files.os.replace, 0

    def dying(source, target):
        nonlocal writes
        writes += 1
        if writes == when:
            raise Killed
        replace(source, target)

    undisturbed = make_active(None)
    undisturbed.run()
    monkeypatch.setattr(hfal.files.os, "replace", dying)
    active = None
    try:
        active = make_active(folder)
        active.run()
    except Killed:
        pass
    monkeypatch.setattr(hfal.files.os, "replace", replace)
    if active is not None:
        active.ledger.close()
    resumed = make_active(folder)
    resumed.run()
    return resumed, undisturbed


def quick_learner(kind, model):
    quick = TrainingConfig(num_train_epochs=1, min_steps=4, learning_rate=1e-3)
    return FineTune(model, quick) if kind == "fine_tune" else FrozenHead(model)


@pytest.mark.parametrize("learner", ["frozen", "fine_tune"])
@pytest.mark.parametrize("when", range(1, 24, 3))
def test_a_run_that_ends_at_any_write_resumes_with_the_same_picks(
    rows, test_rows, tiny_model, tmp_path, monkeypatch, when, learner
):
    def make(folder):
        options = {"learner": quick_learner(learner, tiny_model), "budget": 30, "strategy": "margin"}
        return build(rows, test_rows, tiny_model, folder, **options)

    resumed, undisturbed = resumed_after(make, tmp_path / "run", when, monkeypatch)
    assert picks(resumed) == picks(undisturbed)
    assert [r.metrics for r in resumed.rounds] == [r.metrics for r in undisturbed.rounds]


@pytest.mark.parametrize("when", range(5, 17))
def test_what_holds_for_all_rounds_is_kept_through_any_end(rows, test_rows, tiny_model, tmp_path, monkeypatch, when):
    """Clusters of the first round's model and an index over its embeddings, which later rounds could not find again."""

    def make(folder):
        options = {
            "learner": quick_learner("fine_tune", tiny_model),
            "budget": 20,
            "batch_size": 5,
            "strategy": "seals(then=cluster_margin(clusters=9), neighbours=20)",
        }
        return build(rows, test_rows, tiny_model, folder, **options)

    resumed, undisturbed = resumed_after(make, tmp_path, when, monkeypatch)
    assert picks(resumed) == picks(undisturbed)
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [
        "clusters-9.parquet",
        "neighbours.faiss",
        "neighbours.parquet",
    ]


def test_a_text_column_named_as_a_detail_is_kept(rows, test_rows, tiny_model):
    task = TextClassification(text="radius", label_names=NAMES)
    named, tested = (part.rename_column("text", "radius") for part in (rows, test_rows))
    pool = Pool.from_dataset(named, task)
    active = ActiveLearner(
        pool, FrozenHead(tiny_model), "coreset_robust", budget=20, batch_size=10, test=tested, start="random"
    )
    active.run()
    assert set(active.ledger.selection(1)["radius"].to_pylist()) <= set(rows["text"][:])


def test_what_is_kept_holds_however_the_rows_are_sorted(rows, test_rows, tiny_model, tmp_path):
    """A run goes on with its data set in another order: clusters and neighbours are those of the same rows."""
    spec = "seals(then=cluster_margin(clusters=9), neighbours=20)"

    def options(budget):
        learner = quick_learner("fine_tune", tiny_model)
        return {"learner": learner, "strategy": spec, "batch_size": 5, "start_size": 10, "budget": budget}

    straight = build(rows, test_rows, tiny_model, **options(30))
    straight.run()
    build(rows, test_rows, tiny_model, tmp_path, **options(20)).run()
    again = build(rows.shuffle(seed=5), test_rows, tiny_model, tmp_path, **options(30))
    again.run()
    assert picks(again) == picks(straight)


def test_alps_chooses_the_seed_set_before_any_label(rows, test_rows, tiny_model, tmp_path):
    config = BertConfig.from_pretrained(tiny_model)
    BertForMaskedLM(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path)
    for learner in (FrozenHead(str(tmp_path)), quick_learner("fine_tune", str(tmp_path))):
        active = build(rows, test_rows, tiny_model, learner=learner, start="alps", budget=20)
        assert [r.strategy for r in active.run()] == ["alps", "auto: margin>kmeans(prefilter=10)"]


def test_only_rows_in_reach_are_looked_at_closely(rows, test_rows, tiny_model, monkeypatch):
    looked = []
    learner = FrozenHead(tiny_model)
    inner = learner._looked

    def counting(part, needs):
        if needs.looks:
            looked.append(len(part))
        return inner(part, needs)

    monkeypatch.setattr(learner, "_looked", counting)
    build(rows, test_rows, tiny_model, learner=learner, strategy="margin>egl_word(prefilter=2)").run()
    assert looked == [20, 20, 20]


def test_a_strategy_near_labelled_rows_scores_its_candidates_only(rows, test_rows, tiny_model, monkeypatch):
    scored = []
    learner = FrozenHead(tiny_model)
    inner = learner.signals

    def counting(part, needs):
        if needs.reduce:
            scored.append(len(part))
        return inner(part, needs)

    monkeypatch.setattr(learner, "signals", counting)
    active = build(rows, test_rows, tiny_model, learner=learner, strategy="seals(then=margin, neighbours=3)")
    active.run()
    assert len(scored) == 3 and max(scored) <= 3 * 30


def test_labels_from_the_start_cost_nothing_and_make_round_zero(test_rows, tiny_model):
    rows = make_rows(80)
    known = [NAMES[label] if i < 12 else None for i, label in enumerate(rows["label"])]
    pool = Pool.from_dataset(rows.add_column("known", known), TASK, seed_labels="known")
    active = ActiveLearner(pool, FrozenHead(tiny_model), test=test_rows, budget=20, batch_size=10)
    assert [(r.strategy, r.asked, r.labeled, r.spent) for r in active][:2] == [
        ("given", 0, 12, 0),
        ("auto: margin>kmeans(prefilter=10)", 10, 22, 10),
    ]


def test_a_seed_set_that_lacks_a_class_works_and_says_so(rows, test_rows, tiny_model):
    first = [i for i, label in enumerate(rows["label"]) if label != 1][:20]
    rest = [i for i in range(120) if i not in first]
    known = [i < 20 for i in range(120)]
    ordered = rows.select(first + rest)
    labels = [NAMES[label] if given else None for label, given in zip(ordered["label"], known, strict=True)]
    pool = Pool.from_dataset(ordered.add_column("known", labels), TASK, seed_labels="known")
    active = ActiveLearner(pool, FrozenHead(tiny_model), test=test_rows, budget=10, batch_size=10)
    rounds = active.run()
    assert "no row of fine" in rounds[0].notes[0]
    assert math.isfinite(rounds[-1].metrics["macro_f1"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 121}, "fewer than one batch of 121"),
        ({"budget": 5}, "less than the seed set of 10"),
        ({"budget": 0}, "at least 1"),
        ({"batch_size": 0}, "at least 1"),
        ({"strategy": "margn"}, "did you mean 'margin'"),
        ({"oracle": Simulated("lable")}, "did you mean 'label'"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    rows, test_rows, tiny_model, tmp_path, options, message
):
    with pytest.raises(HfalError, match=message):
        build(rows, test_rows, tiny_model, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_a_pool_without_anything_to_ask_is_refused(rows, test_rows, tiny_model):
    pool = Pool.from_dataset(rows, TASK, seed_labels="label")
    with pytest.raises(HfalError, match="all 120 rows of the pool are labelled"):
        ActiveLearner(pool, FrozenHead(tiny_model), test=test_rows, budget=10, batch_size=5)


def test_a_label_outside_the_names_is_refused_by_row(test_rows, tiny_model, tmp_path):
    data = Dataset.from_dict({"text": make_rows(30)["text"][:], "label": ["good"] * 29 + ["goood"]})
    with pytest.raises(HfalError, match=r"'goood' in row 29 of column 'label'.*did you mean 'good'"):
        build(data, test_rows, tiny_model, tmp_path / "run", batch_size=5, budget=10)
    assert not (tmp_path / "run").exists()


def test_test_rows_never_enter_the_pool(rows, tiny_model, caplog):
    active = build(rows, rows.select(range(30)), tiny_model)
    active.run()
    test_ids = set(active.pool.ids(range(30)))
    assert not test_ids & set(sum(picks(active), []))
    assert "30 rows left out: the same input is in test" in caplog.text


def test_a_second_process_is_refused(rows, test_rows, tiny_model, tmp_path):
    first = build(rows, test_rows, tiny_model, tmp_path)
    with pytest.raises(HfalError, match="another process is working in"):
        build(rows, test_rows, tiny_model, tmp_path)
    first.ledger.close()
    build(rows, test_rows, tiny_model, tmp_path).ledger.close()


def test_another_config_is_refused_by_its_key_but_a_budget_may_grow(rows, test_rows, tiny_model, tmp_path):
    build(rows, test_rows, tiny_model, tmp_path, budget=20).run()
    with pytest.raises(HfalError, match="seed is 0 there and 1 now"):
        build(rows, test_rows, tiny_model, tmp_path, budget=20, seed=1)
    with pytest.raises(HfalError, match=r"learner\.C is 10\.0 there and 2 now"):
        build(rows, test_rows, tiny_model, tmp_path, budget=20, learner=FrozenHead(tiny_model, C=2))
    with pytest.raises(HfalError, match=r"budget\.rows is 20 there and 10 now"):
        build(rows, test_rows, tiny_model, tmp_path, budget=10)
    with pytest.raises(HfalError, match="over another pool: rows is 120 there and 100 now"):
        build(rows.select(range(100)), test_rows, tiny_model, tmp_path, budget=20)
    grown = build(rows, test_rows, tiny_model, tmp_path, budget=40)
    assert [r.labeled for r in grown] == [10, 20, 30, 40]


def test_a_diverged_training_names_the_round_and_keeps_the_model_before(rows, test_rows, tiny_model, tmp_path):
    learner = FineTune(tiny_model, TrainingConfig(min_steps=3, num_train_epochs=1))
    active = build(rows, test_rows, tiny_model, tmp_path, learner=learner)
    rounds = iter(active)
    assert next(rounds).number == 0
    learner.config = TrainingConfig(min_steps=30, learning_rate=1e30, max_grad_norm=0)
    with pytest.raises(HfalError, match=r"round 1: the training loss is .*the model of round 0 is kept"):
        next(rounds)
    assert active.ledger.model(0) is not None
    assert len(active.ledger.labels(1)) == 10  # the labels of the round are not lost


@pytest.mark.parametrize(
    ("choose", "message"),
    [
        (lambda rows, size: rows[: size - 1], "chose 9 rows where 10 were wanted"),
        (lambda rows, size: np.repeat(rows[:1], size), "chose a row twice"),
        (lambda rows, size: np.arange(size) + 5000, "cannot be asked"),
    ],
)
def test_what_a_strategy_of_ones_own_gets_wrong_is_told(rows, test_rows, tiny_model, choose, message):
    from hfal.signals import Needs

    class Wrong:
        needs = Needs()

        def select(self, context, size):
            chosen = choose(context.pool.rows, size)
            return Selection(chosen, np.ones(len(chosen), np.float32))

    with pytest.raises(HfalError, match=message):
        build(rows, test_rows, tiny_model, strategy=Wrong()).run()


def test_a_read_only_disk_is_told_in_one_line(rows, test_rows, tiny_model, tmp_path, monkeypatch):
    import hfal.files

    def full(*_):
        raise OSError(28, "No space left on device")

    active = build(rows, test_rows, tiny_model, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(hfal.files.os, "replace", full)
        with pytest.raises(HfalError, match="cannot write .*No space left on device. Nothing that was written"):
            active.run()
    resumed = build(rows, test_rows, tiny_model, tmp_path)
    assert [r.labeled for r in resumed] == [10, 20, 30, 40]
