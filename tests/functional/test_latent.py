import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from hfal import functional as F


def test_latent_variance_is_the_trace_of_the_covariance():
    torch.manual_seed(0)
    samples = torch.randn(6, 5, 3)
    expected = [np.trace(np.cov(samples[:, row].numpy().T, bias=True)) for row in range(5)]
    np.testing.assert_allclose(F.latent_variance(samples), expected, rtol=1e-5)


def test_latent_entropy_is_that_of_the_shrunk_gaussian():
    torch.manual_seed(0)
    samples = torch.randn(4, 5, 7)  # fewer samples than directions
    found = F.latent_entropy(samples, shrinkage=0.2)
    for row in range(5):
        cov = np.cov(samples[:, row].double().numpy().T, bias=True)
        shrunk = 0.8 * cov + 0.2 * np.trace(cov) / 7 * np.eye(7) + 1e-6 * np.eye(7)
        assert found[row] == pytest.approx(multivariate_normal(np.zeros(7), shrunk).entropy(), rel=1e-4)


@given(count=st.integers(1, 5), rows=st.integers(0, 4), size=st.integers(1, 6))
def test_samples_all_alike_are_certain(count, rows, size):
    samples = torch.ones(count, rows, size)
    assert F.latent_variance(samples).tolist() == [0.0] * rows
    assert torch.isfinite(F.latent_entropy(samples)).all()


def test_more_spread_is_more_uncertain_and_direction_does_not_matter():
    torch.manual_seed(0)
    base = torch.randn(8, 1, 4)
    samples = torch.cat((base, 2 * base, 3 * base), 1)
    for score in (F.latent_variance(samples), F.latent_entropy(samples)):
        assert score[0] < score[1] < score[2]
    turned = base @ torch.linalg.qr(torch.randn(4, 4))[0]
    torch.testing.assert_close(F.latent_entropy(turned), F.latent_entropy(base), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("samples", [torch.ones(3, 2), torch.ones(0, 2, 2), torch.full((2, 2, 2), torch.nan)])
def test_what_is_no_set_of_samples_is_refused(samples):
    for score in (F.latent_variance, F.latent_entropy):
        with pytest.raises(ValueError, match="samples must be"):
            score(samples)
    with pytest.raises(ValueError, match="shrinkage"):
        F.latent_entropy(torch.ones(2, 2, 2), 0.0)
