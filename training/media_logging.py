"""What does a training show in TensorBoard beside numbers?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel

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
    codes = model.encode(features).audio_codes
    log_code_histogram(loop, "clip", codes)
    decoded = model.decode(codes)
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


def log_codes(loop: TrainingLoop, name: str, codes: torch.LongTensor) -> None:
    """Logs sentences of shape `(clips, num_codes)` as texts."""
    for index, clip in enumerate(codes):
        text = " ".join(map(str, clip.tolist()))
        loop.tensorboard.add_text(f"validation/{name}_codes_{index}", text, loop.state.step)


def log_code_histogram(loop: TrainingLoop, name: str, codes: torch.LongTensor) -> None:
    """Logs how often each code occurs in `codes`, of any shape."""
    loop.tensorboard.add_histogram(f"validation/{name}_code_histogram", codes.flatten().cpu(), loop.state.step)


def attention_picture(weights: torch.FloatTensor) -> torch.FloatTensor:
    """
    Where the positions of the first clip look: one row for each position that looks, the mean of the heads, 1 where it
    looks most. `weights` are those of a layer, `(clips, heads, positions, positions)`.
    """
    mean = weights[0].float().mean(0)
    return mean / mean.amax(1, keepdim=True)


@contextmanager
def eager_attention(model: PreTrainedModel) -> Iterator[None]:
    """Only the eager implementation gives the weights."""
    implementation = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(implementation)
