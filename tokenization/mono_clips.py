"""Which clips does a caller's `audio` hold? Arrays, tensors and lists of many kinds become mono float32 clips."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

# What sounds often come in, and where the samples are in it: a row of a dataset, the result of a pipeline.
SAMPLE_KEYS = ("array", "audio")
NO_SAMPLES = (Mapping, str, bytes, os.PathLike)
# So few columns, and so many times as many rows, are one clip of (samples, channels) and no batch.
MAXIMUM_CHANNELS = 32
ROWS_PER_CHANNEL = 100


def mono_clips(audio) -> list[torch.Tensor]:
    """
    Splits `audio` into mono float32 clips of shape (samples,).

    Raises:
        ValueError: if it holds anything but clips.
    """
    if isinstance(audio, (list, tuple)) and len(audio) > 0 and _is_number(audio[0]):
        audio = np.asarray(audio)
    if isinstance(audio, (list, tuple)):
        if len(audio) == 0:
            raise ValueError("`audio` is an empty list; give at least one clip.")
        if np.ndim(audio[0]) == 1:
            _check_axes((len(audio), len(audio[0])))
        return [_to_mono(_to_float(clip)) for clip in audio]
    values = _to_float(audio)
    if values.dim() == 1:
        return [_to_mono(values)]
    if values.dim() in (2, 3) and len(values) > 0:
        _check_axes(tuple(values.shape))
        return [_to_mono(clip) for clip in values]
    raise ValueError(
        f"`audio` has shape {tuple(values.shape)}; expected (samples,), (batch, samples), (batch, channels, samples) "
        "or a list of clips."
    )


def _is_number(value: Any) -> bool:
    return np.ndim(value) == 0 and not isinstance(value, NO_SAMPLES)


def _check_axes(shape: tuple[int, ...]) -> None:
    """Refuses (samples, channels), which would be as many clips as there are samples, before it is split into them."""
    if len(shape) == 2 and 0 < shape[1] <= MAXIMUM_CHANNELS and shape[0] >= ROWS_PER_CHANNEL * shape[1]:
        raise ValueError(
            f"`audio` has shape {shape}, read as (batch, samples), but a clip has more than {shape[1]} samples. One "
            "clip of shape (samples, channels) has to be transposed, and given in a list: `[audio.T]`."
        )


def _to_float(audio) -> torch.Tensor:
    """float32 samples of an array, a tensor or nested lists; integer PCM is scaled to [-1, 1]."""
    if isinstance(audio, Mapping):
        key = next((key for key in SAMPLE_KEYS if key in audio), None)
        remedy = "the array of samples in it" if key is None else f'`audio["{key}"]`'
        raise ValueError(
            f"`audio` is a {type(audio).__name__} with the keys {list(audio)}; pass {remedy}, and its rate as "
            "`sampling_rate`."
        )
    if isinstance(audio, NO_SAMPLES):
        raise ValueError(
            f"`audio` is {audio!r:.100}, which are no samples; read the file first, as with soundfile.read, and pass "
            "the samples and their `sampling_rate`."
        )
    if isinstance(audio, torch.Tensor):
        audio = audio.detach().cpu()
        audio = audio.float().numpy() if audio.is_floating_point() else audio.numpy()  # numpy has no bfloat16
    array = np.asarray(audio)
    if np.issubdtype(array.dtype, np.floating):
        return torch.from_numpy(np.array(array, dtype=np.float32, order="C"))
    if array.dtype == np.uint8:  # 8-bit PCM is unsigned
        return torch.from_numpy((array.astype(np.float32) - 128) / 128)
    if array.dtype in (np.int8, np.int16, np.int32):
        return torch.from_numpy((array / -float(np.iinfo(array.dtype).min)).astype(np.float32))
    raise ValueError(
        f"`audio` has dtype {array.dtype}; expected floats in [-1, 1] or integer PCM: uint8, int8, int16 or int32."
    )


def _to_mono(clip: torch.Tensor) -> torch.Tensor:
    if clip.numel() == 0:
        raise ValueError("`audio` holds an empty clip; give at least one frame of samples.")
    if clip.dim() > 2:
        raise ValueError(
            f"A clip of `audio` has shape {tuple(clip.shape)}; expected (samples,) or (channels, samples)."
        )
    if clip.dim() == 2 and clip.shape[0] > clip.shape[1]:
        raise ValueError(
            f"A clip of `audio` has shape {tuple(clip.shape)}, read as (channels, samples); transpose it."
        )
    if not torch.isfinite(torch.stack(clip.aminmax())).all():  # NaN is passed on; faster than all samples
        raise ValueError("`audio` holds NaN or infinite samples; repair the clip or leave it out.")
    return clip.mean(0) if clip.dim() == 2 else clip
