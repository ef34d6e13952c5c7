"""Metrics of latents: against the original's, against closed forms, and as modules of `evaluate`."""

import math
from pathlib import Path

import evaluate
import pytest
import torch
from safetensors.torch import load_file

from melspec_gpt.modeling.modeling_gaussian_latent import reparameterize
from melspec_gpt.training import latent_metrics
from melspec_gpt.training.latent_metrics import (
    active_units,
    expected_mutual_information,
    mutual_information,
    perplexity,
)

METRICS_FOLDER = Path(latent_metrics.__file__).parent / "metrics"


@pytest.fixture(scope="module")
def golden(shared_data):
    return load_file(shared_data / "golden" / "gpt_vae_metrics.safetensors")


def test_mutual_information_is_the_originals(golden):
    latents = reparameterize(golden["mu64"], golden["logvar64"], golden["mi_noise"][:, 0])
    estimate = mutual_information(golden["mu64"], golden["logvar64"], latents)
    assert estimate == pytest.approx(golden["mi_for_noise"].item(), abs=5e-3)


def test_active_units_are_the_originals(golden):
    assert active_units(golden["mu64"]) == golden["au"].item()


def test_clips_that_are_all_alike_have_no_mutual_information():
    torch.manual_seed(0)
    latents = torch.randn(2000, 3)
    zeros = torch.zeros(2000, 3)
    # The estimate is that of the entropy by the mean of -log q, whose deviation is sqrt(d / 2 / N).
    assert mutual_information(zeros, zeros, latents) == pytest.approx(0, abs=4 * math.sqrt(3 / 2 / 2000))


def test_clips_far_apart_have_all_the_mutual_information_there_can_be():
    means = 100 * torch.eye(50)
    log_variances = torch.full((50, 50), -2.0)
    draws = [reparameterize(means, log_variances, torch.randn(50, 50)) for _ in range(200)]
    estimates = [mutual_information(means, log_variances, latents) for latents in draws]
    assert sum(estimates) / len(estimates) == pytest.approx(math.log(50), abs=0.2)


def test_sampled_entropy_gives_the_same_with_less_noise():
    torch.manual_seed(0)
    means, log_variances = 0.3 * torch.randn(60, 100), torch.full((60, 100), -0.1)

    def estimates(exact_entropy):
        draws = [reparameterize(means, log_variances, torch.randn(60, 100)) for _ in range(100)]
        return torch.tensor([mutual_information(means, log_variances, z, exact_entropy) for z in draws])

    exact, sampled = estimates(True), estimates(False)
    assert exact.mean().item() == pytest.approx(sampled.mean().item(), abs=4 * exact.std().item() / 10)
    assert sampled.std() < exact.std() / 4
    assert (sampled > 0).all()


def test_many_draws_come_near_the_information_of_a_gaussian():
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(2000, 2, generator=generator)
    log_variances = torch.full((2000, 2), math.log(0.5))
    expected = 2 * 0.5 * math.log(1 + 1 / 0.5)
    assert expected_mutual_information(means, log_variances, num_draws=5) == pytest.approx(expected, abs=0.05)


def test_expected_information_is_repeatable_and_depends_on_the_seed():
    means, log_variances = torch.randn(20, 3), torch.zeros(20, 3)
    first = expected_mutual_information(means, log_variances)
    assert first == expected_mutual_information(means, log_variances)
    assert first != expected_mutual_information(means, log_variances, seed=1)


def test_latents_that_ignore_the_clip_have_no_sampled_mutual_information():
    latents, zeros = torch.randn(80, 192), torch.zeros(80, 192)
    assert mutual_information(zeros, zeros, latents, exact_entropy=False) == pytest.approx(0, abs=1e-9)


def test_mutual_information_uses_the_variances():
    """Two clips of one mean and different spread: log-densities by hand."""
    means, log_variances = torch.zeros(2, 1), torch.tensor([[0.0], [2.0]])
    latents = torch.tensor([[0.5], [-3.0]])

    def density(value, log_variance):
        return math.exp(-0.5 * (value**2 / math.exp(log_variance) + log_variance + math.log(2 * math.pi)))

    entropy = sum(0.5 * (1 + math.log(2 * math.pi) + value) for value in (0, 2)) / 2
    aggregated = [math.log((density(value, 0) + density(value, 2)) / 2) for value in (0.5, -3.0)]
    expected = -entropy - sum(aggregated) / 2
    assert mutual_information(means, log_variances, latents) == pytest.approx(expected)


def test_active_units_count_dimensions_whose_mean_varies():
    means = torch.tensor([[0.0, 5.0, 0.0], [1.0, 5.0, 0.1], [2.0, 5.0, 0.2]])
    assert active_units(means) == 2  # variances 1, 0 and 0.01
    assert active_units(means, threshold=0.5) == 1


def test_perplexity_counts_every_code():
    assert perplexity(10 * math.log(7), 10) == pytest.approx(7)
    assert perplexity(1e6, 10) == math.inf


def test_impossible_shapes_are_refused():
    with pytest.raises(ValueError, match="at least 2"):
        active_units(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="`latents` has the shape"):
        mutual_information(torch.zeros(4, 3), torch.zeros(4, 3), torch.zeros(4, 2))


def test_evaluate_module_counts_active_units():
    metric = evaluate.load(str(METRICS_FOLDER / "active_units"))
    for batch in torch.tensor([[0.0, 5.0], [1.0, 5.0], [2.0, 5.0], [0.0, 5.1]]).split(2):
        metric.add_batch(predictions=batch)
    assert metric.compute(threshold=0.02) == {"active_units": 1}


def test_evaluate_module_estimates_mutual_information():
    metric = evaluate.load(str(METRICS_FOLDER / "mutual_information"))
    means, log_variances = 100 * torch.eye(8), torch.full((8, 8), -4.0)
    noise = torch.randn(8, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    expected = mutual_information(means, log_variances, reparameterize(means, log_variances, noise))
    result = metric.compute(predictions=means, references=log_variances, seed=5)
    assert result["mutual_information"] == pytest.approx(expected)


def test_evaluate_module_weighs_all_codes_alike():
    metric = evaluate.load(str(METRICS_FOLDER / "code_perplexity"))
    result = metric.compute(predictions=[4 * math.log(2), 6 * math.log(2)], references=[2, 8])
    assert result == pytest.approx({"perplexity": 2.0, "nats_per_code": math.log(2)})
