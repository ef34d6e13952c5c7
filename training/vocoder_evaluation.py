"""How well does a vocoder make waveforms of features, in numbers, in pictures and in sound?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from datasets import Dataset
from torch import nn

from melspec_gpt.modeling.modeling_griffin_lim import GriffinLimVocoder
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor
from melspec_gpt.training.media_logging import log_mel_pictures, log_sounds
from melspec_gpt.training.vocoder_losses import SILENCE, stft_distance
from melspec_gpt.training.waveform_clips import RECONSTRUCTION_COLUMN, aligned_waveforms

if TYPE_CHECKING:
    from melspec_gpt.training.loop import TrainingLoop

# Clips beyond this number would make the baseline slow, and hardly change it.
BASELINE_CLIPS = 100


def resynthesized_features(waveforms: torch.Tensor, feature_extractor: MelFeatureExtractor) -> torch.Tensor:
    """
    Features of a vocoder's waveforms, to be held against those it was given.

    Args:
        waveforms (`torch.FloatTensor` of shape `(batch_size, hop_length * num_frames)`): made of features.
        feature_extractor ([`MelFeatureExtractor`]): that of the data set.

    Returns:
        `torch.FloatTensor` of shape `(batch_size, feature_size, num_frames)`, in [-1, 1], on the CPU. Windows that
        reach beyond an end of the waveform, two frames on each side at the usual geometry, see something else there
        than in the recording.
    """
    mel = feature_extractor.mel_spectrogram(waveforms, feature_extractor.sampling_rate, short_clips="zero")
    return 2 * mel[..., : feature_extractor.num_frames] - 1


def waveform_values(
    waveforms: torch.Tensor,
    targets: torch.Tensor,
    input_features: torch.Tensor,
    feature_extractor: MelFeatureExtractor,
) -> dict[str, torch.Tensor]:
    """
    What can be measured of a vocoder's waveforms, each a `torch.FloatTensor` of shape `(batch_size,)`.

    Args:
        waveforms, targets (`torch.FloatTensor` of shape `(batch_size, hop_length * num_frames)`): made and recorded.
        input_features (`torch.FloatTensor` of shape `(batch_size, feature_size, num_frames)`): what they were made of.
        feature_extractor ([`MelFeatureExtractor`]): that of the data set.

    Returns:
        `stft_distance`, see there; `mel_error`, the mean absolute difference of the features of the waveform and those
        it was made of; `level_error`, the difference of the levels of made and recorded clip, dB (-80 dB at least).
    """
    margin = feature_extractor.n_fft // feature_extractor.hop_length // 2
    inner = slice(margin, feature_extractor.num_frames - margin)
    features = resynthesized_features(waveforms, feature_extractor)
    levels = [20 * clips.square().mean(-1).sqrt().clamp(min=SILENCE).log10() for clips in (waveforms, targets)]
    return {
        "stft_distance": stft_distance(waveforms, targets),
        "mel_error": (features - input_features.cpu())[..., inner].abs().mean((1, 2)).to(waveforms.device),
        "level_error": (levels[0] - levels[1]).abs(),
    }


def vocoder_inputs(batch: dict[str, torch.Tensor], feature_extractor: MelFeatureExtractor) -> dict[str, torch.Tensor]:
    """The features of whole clips, and those that went through an audio tokenizer where the batch has them."""
    inputs = {"": feature_extractor.normalize(batch["mel"].float())}
    if RECONSTRUCTION_COLUMN in batch:
        inputs["reconstructed_"] = batch[RECONSTRUCTION_COLUMN].float()
    return inputs


def clip_values(
    vocoder: nn.Module, batch: dict[str, torch.Tensor], feature_extractor: MelFeatureExtractor
) -> dict[str, torch.Tensor]:
    """
    [`waveform_values`] of a vocoder for whole clips, one row per clip: from the features of the recordings, and from
    their reconstructions, as `reconstructed_...`, where the batch has them.
    """
    targets = aligned_waveforms(batch["audio"], feature_extractor)
    values = {}
    for prefix, features in vocoder_inputs(batch, feature_extractor).items():
        measured = waveform_values(vocoder(features).float(), targets, features, feature_extractor)
        values |= {f"{prefix}{name}": value for name, value in measured.items()}
    return values


def griffin_lim_baseline(validation: Dataset, feature_extractor: MelFeatureExtractor) -> dict[str, float]:
    """
    Means of [`clip_values`] for the Griffin-Lim algorithm, which needs no training, as `griffin_lim_...`. Of a long
    split some 100 clips at even distances are used.
    """
    griffin_lim = GriffinLimVocoder(**feature_extractor.spectrogram_geometry)
    chosen = range(0, len(validation), -(-len(validation) // BASELINE_CLIPS))
    values = [clip_values(griffin_lim, validation[index : index + 1], feature_extractor) for index in chosen]
    return {f"griffin_lim_{name}": torch.cat([value[name] for value in values]).mean().item() for name in values[0]}


def log_resynthesis(
    loop: TrainingLoop, clips: Dataset, feature_extractor: MelFeatureExtractor, num_clips: int = 4
) -> None:
    """Logs what the vocoder makes of some clips: their features above those of its waveforms, and the sounds."""
    if loop.tensorboard is None:
        return
    batch = clips[: min(num_clips, len(clips))]
    features = list(vocoder_inputs(batch, feature_extractor).values())[-1]
    waveforms = loop.unwrapped()(features.to(loop.accelerator.device)).float()
    pictures = features, resynthesized_features(waveforms, feature_extractor)
    log_mel_pictures(loop, "features_and_resynthesis", *pictures)
    log_sounds(loop, "vocoder", waveforms, feature_extractor.sampling_rate)
    recordings = aligned_waveforms(batch["audio"], feature_extractor)
    log_sounds(loop, "recording", recordings, feature_extractor.sampling_rate)
