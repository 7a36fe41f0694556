import pytest
import torch

from hfal import functional as F
from hfal.functional.diversity import d2_sampling
from hfal.functional.spaces import gradient_factors


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
    expected = d2_sampling(first, lambda rows: torch.cdist(gradients[rows], gradients).square(), 10, reference)
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


def test_expected_gradient_length_is_that_of_autograd():
    torch.manual_seed(0)
    features, weight = torch.randn(6, 5), torch.randn(4, 5, requires_grad=True)
    expected = []
    for row in features:
        logits = weight @ row
        p = torch.softmax(logits, -1).detach()
        slopes = [torch.autograd.grad(-torch.log_softmax(weight @ row, -1)[y], weight)[0].norm() for y in range(4)]
        expected.append(float((p * torch.stack(slopes)).sum()))
    found = F.expected_gradient_length(features, features @ weight.detach().T)
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-5, rtol=1e-4)
    yes = F.expected_gradient_length(features, features @ weight.detach().T, multi_label=True)
    p = torch.sigmoid(features @ weight.detach().T)
    torch.testing.assert_close(yes, (2 * p * (1 - p)).mean(1) * features.norm(dim=1))


def test_the_boundary_is_where_two_classes_tie():
    torch.manual_seed(1)
    features, weight = torch.randn(30, 5), torch.randn(4, 5)
    logits = features @ weight.T
    distance = F.boundary_distance(logits, weight)
    step = F.boundary_step(logits, weight)
    torch.testing.assert_close(step.norm(dim=1), distance, rtol=1e-3, atol=1e-5)
    best = ((features + step) @ weight.T).topk(2, 1).values
    torch.testing.assert_close(best[:, 0], best[:, 1], rtol=1e-3, atol=1e-4)
    for row in range(30):
        label = int(logits[row].argmax())
        to = {}
        for other in set(range(4)) - {label}:
            way = weight[other] - weight[label]
            to[other] = float((logits[row, label] - logits[row, other]) / way.norm())
        other = min(to, key=to.get)
        way = weight[other] - weight[label]
        there = weight @ (features[row] + to[other] * way / way.norm())
        assert float(distance[row]) == pytest.approx(to[other], abs=1e-5)
        assert float(there[label]) == pytest.approx(float(there[other]), abs=1e-4)


def test_sketches_keep_inner_products():
    torch.manual_seed(2)
    left, right = torch.randn(5, 3), torch.randn(5, 7)
    exact = (left @ left.T) * (right @ right.T)
    means = torch.stack(
        [(s := F.sketch_products(left, right, 200, torch.Generator().manual_seed(seed))) @ s.T for seed in range(60)]
    ).mean(0)
    assert float((means - exact).abs().max() / exact.abs().max()) < 0.1
