import torch

from hfal import functional as F


def unexplained(rows, care, atoms, ridge):
    """sum_n u_n min_z |x_n - D z|^2 + ridge |z|^2, by solving for the codes."""
    atoms = atoms.double()
    gram = atoms @ atoms.T + ridge * torch.eye(len(atoms), dtype=torch.float64)
    codes = torch.linalg.solve(gram, atoms @ rows.double().T)
    error = (rows.double().T - atoms.T @ codes).square().sum(0) + ridge * codes.square().sum(0)
    return float((care.double() * error).sum())


def test_each_pick_lowers_the_weighted_error_most():
    """The closed form is the decrease of tr(S U), the error with the codes' penalty."""
    torch.manual_seed(0)
    rows, care, labeled = torch.randn(20, 6), torch.rand(20), torch.randn(3, 6)
    ridge = 0.1 * float(rows.square().sum(1).mean())
    picks = F.dictionary(rows, 5, care, labeled)
    atoms, chosen = labeled, []
    for pick in picks.tolist():
        free = [row for row in range(20) if row not in chosen]
        errors = {row: unexplained(rows, care, torch.cat((atoms, rows[row, None])), ridge) for row in free}
        assert errors[pick] <= min(errors.values()) + 1e-6
        chosen.append(pick)
        atoms = torch.cat((atoms, rows[pick, None]))


def test_unsure_directions_come_first():
    rows = torch.eye(4).repeat_interleave(5, 0) + 0.01 * torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    care = torch.full((20,), 0.01)
    care[10:15] = 1
    assert 10 <= int(F.dictionary(rows, 1, care)) < 15


def test_twins_are_not_taken_together():
    torch.manual_seed(1)
    rows = torch.randn(30, 20)
    picks = F.dictionary(torch.cat((rows, rows)), 10)
    assert len({int(pick) % 30 for pick in picks}) == 10
