"""How well does a GPT-VAE describe clips? Values of each clip, and what they say together."""

from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
from datasets import Dataset
from tqdm import tqdm

from melspec_gpt.configuration.configuration_mel_gpt_vae import MelGPTVAEConfig
from melspec_gpt.modeling.modeling_mel_gpt_vae import MelGPTVAEModel
from melspec_gpt.training.clip_randomness import ROW_COLUMN, clip_generators, draw_noise
from melspec_gpt.training.latent_metrics import (
    active_units,
    expected_mutual_information,
    mutual_information,
    perplexity,
)

# Values of which the mean over the clips says nothing.
LATENT_VALUES = ("mean", "log_variance", "latents")
VALIDATION = "validation"


def class_labels(config: MelGPTVAEConfig, batch: dict[str, torch.Tensor]) -> torch.LongTensor | None:
    """The classes of a batch, for a decoder that reads them."""
    return batch["label"] if config.class_conditioning else None


def clip_values(
    config: MelGPTVAEConfig, forward: Callable, batch: dict[str, torch.Tensor], generators: Sequence[torch.Generator]
) -> dict[str, torch.Tensor]:
    """
    What a GPT-VAE says about clips, with one draw from each posterior and one from the prior.

    Args:
        config ([`MelGPTVAEConfig`]): of the model.
        forward: the model, or its wrapper of several processes.
        batch (`dict[str, torch.Tensor]`): `codes` of shape `(batch_size, num_codes)` and `label` of shape
            `(batch_size,)`.
        generators (`Sequence[torch.Generator]`): a source of random numbers for each clip.

    Returns:
        One row per clip: `reconstruction_loss`, `kl_loss` and `random_latent_loss` (the clip decoded with a latent of
        the prior) in nats per clip, and `mean`, `log_variance` and `latents`, `(batch_size, latent_size)`.
    """
    codes = batch["codes"]
    noise, random_latents = draw_noise(generators, 2, config.latent_size).to(codes.device).unbind(1)
    options = {"input_ids": codes, "class_labels": class_labels(config, batch)}
    outputs = forward(**options, noise=noise)
    return {
        "reconstruction_loss": outputs.reconstruction_nats,
        "kl_loss": outputs.kl_nats,
        "random_latent_loss": forward(**options, latents=random_latents).reconstruction_nats,
        "mean": outputs.mean,
        "log_variance": outputs.log_variance,
        "latents": outputs.latents,
    }


def summarize_clips(values: dict[str, torch.Tensor], num_codes: int) -> dict[str, float]:
    """
    Metrics over all clips.

    Args:
        values (`dict[str, torch.Tensor]`): [`clip_values`] of the clips, and further ones of which the mean is wanted.
        num_codes (`int`): codes of a clip.

    Returns:
        The mean of each value in nats per clip; `elbo`, the lower bound of the log-likelihood, nats per clip, and the
        `nats_per_code` and `perplexity` that follow from it; nats per code of the reconstruction and of the
        reconstruction from a random latent; `mutual_information` in nats, the mean of many draws, and
        `mutual_information_one_draw`, the original's estimate; the number of `active_units`.
    """
    metrics = {name: value.double().mean().item() for name, value in values.items() if name not in LATENT_VALUES}
    negative_elbo = metrics["reconstruction_loss"] + metrics["kl_loss"]
    random_latent_loss = metrics.pop("random_latent_loss")
    means = values["mean"]
    return metrics | {
        "elbo": -negative_elbo,
        "nats_per_code": negative_elbo / num_codes,
        "perplexity": perplexity(negative_elbo, num_codes),
        "reconstruction_nats_per_code": metrics["reconstruction_loss"] / num_codes,
        "random_latent_nats_per_code": random_latent_loss / num_codes,
        "mutual_information": expected_mutual_information(means, values["log_variance"]),
        "mutual_information_one_draw": mutual_information(means, values["log_variance"], values["latents"]),
        # The variance of a single clip is unknown.
        "active_units": float(active_units(means)) if len(means) > 1 else 0.0,
    }


@torch.no_grad()
def evaluate_vae(
    model: MelGPTVAEModel, rows: Dataset, *, num_importance_samples: int = 50, batch_size: int = 8, seed: int = 0
) -> dict[str, float]:
    """
    All metrics of a GPT-VAE on one device.

    Args:
        model ([`MelGPTVAEModel`]): in evaluation mode.
        rows (`Dataset`): clips with `codes`, `label` and `row` as tensors.
        num_importance_samples (`int`): latents per clip for `importance_weighted_nll`; 0 leaves that out.
        batch_size (`int`): clips at a time; the result depends on it only by rounding.
        seed (`int`): seed of all draws.

    Returns:
        [`summarize_clips`], and `importance_weighted_nll`, the estimate of the negative log-likelihood in nats per
        clip (Burda et al., 2016, arXiv:1509.00519).
    """
    config, gathered = model.config, defaultdict(list)
    for batch in tqdm(rows.iter(batch_size), total=-(-len(rows) // batch_size), desc="Evaluating", unit="batch"):
        batch = {name: value.to(model.device) for name, value in batch.items()}
        generators = clip_generators(batch[ROW_COLUMN].tolist(), seed, VALIDATION)
        values = clip_values(config, model, batch, generators)
        if num_importance_samples:
            noise = draw_noise(generators, num_importance_samples, config.latent_size).to(model.device)
            values["importance_weighted_nll"] = model.importance_weighted_nll(
                batch["codes"], num_importance_samples, class_labels=class_labels(config, batch), noise=noise
            )
        for name, value in values.items():
            gathered[name].append(value.float().cpu())
    return summarize_clips({name: torch.cat(parts) for name, parts in gathered.items()}, config.num_codes)
