"""Are densities and divergences those of a Gaussian, and do paths between latents run where they should?"""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from melspec_gpt.modeling.modeling_gaussian_latent import (
    gaussian_kl,
    interpolate_latents,
    log_normal,
    log_standard_normal,
    reparameterize,
)


@pytest.fixture
def gaussian():
    torch.manual_seed(0)
    return torch.randn(3, 4), torch.randn(3, 4)


def distribution(mean, log_variance) -> Normal:
    return Normal(mean, (0.5 * log_variance).exp())


def test_divergence_equals_that_of_torch(gaussian):
    expected = kl_divergence(distribution(*gaussian), Normal(0.0, 1.0))
    torch.testing.assert_close(gaussian_kl(*gaussian), expected)


def test_densities_equal_those_of_torch(gaussian):
    latents = torch.randn(5, 3, 4)
    expected = distribution(*gaussian).log_prob(latents).sum(dim=-1)
    torch.testing.assert_close(log_normal(latents, *gaussian), expected)
    torch.testing.assert_close(log_standard_normal(latents), Normal(0.0, 1.0).log_prob(latents).sum(dim=-1))


def test_draws_have_the_mean_and_the_variance(gaussian):
    draws = reparameterize(*gaussian, torch.randn(100_000, 3, 4))
    torch.testing.assert_close(draws.mean(dim=0), gaussian[0], atol=0.05, rtol=0)
    torch.testing.assert_close(draws.var(dim=0).log(), gaussian[1], atol=0.05, rtol=0)


@pytest.mark.parametrize("mode", ["linear", "spherical"])
@pytest.mark.parametrize("steps", [2, 3, 8])
def test_a_path_starts_and_ends_at_its_ends(gaussian, mode, steps):
    path = interpolate_latents(*gaussian, steps, mode)
    assert path.shape == (3, steps, 4)
    torch.testing.assert_close(path[:, 0], gaussian[0])
    torch.testing.assert_close(path[:, -1], gaussian[1])


def test_a_linear_path_has_equal_steps(gaussian):
    differences = interpolate_latents(*gaussian, 5).diff(dim=1)
    expected = (gaussian[1] - gaussian[0])[:, None] / 4
    torch.testing.assert_close(differences, expected.expand_as(differences))


def test_a_spherical_path_keeps_the_length_and_turns_by_equal_angles(gaussian):
    start, end = (torch.nn.functional.normalize(values, dim=-1) for values in gaussian)
    path = interpolate_latents(start, end, 6, "spherical")
    torch.testing.assert_close(path.norm(dim=-1), torch.ones(3, 6))
    cosines = (path[:, 1:] * path[:, :-1]).sum(dim=-1)
    torch.testing.assert_close(cosines, cosines[:, :1].expand_as(cosines))


@pytest.mark.parametrize("factor", [1.0, 2.0, -1.0, 0.0])
def test_where_the_ends_span_no_circle_the_path_is_linear(gaussian, factor):
    start, end = gaussian[0], factor * gaussian[0]
    expected = interpolate_latents(start, end, 5, "linear")
    assert torch.equal(interpolate_latents(start, end, 5, "spherical"), expected)


def test_an_impossible_path_is_an_error(gaussian):
    with pytest.raises(ValueError, match="`steps`"):
        interpolate_latents(*gaussian, 1)
    with pytest.raises(ValueError, match="`mode`"):
        interpolate_latents(*gaussian, 3, "cubic")
