import itertools
import math

import pytest
import torch

from hfal import functional as F
from hfal.functional import Legal, Ragged

EVERYTHING = Legal(torch.ones(3).bool(), torch.ones(3, 3).bool(), torch.ones(3).bool())
NO_REPEAT = Legal(torch.tensor([True, True, False]), ~torch.eye(3).bool(), torch.ones(3).bool())


@pytest.fixture
def logits(generator):
    return Ragged.of([torch.randn(n, 3, generator=generator) * 2 for n in (1, 4, 2, 5)])


def probabilities(row, legal):
    """Of every legal sequence, best first."""
    p = torch.softmax(row.double(), -1)
    found = []
    for tags in itertools.product(range(3), repeat=len(row)):
        if legal.start[tags[0]] and all(legal.follow[a, b] for a, b in itertools.pairwise(tags)):
            found.append(math.prod(float(p[t, tag]) for t, tag in enumerate(tags)))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("legal", [EVERYTHING, NO_REPEAT])
def test_mnlp_equals_enumeration(logits, legal):
    wanted = [-math.log(probabilities(logits[i], legal)[0]) / len(logits[i]) for i in range(4)]
    assert F.mnlp(logits, legal).tolist() == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("legal", [EVERYTHING, NO_REPEAT])
@pytest.mark.parametrize("paths", [2, 5])
def test_sequence_entropy_equals_enumeration(logits, legal, paths):
    wanted = []
    for i in range(4):
        best = probabilities(logits[i], legal)[:paths]
        wanted.append(-sum(p / sum(best) * math.log(p / sum(best)) for p in best))
    assert F.sequence_entropy(logits, paths, legal).tolist() == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("name", ["entropy", "margin", "least_confidence"])
@pytest.mark.parametrize("reduce", ["mean", "sum", "max", "top3"])
def test_token_scores_are_those_of_each_word_reduced(logits, name, reduce):
    scores = [getattr(F, name)(logits[i]) for i in range(4)]
    how = {
        "mean": torch.mean,
        "sum": torch.sum,
        "max": torch.max,
        "top3": lambda s: s.sort(descending=True).values[:3].mean(),
    }[reduce]
    wanted = [float(how(s)) for s in scores]
    assert getattr(F, f"token_{name}")(logits, reduce).tolist() == pytest.approx(wanted, abs=1e-5)


def test_token_bald_is_bald_of_each_word(generator):
    samples = Ragged.of([torch.randn(n, 6, 3, generator=generator) for n in (2, 3)])
    wanted = [float(F.bald(samples[i].transpose(0, 1)).mean()) for i in range(2)]
    assert F.token_bald(samples).tolist() == pytest.approx(wanted, abs=1e-6)


def test_disagreement_is_the_share_against_the_majority():
    votes = torch.tensor([[0, 0, 1, 2], [1, 1, 1, 1]])  # two words, four samples
    samples = torch.nn.functional.one_hot(votes, 3).float() * 5
    assert F.token_disagreement(Ragged.of([samples])).tolist() == pytest.approx([(0.5 + 0.0) / 2])


def test_sums_favour_long_rows_and_means_do_not(generator):
    word = torch.randn(1, 3, generator=generator)
    rows = Ragged.of([word.expand(2, 3), word.expand(20, 3)])
    assert F.token_entropy(rows, "sum")[1] > 9 * F.token_entropy(rows, "sum")[0]
    assert F.token_entropy(rows)[1] == pytest.approx(float(F.token_entropy(rows)[0]))
    assert F.mnlp(rows)[1] == pytest.approx(float(F.mnlp(rows)[0]), rel=1e-5)


def test_a_row_that_is_certain_scores_nothing():
    sure = Ragged.of([torch.tensor([[60.0, 0.0, 0.0]] * 3), torch.zeros(0, 3)])
    for scores in (F.mnlp(sure), F.token_entropy(sure), F.token_margin(sure), F.sequence_entropy(sure)):
        assert scores.tolist() == pytest.approx([0, 0], abs=1e-6)


def test_values_that_are_not_finite_and_single_tags_are_refused():
    with pytest.raises(ValueError, match="not finite in row 1"):
        F.token_entropy(Ragged.of([torch.tensor([[0.0, 1.0], [float("nan"), 0.0]])]))
    with pytest.raises(ValueError, match="at least 2"):
        F.mnlp(Ragged.of([torch.zeros(2, 1)]))
    with pytest.raises(ValueError, match="paths"):
        F.sequence_entropy(Ragged.of([torch.zeros(2, 2)]), 1)
