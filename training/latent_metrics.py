"""Does the latent of a GPT-VAE carry anything? Mutual information, active units, and perplexity."""

import math

import torch

# Burda et al., 2016 (arXiv:1509.00519): a unit is active if its mean varies more than this over the data.
ACTIVE_UNIT_VARIANCE = 0.01
# One draw from the posteriors of 80 clips leaves a deviation of about a tenth of a nat.
INFORMATION_DRAWS = 20


def active_units(means: torch.Tensor, threshold: float = ACTIVE_UNIT_VARIANCE) -> int:
    """
    Number of latent dimensions whose posterior mean varies over the clips (Burda et al., 2016, arXiv:1509.00519).

    Args:
        means (`torch.FloatTensor` of shape `(num_clips, latent_size)`): posterior means of at least two clips.
        threshold (`float`): smallest (unbiased) variance of an active unit.

    Raises:
        ValueError: if there are fewer than two clips.
    """
    _check_clips(means, minimum=2)
    return int((means.double().var(0) >= threshold).sum())


def mutual_information(
    means: torch.Tensor, log_variances: torch.Tensor, latents: torch.Tensor, exact_entropy: bool = True
) -> float:
    """
    Estimate of the mutual information of clip and latent, nats: how much the latent tells about which clip it is of
    (Hoffman and Johnson, 2016; the estimator of He et al., 2019, arXiv:1901.05534).

    The density of the aggregated posterior is estimated from one latent of each clip: the result varies with that
    draw. It cannot show more than the logarithm of `num_clips`.

    Args:
        means (`torch.FloatTensor` of shape `(num_clips, latent_size)`): posterior means.
        log_variances (`torch.FloatTensor` of shape `(num_clips, latent_size)`): posterior log-variances.
        latents (`torch.FloatTensor` of shape `(num_clips, latent_size)`): a draw from each posterior.
        exact_entropy (`bool`): whether the entropy of the posteriors is computed (as the original does) or estimated
            from the same draws. Computed, it leaves a deviation of `sqrt(latent_size / 2 / num_clips)`, and the
            result can be negative; estimated, most of the randomness of the two densities cancels.

    Raises:
        ValueError: if there is no clip, or if the shapes differ.
    """
    _check_clips(means, minimum=1)
    for name, value in {"log_variances": log_variances, "latents": latents}.items():
        if value.shape != means.shape:
            raise ValueError(f"`{name}` has the shape {tuple(value.shape)}, but `means` has {tuple(means.shape)}.")
    means, log_variances, latents = means.double(), log_variances.double(), latents.double()
    log_densities = _log_densities(means, log_variances, latents)
    negative_entropy = log_densities.diagonal()
    if exact_entropy:
        negative_entropy = -0.5 * (1 + math.log(2 * math.pi) + log_variances).sum(1)
    aggregated = torch.logsumexp(log_densities, dim=1) - math.log(len(means))
    return (negative_entropy - aggregated).mean().item()


def expected_mutual_information(
    means: torch.Tensor, log_variances: torch.Tensor, num_draws: int = INFORMATION_DRAWS, seed: int = 0
) -> float:
    """
    The mean of [`mutual_information`], with sampled entropy, over `num_draws` draws from the posteriors: for comparing
    models, since a single draw can tell them apart wrongly.

    Args:
        means, log_variances (`torch.FloatTensor` of shape `(num_clips, latent_size)`): posteriors.
        num_draws (`int`): draws from each posterior.
        seed (`int`): seed of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    means, deviations = means.double().cpu(), (0.5 * log_variances.double().cpu()).exp()
    estimates = []
    for _ in range(num_draws):
        noise = torch.randn(means.shape, dtype=means.dtype, generator=generator)
        latents = means + deviations * noise
        estimates.append(mutual_information(means, log_variances.cpu(), latents, exact_entropy=False))
    return sum(estimates) / num_draws


def _log_densities(means: torch.Tensor, log_variances: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
    """log q(latent i | clip j), in a form that needs no tensor of (clips, clips, dimensions)."""
    precisions = (-log_variances).exp()
    distances = latents.square() @ precisions.T - 2 * latents @ (means * precisions).T
    constants = (means.square() * precisions + log_variances + math.log(2 * math.pi)).sum(1)
    return -0.5 * (distances + constants)  # (latents, clips)


def perplexity(nats: float, num_codes: int) -> float:
    """
    Number of equally likely codes that are as hard to predict: `exp` of the nats per code, over all codes of a clip.
    The original divides by one code less than it predicts, which makes its figure larger.

    Args:
        nats (`float`): negative log-likelihood, or a bound of it.
        num_codes (`int`): codes that it is of.
    """
    try:
        return math.exp(nats / num_codes)
    except OverflowError:
        return math.inf


def _check_clips(means: torch.Tensor, minimum: int) -> None:
    if means.dim() != 2 or len(means) < minimum:
        raise ValueError(
            f"`means` has the shape {tuple(means.shape)}; expected (num_clips, latent_size) with at least {minimum} "
            "clips."
        )
