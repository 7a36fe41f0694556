"""What holds for every function that picks rows: repeats, zeros, one row, more wanted than there are."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hfal import functional as F


def gradients(rows):
    return rows, rows[:, :3].contiguous()


def lcmd(rows, size, generator):
    space = F.GradientSpace(*gradients(rows))
    return F.lcmd(space.norms, space.distances_to, size, generator=generator)


def samples(rows):
    return torch.stack((rows[:, :3], rows[:, 1:4], -rows[:, :3]))


PICKS = {
    "bait": lambda rows, size, g: F.bait(*gradients(rows), size, generator=g),
    "batchbald": lambda rows, size, g: F.batchbald(samples(rows), size, g, max_configurations=50, samples=60)[0],
    "both_ends": lambda rows, size, g: F.both_ends(rows[:, 0], rows[:, :3].argmax(1), size, 3, g),
    "class_quota": lambda rows, size, g: F.class_quota(rows[:, 0].abs(), rows[:, :3].argmax(1), size, 3, g),
    "coverage, cosine": lambda rows, size, g: F.coverage_greedy(rows, size, F.cosine, generator=g)[0],
    "coverage, rbf": lambda rows, size, g: F.coverage_greedy(rows, size, F.rbf(1.0), rows[:, 0].abs(), generator=g)[0],
    "dictionary": lambda rows, size, g: F.dictionary(rows, size, rows[:, 0].abs(), generator=g),
    "frank_wolfe": lambda rows, size, g: F.frank_wolfe(rows, size, g)[0],
    "gumbel_top_k": lambda rows, size, g: F.gumbel_top_k(rows[:, 0], size, g),
    "kcenter_blocks": lambda rows, size, g: F.kcenter_blocks(rows, size, generator=g, block=7),
    "kcenter_outliers": lambda rows, size, g: F.kcenter_outliers(rows, size, outliers=0.1, generator=g)[0],
    "lcmd": lcmd,
    "prob_cover": lambda rows, size, g: F.prob_cover(rows, size, 0.7, generator=g),
    "round_robin": lambda rows, size, g: F.round_robin(rows[:, 0], rows[:, 1].round().long(), size, g),
}


@pytest.mark.parametrize("name", PICKS)
@given(
    rows=st.integers(1, 30),
    size=st.integers(0, 35),
    seed=st.integers(0, 5),
    kind=st.sampled_from(["spread", "repeats", "zeros", "one value", "huge and tiny"]),
)
@settings(max_examples=25, deadline=None)
def test_picks_are_as_many_as_wanted_or_there_are_without_repeats(name, rows, size, seed, kind):
    torch.manual_seed(seed)
    matrix = torch.randn(rows, 4)
    if kind == "repeats":
        matrix = matrix[torch.randint(max(1, rows // 4), (rows,))]
    elif kind == "zeros":
        matrix[torch.rand(rows) < 0.7] = 0
    elif kind == "one value":
        matrix[:] = 0.5
    elif kind == "huge and tiny":
        matrix *= torch.logspace(-4, 4, rows)[:, None]
    picks = PICKS[name](matrix, size, torch.Generator().manual_seed(seed))
    assert len(picks) == min(rows, size) == len(set(picks.tolist()))
    assert not len(picks) or 0 <= int(picks.min()) <= int(picks.max()) < rows
    again = PICKS[name](matrix, size, torch.Generator().manual_seed(seed))
    assert picks.tolist() == again.tolist()


@pytest.mark.parametrize("name", sorted(set(PICKS) - {"gumbel_top_k"}))
def test_a_value_that_is_not_finite_is_refused(name):
    matrix = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
    matrix[5, 0] = float("nan")
    with pytest.raises(ValueError, match="not finite in row"):
        PICKS[name](matrix, 3, torch.Generator())
