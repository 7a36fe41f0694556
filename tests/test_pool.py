import tracemalloc

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from hfal import HfalError, Pool, TextClassification
from hfal.pool import labelled
from tests.conftest import NAMES, make_rows

TASK = TextClassification(label_names=NAMES)


def pool_of(texts, **columns):
    return Pool.from_dataset(Dataset.from_dict({"text": texts, **columns}), TASK)


def test_rows_are_labelled_and_counted(rows):
    pool = Pool.from_dataset(rows, TextClassification())
    assert (len(pool), len(pool.unlabeled), len(pool.labeled)) == (120, 120, 0)
    pool.label({3: "good", 7: 0})
    assert pool.labeled.tolist() == [3, 7]
    assert len(pool.unlabeled) == 118
    assert pool.label_of(3) == 2 and pool.label_of(4) is None
    training = pool.training_set()
    assert sorted(zip(training["text"], training["labels"], strict=True)) == sorted(
        [(rows[3]["text"], 2), (rows[7]["text"], 0)]
    )


def test_equal_inputs_are_asked_once_and_share_their_label():
    pool = pool_of(["a", "b", "a", "c", "b", "a"])
    assert pool.unlabeled.tolist() == [0, 1, 3]
    assert pool.duplicates == 3
    pool.label({5: "good"})
    assert [pool.label_of(row) for row in (0, 2, 5)] == [2, 2, 2]
    assert pool.labeled.tolist() == [0]
    assert len(pool.training_set()) == 1


def test_ids_follow_the_content_and_are_stable_over_order(rows):
    pool = Pool.from_dataset(rows, TextClassification())
    mixed = Pool.from_dataset(rows.shuffle(seed=3), TextClassification())
    assert sorted(pool.ids(pool.unlabeled)) == sorted(mixed.ids(mixed.unlabeled))
    assert pool.ids(pool.canonical(pool.unlabeled)) == mixed.ids(mixed.canonical(mixed.unlabeled))
    assert pool.fingerprint() == mixed.fingerprint()
    assert pool.positions(pool.ids([5, 2])).tolist() == [5, 2]
    with pytest.raises(HfalError, match="no row with id 'nowhere'"):
        pool.positions(["nowhere"])


def test_an_id_column_is_used_and_must_not_repeat():
    data = Dataset.from_dict({"text": ["a", "b", "c"], "key": ["x", "y", "x"], "number": [5, 6, 7]})
    assert Pool.from_dataset(data, TASK, "number").ids([0, 2]) == ["5", "7"]
    with pytest.raises(HfalError, match="id x is in row 0 and again in row 2"):
        Pool.from_dataset(data, TASK, "key")
    with pytest.raises(HfalError, match=r"no column 'keys' \(did you mean 'key'\?\)"):
        Pool.from_dataset(data, TASK, "keys")
    with pytest.raises(HfalError, match="row 1 has no id"):
        Pool.from_dataset(Dataset.from_dict({"text": ["a", "b"], "key": ["x", None]}), TASK, "key")


def test_labels_in_the_data_can_seed_the_pool():
    data = Dataset.from_dict({"text": ["a", "b", "c", "a"], "known": ["good", None, "bad", None]})
    pool = Pool.from_dataset(data, TASK, seed_labels="known")
    assert pool.labeled.tolist() == [0, 2]
    assert pool.labels(pool.labeled) == [2, 0]
    with pytest.raises(HfalError, match="'god' in row 1 of column 'known'.*did you mean 'good'"):
        Pool.from_dataset(Dataset.from_dict({"text": ["a", "b"], "known": [None, "god"]}), TASK, seed_labels="known")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a", None], "row 1: column 'text' is missing"),
        (["a", "b", ""], "row 2: column 'text' is empty"),
        (["a", " \t\n"], "row 1: column 'text' is empty"),
    ],
)
def test_rows_without_text_are_refused_by_name_or_left_out(texts, message, caplog):
    with pytest.raises(HfalError, match=message):
        pool_of(texts)
    data = Dataset.from_dict({"text": texts})
    assert len(Pool.from_dataset(data, TASK, skip_empty=True)) == len(texts) - 1
    assert "1 row left out" in caplog.text


def test_what_is_no_pool_is_refused():
    with pytest.raises(HfalError, match="no rows"):
        pool_of([])
    with pytest.raises(HfalError, match="no column 'text'; the data has: body"):
        Pool.from_dataset(Dataset.from_dict({"body": ["a"]}), TASK)
    with pytest.raises(HfalError, match="must hold text, but it holds int64"):
        pool_of([1, 2])
    with pytest.raises(HfalError, match=r"datasets\.Dataset"):
        Pool.from_dataset([{"text": "a"}], TASK)


def test_all_labels_are_checked_before_any_is_recorded(rows):
    pool = Pool.from_dataset(rows, TextClassification())
    with pytest.raises(HfalError, match="label 'positve' in row 5 is not one of bad, fine, good"):
        pool.label({4: "good", 5: "positve"})
    assert len(pool.labeled) == 0


def test_rows_of_the_test_set_leave_the_pool(rows):
    pool = Pool.from_dataset(rows, TextClassification())
    assert pool.leave_out(rows.select([0, 5, 5])) == 2
    assert not set(pool.unlabeled.tolist()) & {0, 5}
    assert len(pool.unlabeled) == 118


def test_a_copy_has_labels_of_its_own(rows):
    pool = Pool.from_dataset(rows, TextClassification())
    twin = pool.copy()
    twin.label({0: "bad"})
    assert len(pool.labeled) == 0 and len(twin.labeled) == 1


@given(st.lists(st.text(min_size=1).filter(lambda t: t.strip()), min_size=1, max_size=30))
@settings(max_examples=50, deadline=None)
def test_any_unicode_text_has_an_id_and_equal_texts_the_same(texts):
    texts = [text.encode("utf-8", "ignore").decode() or "x" for text in texts]
    texts = [text if text.strip() else "x" for text in texts]
    pool = pool_of(texts)
    assert len(pool.unlabeled) == len(set(texts))
    assert len(set(pool.ids(range(len(texts))))) == len(set(texts))


def test_labelled_rows_are_encoded_and_checked(rows):
    assert labelled(rows, TASK)["labels"][:5] == rows["label"][:5]
    with pytest.raises(HfalError, match=r"test: no label column 'label'; it has: text"):
        labelled(Dataset.from_dict({"text": ["a"]}), TASK)
    with pytest.raises(HfalError, match="row 1 of test"):
        labelled(Dataset.from_dict({"text": ["a", "b"], "label": ["good", "ugly"]}), TASK)


@pytest.mark.slow
def test_a_million_rows_open_count_and_query_in_bounded_memory(tmp_path):
    """Python's own allocations; the data set is a memory map."""
    size = 1_000_000
    Dataset.from_generator(
        lambda: ({"text": f"row number {i % 900_000}", "label": i % 3} for i in range(size)),
        cache_dir=str(tmp_path),
    ).save_to_disk(tmp_path / "data")
    data = Dataset.load_from_disk(str(tmp_path / "data"))
    tracemalloc.start()
    pool = Pool.from_dataset(data, TASK)
    assert len(pool.unlabeled) == 900_000
    positions = pool.canonical(pool.unlabeled)
    ids = pool.ids(positions[:50])
    pool.label({int(row): 1 for row in pool.positions(ids)})
    assert len(pool.unlabeled) == 899_950
    assert len(np.unique(positions)) == 900_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.0e9


def test_make_rows_is_what_the_tests_think():
    assert len(set(make_rows(200)["text"])) == 200
