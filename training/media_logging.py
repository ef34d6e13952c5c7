"""What does a training show in TensorBoard beside numbers?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from datasets import Dataset

    from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor
    from melspec_gpt.training.loop import TrainingLoop


def log_reconstructions(
    loop: TrainingLoop, clips: Dataset, feature_extractor: MelFeatureExtractor, num_clips: int = 4
) -> None:
    """Logs some clips above their reconstructions as one picture (low bands below), and the sound of each."""
    if loop.tensorboard is None:
        return
    mel = clips[: min(num_clips, len(clips))]["mel"].float()
    features = feature_extractor.normalize(mel).to(loop.accelerator.device)
    model = loop.unwrapped()
    decoded = model.decode(model.encode(features).audio_codes)
    log_mel_pictures(loop, "clips_and_reconstructions", features, decoded.input_features)
    log_sounds(loop, "reconstruction", decoded.audio_values, feature_extractor.sampling_rate)


def log_mel_pictures(loop: TrainingLoop, name: str, *rows: torch.FloatTensor) -> None:
    """
    Logs one picture of clips side by side, low bands below.

    Args:
        loop ([`TrainingLoop`]): with TensorBoard.
        name (`str`): of the picture.
        rows (`torch.FloatTensor` of shape `(clips, mel bands, frames)`): one or more versions of the clips, in
            [-1, 1]; the first one is shown at the top. Values beyond are cut off.
    """
    columns = torch.cat([features.clamp(-1, 1).flip(1) for features in rows], dim=1)
    picture = torch.cat(list((columns + 1) / 2), dim=1)
    log_picture(loop, name, picture)


def log_picture(loop: TrainingLoop, name: str, picture: torch.FloatTensor) -> None:
    """Logs a picture of shape `(height, width)` with values from 0 to 1."""
    image = picture.unsqueeze(0).cpu()
    loop.tensorboard.add_image(f"validation/{name}", image, loop.state.step, dataformats="CHW")


def log_sounds(loop: TrainingLoop, name: str, waveforms: torch.FloatTensor, sampling_rate: int) -> None:
    """Logs waveforms of shape `(clips, samples)` as NAME_0, NAME_1, ..."""
    for index, waveform in enumerate(waveforms):
        loop.tensorboard.add_audio(
            f"validation/{name}_{index}", waveform.cpu().clamp(-1, 1), loop.state.step, sample_rate=sampling_rate
        )
