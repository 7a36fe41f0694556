import pytest
import torch

from hfal.nets import Trained, batches, critic_loss, mlp, seeded


def test_every_row_comes_once_before_any_comes_again():
    found = list(batches(10, 4, 5, torch.Generator().manual_seed(0)))
    assert [len(rows) for rows in found] == [4] * 5
    flat = torch.cat(found).tolist()
    assert sorted(flat[:10]) == sorted(flat[10:]) == list(range(10))
    assert [len(rows) for rows in batches(3, 8, 2, torch.Generator())] == [3, 3]


def test_weights_follow_from_the_generator_alone():
    def first(seed):
        torch.rand(seed + 1)  # what happened before does not matter
        with seeded(torch.Generator().manual_seed(seed)):
            return mlp(3, 5, 1)[0].weight.detach().clone()

    torch.testing.assert_close(first(1), first(1))
    assert not torch.equal(first(1), first(2))


def test_a_step_moves_the_modules_named_and_no_other():
    with seeded(torch.Generator().manual_seed(0)):
        net = Trained(0.1, left=mlp(2, 1), right=mlp(2, 1))
    rows = torch.ones(4, 2)
    before = net.right[0].weight.detach().clone(), net.left[0].weight.detach().clone()
    net.step((net.left(rows) + net.right(rows)).square().mean(), "left")
    torch.testing.assert_close(net.right[0].weight.detach(), before[0])
    assert not torch.equal(net.left[0].weight.detach(), before[1])
    assert net.apply("left", torch.ones(5, 2), together=2).shape == (5, 1)
    with pytest.raises(AttributeError):
        net.middle  # noqa: B018


def test_a_critic_finds_the_distance_between_two_heaps():
    """Heaps 3 apart: a critic of slope 1 scores them 3 apart."""
    torch.manual_seed(0)
    known, other = torch.randn(200, 4) * 0.1, torch.randn(200, 4) * 0.1
    other[:, 0] += 3
    net = Trained(1e-2, critic=mlp(4, 32, 1))
    for _ in range(400):
        net.step(critic_loss(net.critic, known, other), "critic")
    apart = net.apply("critic", other).mean() - net.apply("critic", known).mean()
    assert float(apart) == pytest.approx(3, abs=0.6)
