import pytest
import torch

from hfal import functional as F
from hfal.functional.diversity import d2_sampling
from hfal.functional.gradients import gradient_factors


def explicit_gradients(hidden, logits, multi_label=False):
    """The last layer's weight gradient of each row, by autograd, under the model's own label."""
    rows = []
    for h, z in zip(hidden, logits, strict=True):
        weight = torch.zeros(len(z), len(h), requires_grad=True)
        out = (weight @ h + z).unsqueeze(0)
        if multi_label:
            label = (z > 0).float().unsqueeze(0)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(out, label, reduction="sum")
        else:
            loss = torch.nn.functional.cross_entropy(out, z.argmax().unsqueeze(0))
        rows.append(torch.autograd.grad(loss, weight)[0].flatten())
    return torch.stack(rows)


@pytest.mark.parametrize("multi_label", [False, True])
def test_badge_equals_kmeans_pp_on_explicit_gradients(multi_label):
    torch.manual_seed(0)
    hidden, logits = torch.randn(80, 6), torch.randn(80, 4) * 2
    gradients = explicit_gradients(hidden, logits, multi_label)
    first = int(gradients.norm(dim=1).argmax())
    # badge draws once for a tie at the first pick, so both generators are brought to the same place
    generator = torch.Generator().manual_seed(3)
    state = generator.get_state()
    picks = F.badge(hidden, logits, 1, generator, multi_label=multi_label)
    assert picks.tolist() == [first]
    generator.set_state(state)
    torch.randperm(1, generator=generator)
    after = generator.get_state()
    reference = torch.Generator()
    reference.set_state(after)
    expected = d2_sampling(first, lambda row: ((gradients - gradients[row]) ** 2).sum(1), 10, reference)
    generator.set_state(state)
    assert F.badge(hidden, logits, 10, generator, multi_label=multi_label).tolist() == expected.tolist()


def test_gradient_factors_are_the_loss_gradient_in_the_logits():
    logits = torch.randn(9, 5, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(logits, logits.argmax(1), reduction="sum")
    torch.testing.assert_close(gradient_factors(logits.detach()), torch.autograd.grad(loss, logits)[0])


def test_badge_does_not_pick_twins_while_others_are_left():
    hidden = torch.eye(6).repeat(10, 1)
    logits = torch.randn(6, 3).repeat(10, 1)
    picks = F.badge(hidden, logits, 6)
    assert len({pick % 6 for pick in picks.tolist()}) == 6


def test_badge_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="5 rows of embeddings but 4"):
        F.badge(torch.randn(5, 3), torch.randn(4, 2), 2)
    with pytest.raises(ValueError, match="classes"):
        F.badge(torch.randn(5, 3), torch.randn(5, 1), 2)
    assert len(F.badge(torch.randn(5, 3), torch.randn(5, 1), 2, multi_label=True)) == 2
