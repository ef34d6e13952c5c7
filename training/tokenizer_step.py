"""What happens in a training step, and in a validation step, of the audio tokenizer?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from melspec_gpt.modeling.modeling_vector_quantizer import code_perplexity
from melspec_gpt.training.adversarial_step import adversarial_term, judge, plays, train_discriminator
from melspec_gpt.training.clip_randomness import ROW_COLUMN, clip_generators
from melspec_gpt.training.codebook_ema import CodebookEMA, gather_across_processes
from melspec_gpt.training.texture_loss import texture_loss
from melspec_gpt.training.vq_gan_losses import spectral_convergence

if TYPE_CHECKING:
    from melspec_gpt.modeling.modeling_mel_vq import MelVQOutput
    from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor
    from melspec_gpt.training.loop import TrainingLoop
    from melspec_gpt.training.perceptual_loss import PerceptualLoss


def random_crops(
    mel: torch.Tensor, frames: int, gain_range: float, generators: Sequence[torch.Generator]
) -> torch.Tensor:
    """
    Training features: a random stretch of each clip, at a random level.

    Args:
        mel (`torch.FloatTensor` of shape `(batch_size, num_mel_bins, num_mel_frames)`): in [0, 1].
        frames (`int`): length of the crops.
        gain_range (`float`): largest change of the level, dB (100 dB are the whole range of the mel).
        generators (`Sequence[torch.Generator]`): one for each clip.

    Returns:
        `torch.FloatTensor` of shape `(batch_size, num_mel_bins, frames)`, in [-1, 1].
    """
    crops = []
    for clip, generator in zip(mel, generators, strict=True):
        start = int(torch.randint(clip.shape[-1] - frames + 1, (), generator=generator))
        gain = (2 * torch.rand((), generator=generator).item() - 1) * gain_range / 100
        crop = clip[:, start : start + frames]
        # What lies on the floor is silence or below what the scale can tell: it stays there.
        crops.append(torch.where(crop > 0, (crop + gain).clamp(0, 1), crop))
    return 2 * torch.stack(crops) - 1


def reconstruction_terms(
    loop: TrainingLoop, outputs: MelVQOutput, features: torch.Tensor, perceptual_loss: PerceptualLoss | None
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """What makes a reconstruction like its original, weighted and added up, and each part of it alone."""
    arguments = loop.arguments
    texture = texture_loss(outputs.reconstruction, features)
    total = outputs.reconstruction_loss + arguments.texture_weight * texture
    metrics = {"reconstruction_loss": outputs.reconstruction_loss, "texture_loss": texture}
    if perceptual_loss is not None:
        metrics["perceptual_loss"] = perceptual_loss(outputs.reconstruction, features)
        total = total + arguments.perceptual_weight * metrics["perceptual_loss"]
    return total, metrics


def training_step(
    loop: TrainingLoop,
    batch: dict[str, torch.Tensor],
    *,
    codebook: CodebookEMA | None,
    perceptual_loss: PerceptualLoss | None,
) -> dict[str, torch.Tensor]:
    """
    One step of the tokenizer on random crops, and one of the discriminator on what came out of it. The codebook
    follows the latents; without a [`CodebookEMA`] its gradient moves it.
    """
    arguments, config = loop.arguments, loop.unwrapped().config
    generators = clip_generators(batch[ROW_COLUMN].tolist(), arguments.seed, loop.state.epoch)
    frames = arguments.crop_frames or config.num_frames
    features = random_crops(batch["mel"].float(), frames, arguments.gain_range, generators)
    outputs = loop.modules["model"](features)
    fidelity, metrics = reconstruction_terms(loop, outputs, features, perceptual_loss)
    loss = fidelity + outputs.codebook_loss
    adversary_plays = plays(loop)
    if adversary_plays:
        term, adversarial_metrics = adversarial_term(loop, outputs.reconstruction, fidelity)
        loss, metrics = loss + term, metrics | adversarial_metrics
    has_stepped = loop.optimize(loss)
    if codebook is not None:
        (codebook.update if has_stepped else codebook.collect)(outputs.latents)
    if adversary_plays:
        metrics |= train_discriminator(loop, features, outputs.reconstruction)
    return metrics | {
        "loss": loss,
        "codebook_loss": outputs.codebook_loss,
        "perplexity": code_perplexity(gather_across_processes(outputs.audio_codes.flatten(1)), config.codebook_size),
        "spectral_convergence": spectral_convergence(outputs.reconstruction.detach(), features).mean(),
    }


def evaluation_step(
    loop: TrainingLoop, batch: dict[str, torch.Tensor], *, feature_extractor: MelFeatureExtractor
) -> dict[str, torch.Tensor]:
    """Losses and codes of whole clips, one row per clip. The loss leaves out the discriminator, a moving target."""
    features = feature_extractor.normalize(batch["mel"].float())
    outputs = loop.modules["model"](features)
    pairs = zip(outputs.reconstruction.split(1), features.split(1), strict=True)
    texture = torch.stack([texture_loss(*pair) for pair in pairs])
    reconstruction_loss = (outputs.reconstruction - features).abs().mean((1, 2))
    judgement = judge(loop, features, outputs.reconstruction) if plays(loop) else {}
    return judgement | {
        "loss": reconstruction_loss + loop.arguments.texture_weight * texture,
        "reconstruction_loss": reconstruction_loss,
        "texture_loss": texture,
        "spectral_convergence": spectral_convergence(outputs.reconstruction, features),
        "audio_codes": outputs.audio_codes.squeeze(1),
    }


def summarize_evaluation(values: dict[str, torch.Tensor], codebook_size: int) -> dict[str, float]:
    """Mean losses, and how much of the codebook the whole split uses."""
    codes = values.pop("audio_codes")
    metrics = {name: value.mean().item() for name, value in values.items()}
    return metrics | {
        "codes_used": float(len(codes.unique())),
        "perplexity": code_perplexity(codes, codebook_size).item(),
    }
