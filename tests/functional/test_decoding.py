import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hfal.functional import Legal, Ragged, n_best, viterbi


def legal_of(tags, generator, share=0.6):
    """A random scheme."""
    return Legal(
        torch.rand(tags, generator=generator) < share,
        torch.rand(tags, tags, generator=generator) < share,
        torch.rand(tags, generator=generator) < share,
    )


def enumerated(logits, legal):
    """Log-probability of every legal sequence of a row, best first."""
    log_p = torch.log_softmax(logits, -1)
    found = []
    for tags in itertools.product(range(logits.shape[1]), repeat=len(logits)):
        steps = all(bool(legal.follow[a, b]) for a, b in itertools.pairwise(tags))
        if steps and bool(legal.start[tags[0]]) and bool(legal.end[tags[-1]]):
            found.append((sum(float(log_p[t, tag]) for t, tag in enumerate(tags)), tags))
    return sorted(found, reverse=True)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 4))
def test_viterbi_and_n_best_equal_enumeration(seed, tags):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 6, (5,), generator=generator).tolist()
    logits = Ragged.of([torch.randn(n, tags, generator=generator) * 3 for n in lengths])
    legal = legal_of(tags, generator)
    paths, scores = viterbi(logits, legal)
    several = n_best(logits, 4, legal)
    for row in range(5):
        wanted = enumerated(logits[row], legal)
        if not wanted:  # nothing is allowed: the likeliest tags
            assert torch.equal(paths[row], logits[row].argmax(-1))
            assert bool((several[row] == -torch.inf).all())
            continue
        assert tuple(paths[row].tolist()) == wanted[0][1]
        assert float(scores[row]) == pytest.approx(wanted[0][0], abs=1e-4)
        best = [score for score, _ in wanted[:4]]
        assert several[row][: len(best)].tolist() == pytest.approx(best, abs=1e-4)
        assert bool((several[row][len(best) :] == -torch.inf).all())


def test_without_a_scheme_each_word_gets_its_likeliest_tag(generator):
    logits = Ragged.of([torch.randn(n, 5, generator=generator) for n in (3, 1, 0, 7)])
    paths, scores = viterbi(logits)
    assert torch.equal(paths.values, logits.values.argmax(-1))
    assert float(scores[2]) == 0
    assert n_best(logits, 3)[2].tolist() == [0, -torch.inf, -torch.inf]


def test_rows_do_not_depend_on_their_neighbours(generator):
    legal = legal_of(4, generator, 0.7)
    logits = Ragged.of([torch.randn(n, 4, generator=generator) for n in (9, 2, 30, 4, 1)])
    paths, scores = viterbi(logits, legal)
    for row in range(5):
        alone, score = viterbi(logits.take(torch.tensor([row])), legal)
        assert torch.equal(alone.values, paths[row])
        assert float(score[0]) == float(scores[row])


def test_violations_are_found_word_by_word():
    legal = Legal(torch.tensor([True, False]), torch.tensor([[True, True], [True, False]]), torch.tensor([True, True]))
    tags = Ragged.of([torch.tensor([1, 0]), torch.tensor([0, 1, 1])])
    assert legal.violations(tags).tolist() == [True, False, False, False, True]


def test_a_scheme_of_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"follow \[C, C\]"):
        Legal(torch.ones(2).bool(), torch.ones(3, 3).bool(), torch.ones(2).bool())
