"""Pools made harder, against what was asked of them."""

import numpy as np
import pytest

from hfal import HfalError, Pool, TextClassification, TokenClassification
from hfal.bench import run_bench
from hfal.bench.config import Hard, check_bench
from hfal.bench.hard import harder
from tests.conftest import NAMES, make_rows, make_tagged

TASK = TextClassification(label_names=NAMES)


def made(rows, **how):
    return harder(rows, TASK, Hard(**how), seed=0)


def labels_of(rows):
    return np.array([NAMES.index(name) for name in rows["label"]])


def test_classes_are_as_rare_as_asked():
    rows = make_rows(900)
    sizes = np.bincount(labels_of(made(rows, imbalance=16.0)))
    assert sizes[0] / sizes[2] == pytest.approx(16, rel=0.1) and sizes[0] / sizes[1] == pytest.approx(4, rel=0.05)
    assert (np.bincount(labels_of(made(make_rows(60), imbalance=1000.0))) >= 2).all()


def test_a_share_of_the_labels_is_wrong_and_all_else_is_as_it_was():
    rows = make_rows(500)
    found = made(rows, noise=0.2)
    assert found["text"] == rows["text"]
    assert (labels_of(found) != np.array(rows["label"])).sum() == 100


def test_copies_differ_by_a_word_and_keep_their_label():
    rows = make_rows(300)
    found = made(rows, duplicates=0.4)
    assert len(found) == 500
    truth = {text: NAMES[label] for text, label in zip(rows["text"], rows["label"], strict=True)}
    for row in found.select(range(300, 500)):
        near = [text for text in truth if text.split()[-1] in row["text"] or row["text"].split()[-1] in text]
        assert any(
            abs(len(text.split()) - len(row["text"].split())) == 1 and truth[text] == row["label"] for text in near
        )
    assert len(Pool.from_dataset(found, TASK)) >= 480


def test_long_texts_are_rarer():
    rows = make_rows(2000)
    lengths = np.array([len(text.split()) for text in made(rows, shift=1.0)["text"]])
    before = np.array([len(text.split()) for text in rows["text"]])
    assert 0.4 < len(lengths) / len(before) < 0.6
    assert (lengths >= 12).mean() < 0.4 * (before >= 12).mean()


def test_the_same_seed_gives_the_same_pool():
    rows = make_rows(200)
    how = {"imbalance": 5.0, "noise": 0.1, "duplicates": 0.2, "shift": 0.5}
    assert made(rows, **how).to_dict() == made(rows, **how).to_dict()
    assert made(rows, **how).to_dict() != harder(rows, TASK, Hard(**how), seed=1).to_dict()


def test_words_have_no_harder_pool():
    rows = make_tagged(20)
    with pytest.raises(HfalError, match="which token_classification does not have"):
        harder(rows, TokenClassification().resolve(rows), Hard(noise=0.1), 0)


def test_classes_that_count_as_none_have_no_label_and_no_test_rows(tmp_path, tiny_model):
    for name, size, seed in (("pool", 90, 0), ("test", 45, 1)):
        make_rows(size, seed).to_parquet(tmp_path / f"{name}.parquet")
    values = {
        "output_dir": str(tmp_path / "bench"),
        "sets": {
            "open": {
                "pool": {"source": str(tmp_path / "pool.parquet")},
                "test": {"source": str(tmp_path / "test.parquet")},
                "hard": {"open": ["good"]},
            }
        },
        "learners": {"frozen": {"model": tiny_model}},
        "strategies": ["random", "passing_by(then=random)"],
        "budget": 30,
        "batch": 10,
        "seeds": 2,
        "jobs": 1,
    }
    summary = run_bench(check_bench(values))
    (table,) = summary.tables
    assert all(line.curves[0].cost == (10, 20, 30) for line in table.lines), "rows of no class cost as others do"
    assert all(0.3 < line.purity < 1 for line in table.lines)
    shown = (tmp_path / "bench" / "tables.md").read_text()
    assert "| purity |" in shown
    assert f"{table.lines[0].purity:.0%}" in shown
    values["sets"]["open"]["hard"] = {"open": ["Good"]}
    with pytest.raises(HfalError, match="there is no class 'Good'"):
        run_bench(check_bench(values))
