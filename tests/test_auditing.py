import numpy as np
import pytest
import torch

from hfal import Pool, TextClassification
from hfal.auditing import Audit, mixed
from hfal.errors import HfalError
from hfal.strategies import Selection
from tests.conftest import make_rows


@pytest.fixture
def pool(rows):
    return Pool.from_dataset(rows, TextClassification())


def free_costs(pool, amount=np.inf):
    return [(np.ones(len(pool)), amount)]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_share_of_a_batch_but_at_least_five_and_at_most_half():
    assert Audit(0.1, 200).each == 20
    assert Audit(0.1, 40).each == 5
    assert Audit(0.1, 6).each == 3
    assert Audit(0.0, 200).each == 0
    with pytest.raises(HfalError, match="audit must be a share"):
        Audit(0.6, 10)


def test_the_reserve_is_neither_chosen_nor_trained_on(pool):
    audit = Audit(0.2, 50)
    audit.draw(pool, generator())
    assert len(pool.reserve) == 24
    assert not set(pool.reserve) & set(pool.unlabeled)
    first = audit.next(pool, free_costs(pool))
    np.testing.assert_array_equal(first, pool.reserve[:10])
    pool.label({int(row): "good" for row in [*first, *pool.unlabeled[:7]]})
    assert len(pool.labeled) == 7
    np.testing.assert_array_equal(pool.audited, first)
    assert len(pool.training_set()) == 7
    np.testing.assert_array_equal(audit.next(pool, free_costs(pool)), pool.reserve[10:20])


def test_rows_that_people_could_not_tell_are_not_asked_again(pool):
    audit = Audit(0.2, 50)
    audit.draw(pool, generator())
    pool.set_aside(pool.reserve[:1])
    np.testing.assert_array_equal(audit.next(pool, free_costs(pool)), pool.reserve[1:11])


def test_an_audit_never_costs_more_than_there_is(pool):
    audit = Audit(0.2, 50)
    audit.draw(pool, generator())
    assert len(audit.next(pool, free_costs(pool, 4))) == 4


def test_the_reserve_does_not_depend_on_the_order_of_rows(rows):
    picked = []
    for order in (np.arange(120), np.random.default_rng(0).permutation(120)):
        shuffled = Pool.from_dataset(rows.select(order), TextClassification())
        Audit(0.1, 50).draw(shuffled, generator())
        picked.append(shuffled.ids(shuffled.reserve))
    assert picked[0] == picked[1]


def test_every_row_is_as_likely_to_be_audited():
    counts = np.zeros(20)
    data = make_rows(20)
    for seed in range(400):
        pool = Pool.from_dataset(data, TextClassification())
        audit = Audit(0.5, 8)
        audit.draw(pool, generator(seed))
        counts[audit.next(pool, free_costs(pool))] += 1
    expected = 400 * 4 / 20
    assert ((counts - expected) ** 2 / expected).sum() < 43.8  # chi square, 19 degrees, 0.1%


def test_audited_rows_stand_anywhere_among_the_chosen_ones():
    chosen = Selection(np.array([5, 3, 9]), np.array([3.0, 2.0, 1.0], np.float32), {"cluster": np.array([0, 1, 2])})
    both, is_audited = mixed(chosen, np.array([7, 8]), generator())
    assert sorted(both.rows.tolist()) == [3, 5, 7, 8, 9]
    np.testing.assert_array_equal(both.rows[~is_audited], chosen.rows)
    np.testing.assert_array_equal(both.rows[is_audited], [7, 8])
    np.testing.assert_array_equal(both.scores[~is_audited], chosen.scores)
    np.testing.assert_array_equal(both.details["cluster"][~is_audited], [0, 1, 2])
    same, none = mixed(chosen, np.array([], np.int64), generator())
    assert same is chosen and not none.any()
    firsts = {mixed(chosen, np.array([7, 8]), generator(seed))[0].rows[0] in (7, 8) for seed in range(20)}
    assert firsts == {True, False}
