from itertools import combinations

import pytest
import torch

from hfal import functional as F


class Counted:
    """A matrix that knows how often its rows were read."""

    def __init__(self, rows):
        self.rows, self.read = rows, torch.zeros(len(rows))

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, part):
        self.read[part] += 1
        return self.rows[part]


@pytest.mark.parametrize("seed", range(4))
def test_the_radius_is_at_most_four_times_the_smallest(seed):
    torch.manual_seed(seed)
    points = torch.randn(14, 2)
    picks = F.kcenter_blocks(points, 3, generator=torch.Generator().manual_seed(seed), block=5)
    distances = torch.cdist(points, points)
    best = min(float(distances[list(c)].amin(0).max()) for c in combinations(range(14), 3))
    assert len(set(picks.tolist())) == 3 and float(distances[picks].amin(0).max()) <= 4 * best


def test_every_row_is_read_once_and_twins_in_other_blocks_are_met():
    torch.manual_seed(0)
    half = torch.randn(60, 6)
    rows = Counted(torch.cat((half, half)))
    picks = F.kcenter_blocks(rows, 20, half[:5], block=30)
    assert rows.read.tolist() == [1] * 120
    assert len({int(pick) % 60 for pick in picks}) == 20 and not {int(pick) % 60 for pick in picks} & set(range(5))


def test_one_block_is_the_plain_greedy():
    torch.manual_seed(1)
    points, centers = torch.randn(50, 4), torch.randn(3, 4)
    assert set(F.kcenter_blocks(points, 8, centers).tolist()) == set(F.kcenter_greedy(points, 8, centers).tolist())
    assert F.kcenter_blocks(points[:0], 8).tolist() == []
