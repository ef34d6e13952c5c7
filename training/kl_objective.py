"""What does the latent of the GPT-VAE cost in training? The KL term with free bits, and how its weight rises."""

import torch

FREE_BITS_MODES = (0, 1, 2, 3)


def free_bits_kl(
    kl: torch.Tensor, free_bits: int = 0, target_kl: float = 0.0, mean_kl: torch.Tensor | None = None
) -> torch.Tensor:
    """
    The KL that the objective counts. A KL at or below its threshold counts as 0, one above it counts in full: the
    gradients are those of `max(threshold, KL)` (Kingma et al., 2016, arXiv:1606.04934), the value is lower.

    | `free_bits` | what is compared | threshold |
    |---|---|---|
    | 0 | nothing: all of the KL counts | |
    | 1 | the KL of each clip | `target_kl` |
    | 2 | each dimension of each clip | `target_kl / latent_size` |
    | 3 | the mean KL of the batch | `target_kl` |

    Args:
        kl (`torch.FloatTensor` of shape `(batch_size, latent_size)`): KL of each clip and dimension, nats.
        free_bits (`int`): 0 to 3.
        target_kl (`float`): nats per clip that cost nothing.
        mean_kl (`torch.Tensor`, *optional*): what mode 3 compares, if the batch is spread over several processes; by
            default the mean KL of `kl`.

    Returns:
        `torch.FloatTensor` of shape `(batch_size,)`: nats of each clip.

    Raises:
        ValueError: if there is no such mode.
    """
    per_clip = kl.sum(1)
    if free_bits == 0:
        return per_clip
    if free_bits == 1:
        return per_clip * (per_clip > target_kl)
    if free_bits == 2:
        return (kl * (kl > target_kl / kl.shape[1])).sum(1)
    if free_bits == 3:
        return per_clip * ((per_clip.mean() if mean_kl is None else mean_kl) > target_kl)
    raise ValueError(f"`free_bits` is {free_bits}; choose one of {list(FREE_BITS_MODES)}.")


def kl_weight(step: int, *, beta: float, kl_start: float, warm_up: float, steps_per_epoch: float) -> float:
    """
    Weight of the KL term in a training step. It rises in equal parts before every step, the first one included, until
    it is `beta`; being a function of the step, it needs no place in a checkpoint.

    With `beta` 1 it is the weight of the original, where `beta` is only a switch: 0 is the autoencoder, and any other
    value trains with a weight of up to 1.

    Args:
        step (`int`): optimizer steps done before this one.
        beta (`float`): highest weight; 0 trains an autoencoder.
        kl_start (`float`): share of `beta` to start from, 0 to 1.
        warm_up (`float`): epochs until the weight is `beta`; 0 starts with it.
        steps_per_epoch (`float`): optimizer steps of an epoch.
    """
    if warm_up == 0:
        return beta
    share = kl_start + (1 - kl_start) * (step + 1) / (warm_up * steps_per_epoch)
    return beta * min(1.0, share)
