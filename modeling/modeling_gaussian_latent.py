"""What is the density of a Gaussian latent, how is one drawn, and which latents lie between two others?"""

import math

import torch

INTERPOLATION_MODES = ("linear", "spherical")
# Below it, two directions count as parallel: in float32, a division by their angle's sine would be noise.
SMALLEST_SINE = 1e-3


def reparameterize(mean: torch.Tensor, log_variance: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """
    A draw from a Gaussian with gradients for its parameters (Kingma and Welling, 2014, arXiv:1312.6114).

    Args:
        mean, log_variance (`torch.Tensor` of shape `(..., latent_size)`): the Gaussian.
        noise (`torch.Tensor` of shape `(..., latent_size)`): a standard normal draw.

    Returns:
        `torch.Tensor` of shape `(..., latent_size)`: `mean + noise * standard deviation`.
    """
    return mean + noise * torch.exp(0.5 * log_variance)


def gaussian_kl(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """
    Kullback-Leibler divergence of a diagonal Gaussian from the standard normal, dimension by dimension, nats
    (Kingma and Welling, 2014, appendix B).

    Args:
        mean, log_variance (`torch.Tensor` of shape `(..., latent_size)`): the Gaussian.

    Returns:
        `torch.Tensor` of shape `(..., latent_size)`: the divergence in each dimension; their sum is that of the whole.
    """
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1)


def log_normal(latents: torch.Tensor, mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """
    Log density of a diagonal Gaussian, nats.

    Args:
        latents (`torch.Tensor` of shape `(..., latent_size)`): where the density is asked for.
        mean, log_variance (`torch.Tensor`, broadcastable to `latents`): the Gaussian.

    Returns:
        `torch.Tensor` of shape `(...)`: log density.
    """
    squared_distance = (latents - mean).square() / log_variance.exp()
    return -0.5 * (squared_distance + log_variance + math.log(2 * math.pi)).sum(dim=-1)


def log_standard_normal(latents: torch.Tensor) -> torch.Tensor:
    """Log density of the prior N(0, 1) at `latents`, summed over the last dimension, nats."""
    return log_normal(latents, torch.zeros_like(latents), torch.zeros_like(latents))


def interpolate_latents(start: torch.Tensor, end: torch.Tensor, steps: int, mode: str = "linear") -> torch.Tensor:
    r"""
    Latents at equal distances on the way from `start` to `end`, both included.

    Args:
        start, end (`torch.Tensor` of shape `(batch_size, latent_size)`): the ends.
        steps (`int`): number of latents, at least 2.
        mode (`str`): "linear", or "spherical": along the great circle (Shoemake, 1985), which keeps the length that
            draws from a Gaussian of many dimensions have. Where the two ends span no circle, it is linear.

    Returns:
        `torch.Tensor` of shape `(batch_size, steps, latent_size)`: the latents.

    Raises:
        ValueError: if `steps` is below 2 or `mode` is unknown.
    """
    if steps < 2:
        raise ValueError(f"`steps` is {steps}; it has to be 2 or more, because both ends are among them.")
    if mode not in INTERPOLATION_MODES:
        raise ValueError(f"`mode` is {mode!r}; it has to be one of {', '.join(INTERPOLATION_MODES)}.")
    shares = torch.linspace(0, 1, steps, device=start.device, dtype=start.dtype)[:, None]  # (steps, 1)
    start, end = start.unsqueeze(1), end.unsqueeze(1)
    linear = shares * end + (1 - shares) * start
    if mode == "linear":
        return linear
    lengths = start.norm(dim=-1, keepdim=True) * end.norm(dim=-1, keepdim=True)
    # NaN where one of the ends is 0 and has no direction, which the comparison below takes as "no circle".
    angle = ((start * end).sum(dim=-1, keepdim=True) / lengths).clamp(-1, 1).acos()
    spherical = (torch.sin((1 - shares) * angle) * start + torch.sin(shares * angle) * end) / torch.sin(angle)
    return torch.where(angle.sin() > SMALLEST_SINE, spherical, linear)
