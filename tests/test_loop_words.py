"""The loop where words are tagged, and budgets that are not counted in rows."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from hfal import (
    ActiveLearner,
    Budget,
    Cost,
    FrozenHead,
    HfalError,
    Pool,
    TextClassification,
    TokenClassification,
)
from tests.conftest import NAMES, make_tagged
from tests.test_loop import picks, quick_learner, resumed_after

TASK = TokenClassification()


def build(rows, test_rows, model, folder=None, **options):
    settings = {
        "budget": {"words": 300},
        "batch_size": {"words": 100},
        "output_dir": folder,
        "test": test_rows,
    } | options
    learner = settings.pop("learner", None) or FrozenHead(model)
    return ActiveLearner(Pool.from_dataset(rows, settings.pop("task", TASK)), learner, **settings)


def words_of(active, number):
    return sum(len(row) for row in active.ledger.selection(number)["tokens"].to_pylist())


def test_a_budget_in_words_is_spent_and_never_exceeded(tagged, tagged_test, tiny_model):
    active = build(tagged, tagged_test, tiny_model)
    rounds = active.run()
    spent = np.cumsum([words_of(active, r.number) for r in rounds])
    assert [r.words for r in rounds] == spent.tolist() == [r.spent for r in rounds]
    assert all(words_of(active, r.number) <= 100 for r in rounds)
    assert 290 <= spent[-1] <= 300
    assert rounds[-1].metrics["f1"] > 0.3 and {"precision", "recall"} <= set(rounds[-1].metrics)
    assert rounds[1].strategy == "auto: mnlp>kmeans(prefilter=10)"


@pytest.mark.parametrize(
    "strategy",
    [
        "token_entropy(reduce=sum)",
        "sequence_entropy(paths=3)",
        "longest",
        "mnlp>kmeans(prefilter=3)",
        "token_bald(mc_samples=4, form=disagreement)>coreset",
        "token_vote_entropy(mc_samples=4)",
        "token_gradient_length",
        "weighted_kmeans(by=mnlp)",
        "cluster_margin(by=token_margin)",
        "dictionary(by=mnlp)",
        "prob_cover",
        "lcmd(space=embeddings)",
        "vaal(steps=5)",
        "discriminative(steps=5)",
        "seals(then=mnlp, neighbours=5)",
    ],
)
def test_picks_do_not_depend_on_the_order_of_the_rows(tagged, tagged_test, tiny_model, strategy):
    straight = build(tagged, tagged_test, tiny_model, strategy=strategy)
    mixed = build(tagged.shuffle(seed=11), tagged_test, tiny_model, strategy=strategy)
    straight.run()
    mixed.run()
    assert picks(straight) == picks(mixed)
    assert len(straight.rounds) >= 3


def test_longest_takes_fewer_rows_for_the_same_words(tagged, tagged_test, tiny_model):
    longest, chance = (
        build(tagged, tagged_test, tiny_model, strategy=s, start="random").run()[2] for s in ("longest", "random")
    )
    assert longest.labeled < chance.labeled and abs(longest.words - chance.words) < 10


@pytest.mark.parametrize("learner", ["frozen", "fine_tune"])
@pytest.mark.parametrize("when", [3, 8, 13])
def test_a_run_that_ends_at_any_write_resumes_with_the_same_picks(
    tagged, tagged_test, tiny_model, tmp_path, monkeypatch, when, learner
):
    def make(folder):
        return build(tagged, tagged_test, tiny_model, folder, learner=quick_learner(learner, tiny_model))

    resumed, undisturbed = resumed_after(make, tmp_path / "run", when, monkeypatch)
    assert picks(resumed) == picks(undisturbed)
    assert [(r.words, r.spent, r.metrics) for r in resumed.rounds] == [
        (r.words, r.spent, r.metrics) for r in undisturbed.rounds
    ]


def test_the_run_folder_holds_words_tags_and_costs(tagged, tagged_test, tiny_model, tmp_path):
    cost = Cost("seconds", per_row=2.0, per_word=0.4)
    options = {"budget": {"seconds": 200}, "batch_size": {"words": 100}, "cost": cost}
    active = build(tagged, tagged_test, tiny_model, tmp_path, **options)
    rounds = active.run()
    table = pq.read_table(tmp_path / "rounds" / "0001" / "selection.parquet").to_pylist()
    truth = {active.pool.ids([i])[0]: tagged[i] for i in range(len(tagged))}
    for row in table:
        assert row["tokens"] == truth[row["id"]]["tokens"] and len(row["predicted"]) == row["words"] == len(
            row["tokens"]
        )
        assert row["cost"] == pytest.approx(2 + 0.4 * row["words"])
    assert all(words_of(active, r.number) <= 100 for r in rounds)
    expected = sum(2 + 0.4 * len(truth[i]["tokens"]) for ids in picks(active) for i in ids)
    assert rounds[-1].spent == pytest.approx(expected) and rounds[-1].spent <= 200
    labels = pq.read_table(tmp_path / "rounds" / "0001" / "labels.parquet").to_pylist()
    names = tagged.features["ner_tags"].feature.names
    assert [row["label"] for row in labels] == [[names[t] for t in truth[row["id"]]["ner_tags"]] for row in labels]


def test_a_column_of_the_pool_can_be_the_budget(rows, test_rows, tiny_model):
    priced = rows.add_column("euros", [0.5 + (i % 4) for i in range(len(rows))])
    task = TextClassification(label_names=NAMES)
    active = build(priced, test_rows, tiny_model, budget={"euros": 30}, batch_size={"euros": 10.0}, task=task)
    rounds = active.run()
    assert rounds[-1].spent <= 30 and rounds[-1].spent > 29
    thrifty = build(
        priced, test_rows, tiny_model, budget={"euros": 30}, batch_size={"euros": 10.0}, task=task, per_cost=True
    )
    assert thrifty.run()[-1].labeled > 1.3 * rounds[-1].labeled


def test_rows_too_dear_for_what_is_left_end_the_run_cleanly(rows, test_rows, tiny_model):
    priced = rows.add_column("euros", [7.0] * len(rows))
    task = TextClassification(label_names=NAMES)
    active = build(priced, test_rows, tiny_model, budget={"euros": 40}, batch_size={"rows": 3}, task=task)
    assert [(r.asked, r.spent) for r in active.run()] == [(3, 21.0), (2, 35.0)]
    small = make_tagged(9)
    active = build(small, make_tagged(5, seed=3), tiny_model, budget={"words": 10_000}, batch_size={"words": 40})
    assert active.run()[-1].labeled == 9  # the pool is empty first


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"batch_size": {"words": 1}}, r"a batch of 1 words buys no row: the cheapest is \d+ words"),
        ({"start_size": {"words": 400}}, "budget.words is 300, less than the seed set of 400 words"),
        ({"budget": {"seconds": 300}}, "nothing says what a row costs in 'seconds'"),
        ({"strategy": "margin"}, "strategy margin reads each row's own prediction.*those that fit: .*mnlp"),
        ({"strategy": "mnlp>badge"}, "which token_classification does not have"),
        ({"budget": {"words": 0}}, "words must be a whole number of at least 1"),
        ({"batch_size": Budget(rows=500)}, "fewer than one batch of 500"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(tagged, tagged_test, tiny_model, options, problem):
    with pytest.raises(HfalError, match=problem):
        build(tagged, tagged_test, tiny_model, **options)


@pytest.mark.parametrize(
    "strategy",
    ["bait", "waal", "tavaal", "alps", "multi_view", "cal", "weighted_kmeans", "class_quota", "anchoral(then=mnlp)"],
)
def test_strategies_of_rows_are_refused_for_words_by_name(tagged, tagged_test, tiny_model, strategy):
    name = strategy.split("(")[0]
    with pytest.raises(
        HfalError, match=f"strategy {name}.* reads each row's own prediction, which .* those that fit: "
    ):
        build(tagged, tagged_test, tiny_model, strategy=strategy)


def test_strategies_of_words_are_refused_for_rows(rows, test_rows, tiny_model):
    task = TextClassification(label_names=NAMES)
    with pytest.raises(HfalError, match="strategy token_entropy reads a tag for each word, which text_classification"):
        build(rows, test_rows, tiny_model, budget=20, batch_size=10, strategy="token_entropy", task=task)


def test_texts_too_may_be_bought_by_the_word(rows, test_rows, tiny_model):
    task = TextClassification(label_names=NAMES)
    active = build(rows, test_rows, tiny_model, task=task, budget={"words": 250}, batch_size={"rows": 10})
    rounds = active.run()
    assert [r.asked for r in rounds[:-1]] == [10] * (len(rounds) - 1)
    assert rounds[-1].spent == rounds[-1].words <= 250


def test_tags_without_a_scheme_run_too(tagged, tagged_test, tiny_model):
    plain = TokenClassification(scheme="none")
    rounds = build(tagged, tagged_test, tiny_model, task=plain).run()
    assert set(rounds[-1].metrics) == {"accuracy", "macro_f1", "per_class"}
    assert rounds[-1].metrics["accuracy"] > 0.6
