"""What does the training of a GPT-VAE show beside numbers? Codes, pictures, sounds, attention, an interpolation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from melspec_gpt.training.media_logging import (
    attention_picture,
    eager_attention,
    log_code_histogram,
    log_codes,
    log_mel_pictures,
    log_picture,
    log_sounds,
)
from melspec_gpt.training.vae_evaluation import class_labels

if TYPE_CHECKING:
    from datasets import Dataset

    from melspec_gpt.modeling.modeling_mel_gpt_vae import MelGPTVAEModel
    from melspec_gpt.tokenization.processing_mel_gpt import MelGPTProcessor
    from melspec_gpt.training.loop import TrainingLoop

INTERPOLATION_STEPS = 5


@torch.no_grad()
def log_vae_media(loop: TrainingLoop, clips: Dataset, processor: MelGPTProcessor, num_clips: int = 2) -> None:
    """
    Logs some clips and their greedy reconstructions as codes, pictures and sounds, where encoder and decoder look in
    the first one, and the way from the first to the second.
    """
    if loop.tensorboard is None:
        return
    model = loop.unwrapped()
    batch = {name: value.to(model.device) for name, value in clips[: min(num_clips, len(clips))].items()}
    codes, labels = batch["codes"], class_labels(model.config, batch)
    versions = {"original": codes, "reconstruction": model.reconstruct(codes, class_labels=labels)}
    pictures = []
    for name, version in versions.items():
        decoded = processor.decode_features(version)
        pictures.append(decoded.input_features)
        log_sounds(loop, name, decoded.audio_values, processor.sampling_rate)
        log_codes(loop, name, version)
        log_code_histogram(loop, name, version)
    log_mel_pictures(loop, "originals_and_reconstructions", *pictures)
    for name, picture in attention_pictures(model, codes[:1], None if labels is None else labels[:1]).items():
        log_picture(loop, name, picture)
    if len(codes) > 1:
        _log_interpolation(loop, model, processor, codes[:2], None if labels is None else labels[:1])


def _log_interpolation(
    loop: TrainingLoop,
    model: MelGPTVAEModel,
    processor: MelGPTProcessor,
    pair: torch.LongTensor,
    labels: torch.LongTensor | None,
) -> None:
    way = processor.decode_features(model.interpolate(*pair, steps=INTERPOLATION_STEPS, class_labels=labels))
    log_mel_pictures(loop, "interpolation", way.input_features)
    log_sounds(loop, "interpolation", way.audio_values, processor.sampling_rate)


def attention_pictures(
    model: MelGPTVAEModel, codes: torch.LongTensor, labels: torch.LongTensor | None = None
) -> dict[str, torch.FloatTensor]:
    """
    Where a clip's positions look in the last layers.

    Args:
        model ([`MelGPTVAEModel`]): any attention implementation.
        codes (`torch.LongTensor` of shape `(1, num_codes)`): a clip.
        labels (`torch.LongTensor` of shape `(1,)`, *optional*): its class, with class conditioning.

    Returns:
        `encoder_attention` and `decoder_attention`, `torch.FloatTensor` of shape `(positions, positions)`: one row for
        each position that looks, the mean of the heads, 1 where it looks most.
    """
    with eager_attention(model):
        noise = torch.zeros(1, model.config.latent_size, device=codes.device)
        outputs = model(codes, class_labels=labels, noise=noise, output_attentions=True)
    last_layers = {"encoder": outputs.encoder_attentions[-1], "decoder": outputs.decoder_attentions[-1]}
    return {f"{name}_attention": attention_picture(weights) for name, weights in last_layers.items()}
