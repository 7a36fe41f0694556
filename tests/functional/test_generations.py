import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hfal import functional as F

WORDS = st.lists(st.sampled_from("abcd"), max_size=9)


@given(text=WORDS.filter(bool), reference=WORDS.filter(bool))
def test_bleu_is_sacrebleus(text, reference):
    metrics = pytest.importorskip("sacrebleu.metrics")
    scorer = metrics.BLEU(effective_order=True, tokenize="none", smooth_method="exp")
    expected = scorer.sentence_score(" ".join(text), [" ".join(reference)]).score / 100
    found = F.sentence_bleu(text, reference)
    if set(text) & set(reference):  # without a word in common sacrebleu smooths nothing
        assert found == pytest.approx(expected, abs=1e-6)
    assert 0 <= found <= 1


def test_bleu_of_nothing():
    assert F.sentence_bleu([], []) == 1 and F.sentence_bleu(["a"], []) == 0 == F.sentence_bleu([], ["a"])


@given(st.lists(WORDS, max_size=5))
def test_bleu_variance_is_the_mean_over_all_pairs(samples):
    pairs = list(itertools.permutations(samples, 2))
    expected = np.mean([(1 - F.sentence_bleu(a, b)) ** 2 for a, b in pairs]) if pairs else 0.0
    assert F.bleu_variance(samples) == pytest.approx(expected, abs=1e-9)
    assert F.bleu_variance([["a", "b"]] * 4) == 0


def test_semantic_entropy_counts_meanings():
    east, north = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    between = torch.nn.functional.normalize(east + 0.3 * north, dim=0)
    one, two = [east] * 4, [east, between, north, north]
    samples = torch.stack([torch.stack(row) for row in (one, two)], 1)
    found = F.semantic_entropy(samples, alike=0.9)
    assert found[0] == 0 and found[1] == pytest.approx(math.log(2))


def test_meanings_are_chains():
    angles = torch.tensor([0.0, 0.4, 0.8, 2.5])
    samples = torch.stack((angles.cos(), angles.sin()), 1)[:, None]
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert F.semantic_entropy(samples, alike=math.cos(0.41)) == pytest.approx(expected)


@given(count=st.integers(1, 5), rows=st.integers(1, 4))
def test_samples_all_alike_mean_one_thing(count, rows):
    assert F.semantic_entropy(torch.zeros(count, rows, 3)).tolist() == pytest.approx([0.0] * rows) or count > 1
    assert F.semantic_entropy(torch.ones(count, rows, 3)).tolist() == pytest.approx([0.0] * rows)


def test_idds_by_brute_force():
    torch.manual_seed(0)
    pool, labeled = torch.randn(12, 3), torch.randn(4, 3)

    def cosine(a, b):
        return float(torch.cosine_similarity(a, b, dim=0))

    known, left, expected = list(labeled), list(range(12)), []
    for _ in range(5):
        scores = {
            i: 0.67 * np.mean([cosine(pool[i], u) for u in pool]) - 0.33 * np.mean([cosine(pool[i], x) for x in known])
            for i in left
        }
        best = max(scores, key=scores.get)
        expected.append(best)
        left.remove(best)
        known.append(pool[best])
    picks, _ = F.idds(pool, labeled, 5)
    assert picks.tolist() == expected


def test_idds_takes_the_middle_first_and_then_goes_away_from_it():
    middle = torch.tensor([[1.0, 0.0]]).expand(20, 2) + 0.01 * torch.randn(
        20, 2, generator=torch.Generator().manual_seed(0)
    )
    other = torch.tensor([[0.0, 1.0]]).expand(10, 2)
    picks, _ = F.idds(torch.cat((middle, other)), torch.empty(0, 2), 2, weight=0.5)
    assert picks[0] < 20 <= picks[1]
    assert len(F.idds(other, torch.empty(0, 2), 50)[0]) == 10
