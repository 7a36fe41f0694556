import numpy as np
import pytest
from datasets import Dataset, DatasetDict

from hfal import HfalError
from hfal.config import Source, check_config
from hfal.data import build_data, load_source
from tests.conftest import make_rows


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    data = make_rows(50)
    named = Dataset.from_dict(
        {"text": data["text"][:], "label": [data.features["label"].int2str(x) for x in data["label"]]}
    )
    named.to_csv(folder / "rows.csv", index=False)
    named.to_csv(folder / "rows.tsv", sep="\t", index=False)
    named.to_json(folder / "rows.jsonl")
    data.to_parquet(folder / "rows.parquet")
    data.save_to_disk(folder / "arrow")
    DatasetDict({"train": data, "other": data.select(range(5))}).save_to_disk(folder / "splits")
    (folder / "several").mkdir()
    data.select(range(30)).to_parquet(folder / "several" / "train-0.parquet")
    data.select(range(30, 50)).to_parquet(folder / "several" / "train-1.parquet")
    data.select(range(4)).to_parquet(folder / "several" / "test-0.parquet")
    return folder


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.jsonl", "rows.parquet", "arrow", "splits", "several"])
def test_every_kind_of_source_gives_the_same_rows(files, name):
    rows = load_source(Source(source=str(files / name)))
    assert rows["text"][:] == make_rows(50)["text"][:]


def test_splits_and_columns_can_be_named(files):
    assert len(load_source(Source(source=str(files / "splits"), split="other"))) == 5
    assert len(load_source(Source(source=str(files / "several"), split="test"))) == 4
    renamed = load_source(Source(source=str(files / "rows.csv"), columns={"body": "text", "label": "label"}))
    assert set(renamed.column_names) == {"body", "label"}
    with pytest.raises(HfalError, match=r"has no split 'others' \(did you mean 'other'\?\)"):
        load_source(Source(source=str(files / "splits"), split="others"))
    with pytest.raises(HfalError, match=r"no column 'txt' \(did you mean 'text'\?\)"):
        load_source(Source(source=str(files / "rows.csv"), columns={"body": "txt"}))


def test_files_that_cannot_be_read_are_told_in_one_line(tmp_path):
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "header.csv").write_text("text,label\n")
    (tmp_path / "latin.csv").write_bytes("text,label\ncaf\xe9,a\n".encode("latin-1"))
    (tmp_path / "broken.jsonl").write_text('{"text": "a"}\n{"text": \n')
    (tmp_path / "picture.png").write_bytes(b"x")
    (tmp_path / "void").mkdir()
    for name, message in {
        "empty.csv": "is empty",
        "header.csv": "has no rows",
        "latin.csv": "name its encoding, as in encoding: latin-1",
        "broken.jsonl": "cannot read",
        "picture.png": "files of this kind cannot be read",
        "void": "holds no data",
        "nowhere.csv": "there is no file or folder",
        "nowhere/": "there is no file or folder",
    }.items():
        with pytest.raises(HfalError, match=message) as caught:
            load_source(Source(source=f"{tmp_path}/{name}"))
        assert "\n" not in str(caught.value)
    assert load_source(Source(source=str(tmp_path / "latin.csv"), encoding="latin-1"))["text"][0] == "café"


def config(files, **changes):
    base = {
        "output_dir": "x",
        "pool": {"source": str(files / "rows.parquet")},
        "test": {"source": str(files / "rows.parquet"), "rows": 10},
        "learner": {"model": "m"},
        "budget": {"rows": 10},
        "batch": {"rows": 5},
    }
    return check_config(base | changes)


def test_pool_and_test_of_one_source_do_not_overlap(files):
    chosen = config(files)
    pool, test, _ = build_data(chosen, chosen.task.build())
    assert len(test) == 10 and len(pool) == 40
    assert not set(test["text"]) & set(pool.dataset["text"])
    smaller = config(files, pool={"source": str(files / "rows.parquet"), "rows": 20})
    less, same, _ = build_data(smaller, smaller.task.build())
    assert len(less) == 20
    assert same["text"][:] == test["text"][:]  # the test rows do not depend on the pool's size


def test_validation_is_a_third_part(files):
    chosen = config(files, validation={"source": str(files / "rows.parquet"), "rows": 8})
    pool, test, validation = build_data(chosen, chosen.task.build())
    parts = [set(test["text"]), set(validation["text"]), set(pool.dataset["text"])]
    assert [len(part) for part in parts] == [10, 8, 32]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])


def test_a_shared_source_needs_the_size_of_the_test_set(files):
    chosen = config(files, test={"source": str(files / "rows.parquet")})
    with pytest.raises(HfalError, match=r"test\.rows is needed"):
        build_data(chosen, chosen.task.build())


def test_texts_of_another_test_file_leave_the_pool(files, caplog):
    chosen = config(files, test={"source": str(files / "several"), "split": "test"})
    pool, test, _ = build_data(chosen, chosen.task.build())
    assert len(test) == 4 and len(pool) == 46
    assert "4 rows left out" in caplog.text


def test_the_seed_decides_which_rows(files):
    rows = [build_data(c, c.task.build())[1]["text"][:] for c in (config(files), config(files, seed=1), config(files))]
    assert rows[0] == rows[2] != rows[1]
    assert np.unique(rows[0]).size == 10


def test_whole_numbers_beside_gaps_stay_whole(tmp_path):
    (tmp_path / "rows.csv").write_text("text,label,price\na,1,0.5\nb,,2\nc,0,\n")
    rows = load_source(Source(source=str(tmp_path / "rows.csv")))
    assert rows["label"][:] == [1, None, 0] and rows.features["label"].dtype == "int64"
    assert rows["price"][:] == [0.5, 2.0, None], "fractions are fractions"
    for far in ("inf", "1e300"):
        (tmp_path / "far.csv").write_text(f"text,price\na,{far}\nb,\n")
        assert load_source(Source(source=str(tmp_path / "far.csv")))["price"][:] == [float(far), None]
    pandas = Dataset.from_dict({"text": ["a", "b"], "label": [float("nan"), 3.0]})
    pandas.to_parquet(tmp_path / "rows.parquet")
    assert load_source(Source(source=str(tmp_path / "rows.parquet")))["label"][:] == [None, 3]
