"""Processes and devices."""

from types import SimpleNamespace

import pytest
import torch

from hfal import compute

GIB = 2**30


def with_gpus(monkeypatch, *sizes):
    """As on a machine that has GPUs of these sizes; returns those made the process's own."""
    taken = []
    monkeypatch.setattr(compute, "on_cpu", lambda: False)
    monkeypatch.setattr(compute, "state", lambda: SimpleNamespace(device=torch.device("cuda")))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(sizes))
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=sizes[device] * GIB)
    )
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    return taken


@pytest.mark.parametrize(("sizes", "runs"), [((80,), 13), ((24, 24), 8), ((80, 16), 4), ((4, 4, 4), 3)])
def test_as_many_runs_as_gpus_hold(monkeypatch, sizes, runs):
    with_gpus(monkeypatch, *sizes)
    assert compute.most_runs(6 * GIB) == runs


def test_processes_take_gpus_in_turn(monkeypatch):
    taken = with_gpus(monkeypatch, 24, 24, 24)
    for number in range(5):
        compute.own_device(number)
    assert taken == [0, 1, 2, 0, 1]


def test_on_the_cpu_cores_decide_and_no_gpu_is_woken_up(monkeypatch):
    taken = with_gpus(monkeypatch, 24)
    monkeypatch.setattr(compute, "on_cpu", lambda: True)
    monkeypatch.setattr(compute, "state", lambda: SimpleNamespace(device=torch.device("cpu")))
    compute.own_device(1)
    assert compute.most_runs(GIB) is None and not taken
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: pytest.fail("a GPU that is not used"))
    with compute.own_randomness(3):
        drawn = torch.rand(4)
    with compute.own_randomness(3):
        assert torch.equal(torch.rand(4), drawn)


def test_randomness_is_given_back_as_it_was():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with compute.own_randomness(2):
        assert not torch.equal(torch.rand(3), expected)
    assert torch.equal(torch.rand(3), expected)


def test_seeds_follow_from_their_parts_alone():
    assert compute.derive_seed("a", 1) == compute.derive_seed("a", 1)
    assert len({compute.derive_seed(*parts) for parts in (("a", 1), ("a", 2), ("b", 1), ("a1",), (1, "a"))}) == 5
    assert 0 <= compute.derive_seed("x") < 2**63
