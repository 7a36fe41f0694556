import numpy as np
import pytest
from datasets import Dataset

from hfal import Budget, Cost, HfalError, Pool, TextClassification
from hfal.budget import costs_of, in_words


@pytest.fixture
def pool():
    texts = ["one", "one two", "one two three"]
    return Pool.from_dataset(
        Dataset.from_dict({"text": texts, "minutes": [0.5, 2.0, 1.5], "none": [1.0, None, 1.0], "free": [1, 0, 1]}),
        TextClassification(label_names=["a", "b"]),
    )


EVERYTHING = np.arange(3)


def test_a_budget_has_one_unit_and_an_amount():
    assert (Budget(rows=5).unit, Budget(rows=5).amount) == ("rows", 5)
    assert Budget.of(5) == Budget(rows=5) == Budget.of({"rows": 5}) == Budget.of(Budget(rows=5))
    assert str(Budget(rows=1)) == "1 label" and str(Budget(words=20_000)) == "20,000 words"
    assert str(Budget(euros=12.5)) == "12.5 euros" and in_words(1234.567, "seconds") == "1,234.57 seconds"
    for amount in [{}, {"rows": 1, "words": 2}, {"rows": 0}, {"rows": 2.5}, {"words": True}, {"euros": float("nan")}]:
        with pytest.raises(HfalError, match="budget:"):
            Budget(**amount)


def test_rows_words_columns_and_costs(pool):
    assert costs_of(pool, EVERYTHING, "rows").tolist() == [1, 1, 1]
    assert costs_of(pool, EVERYTHING, "words").tolist() == [1, 2, 3]
    assert costs_of(pool, np.array([2, 0]), "minutes").tolist() == [1.5, 0.5]
    cost = Cost("seconds", per_row=2.0, per_word=0.4)
    assert costs_of(pool, EVERYTHING, "seconds", cost).tolist() == pytest.approx([2.4, 2.8, 3.2])
    assert costs_of(pool, EVERYTHING, "euros", Cost("euros", per_row=1, column="minutes")).tolist() == [1.5, 3.0, 2.5]


@pytest.mark.parametrize(
    ("unit", "cost", "problem"),
    [
        ("second", Cost("seconds", per_row=1), "what a row costs in 'second' .did you mean 'seconds'.."),
        ("minute", None, "did you mean 'minutes'"),
        ("none", None, "row 1 of column 'none' holds None, not a cost"),
        ("text", None, "row 0 of column 'text' holds 'one', not a cost"),
        ("free", None, "row 1 costs 0 free: costs must be above 0"),
        ("x", Cost("x", column="minuts"), "no column 'minuts' .did you mean 'minutes'"),
    ],
)
def test_what_nothing_prices_is_refused(pool, unit, cost, problem):
    with pytest.raises(HfalError, match=problem):
        costs_of(pool, EVERYTHING, unit, cost)


def test_wrong_costs_are_refused():
    for options, problem in [
        ({"unit": "words", "per_row": 1}, "counted as they are"),
        ({"unit": "s"}, "give per_row, per_word or column"),
        ({"unit": "s", "per_row": -1}, "0 or more"),
    ]:
        with pytest.raises(HfalError, match=problem):
            Cost(**options)
