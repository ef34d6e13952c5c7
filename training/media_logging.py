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
    pairs = torch.cat([features.flip(1), decoded.input_features.clamp(-1, 1).flip(1)], dim=1)
    picture = torch.cat(list((pairs + 1) / 2), dim=1)
    loop.tensorboard.add_image(
        "validation/clips_and_reconstructions", picture.unsqueeze(0).cpu(), loop.state.step, dataformats="CHW"
    )
    for index, waveform in enumerate(decoded.audio_values):
        loop.tensorboard.add_audio(
            f"validation/reconstruction_{index}",
            waveform.cpu().clamp(-1, 1),
            loop.state.step,
            sample_rate=feature_extractor.sampling_rate,
        )
