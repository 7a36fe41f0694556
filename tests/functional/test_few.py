import torch
from hypothesis import given
from hypothesis import strategies as st

from hfal.functional import easiest, falling_threshold, surest


def test_the_threshold_falls_with_the_labels_to_its_floor():
    assert falling_threshold(0.95, 0.05, 0.7, 0) == 0.95
    assert abs(falling_threshold(0.95, 0.05, 0.7, 200) - 0.85) < 1e-12
    assert falling_threshold(0.95, 0.05, 0.7, 5000) == 0.7


@given(st.integers(0, 30), st.integers(1, 4), st.integers(0, 10_000))
def test_the_surest_rows_by_brute_force(size, classes, seed):
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.softmax(4 * torch.randn(size, classes, generator=generator), 1)
    most = torch.randint(0, 4, (classes,), generator=generator)
    rows, taught = surest(probabilities, 0.6, most)
    for name in range(classes):
        likely = [
            i for i in range(size) if int(probabilities[i].argmax()) == name and float(probabilities[i, name]) >= 0.6
        ]
        ranked = sorted(likely, key=lambda i: -float(probabilities[i, name]))[: int(most[name])]
        assert rows[taught == name].tolist() == ranked
    assert len(rows) == len(set(rows.tolist()))


def test_the_easiest_are_those_of_the_smallest_loss():
    assert easiest(torch.tensor([3.0, 1.0, 2.0, 1.0]), 0.5).tolist() == [0, 1, 0, 1]
    assert easiest(torch.tensor([3.0, 1.0]), 0.01).tolist() == [0, 1]
