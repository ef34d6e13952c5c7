"""How does a waveform become a file?"""

import wave
from pathlib import Path

import numpy as np
import torch
from transformers.utils import logging

logger = logging.get_logger(__name__)

PCM = np.iinfo(np.int16)
SUFFIXES = (".wav", ".flac")


def write_audio(waveforms, paths, sampling_rate: int) -> list[Path]:
    """
    Writes waveforms as 16-bit PCM files; missing folders are made. A clip whose peak is above 1, the largest value
    that PCM holds, is scaled down as a whole to a peak of 1, with a warning: it keeps its shape. Quieter clips are
    written as they are.

    Args:
        waveforms (tensor, array or list): one waveform of shape `(samples,)` or a batch `(batch_size, samples)`.
        paths (`str`, `Path` or a list of them): one file for each waveform, `.wav` or `.flac`. Only the latter needs
            the package soundfile.
        sampling_rate (`int`): samples per second, Hz.

    Returns:
        `list[Path]`: the files.

    Raises:
        ValueError: if numbers of waveforms and paths differ, a format is not known or not available, or samples are
            not finite.
    """
    is_one = isinstance(waveforms, (torch.Tensor, np.ndarray)) and waveforms.ndim == 1
    clips = [_to_samples(clip) for clip in ([waveforms] if is_one else waveforms)]
    paths = [Path(path) for path in ([paths] if isinstance(paths, (str, Path)) else paths)]
    if len(clips) != len(paths):
        raise ValueError(f"There are {len(clips)} waveforms but {len(paths)} `paths`; give one path for each.")
    for path in paths:
        if path.suffix.lower() not in SUFFIXES:
            raise ValueError(f"`paths` holds {str(path)!r}; the name has to end in .wav or .flac.")
    peaks = [float(np.abs(clip).max()) for clip in clips]
    num_loud = sum(peak > 1 for peak in peaks)
    if num_loud:
        logger.warning(
            f"{num_loud} of {len(clips)} clips peak above 1 (at most {max(peaks):.2f}) and were scaled down to 1."
        )
    for clip, peak, path in zip(clips, peaks, paths, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        write = _write_wav if path.suffix.lower() == ".wav" else _write_flac
        samples = np.rint(clip / max(peak, 1.0) * -float(PCM.min)).clip(PCM.min, PCM.max)
        write(path, samples.astype(PCM.dtype), sampling_rate)
    return paths


def _write_wav(path: Path, samples: np.ndarray, sampling_rate: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(PCM.bits // 8)
        file.setframerate(sampling_rate)
        file.writeframes(samples.astype("<i2").tobytes())


def _write_flac(path: Path, samples: np.ndarray, sampling_rate: int) -> None:
    try:
        import soundfile  # only flac needs it
    except ImportError as error:
        raise ValueError(
            f"`paths` holds {str(path)!r}, but flac needs the package soundfile, which is not installed: pip install "
            "soundfile, or write .wav files."
        ) from error
    soundfile.write(path, samples, sampling_rate)


def _to_samples(waveform) -> np.ndarray:
    """float32: half precision has no 32767."""
    if isinstance(waveform, torch.Tensor):
        waveform = waveform.detach().cpu()
        waveform = waveform.float() if waveform.is_floating_point() else waveform  # numpy has no bfloat16
    samples = np.asarray(waveform)
    if samples.ndim != 1 or samples.size == 0 or not np.issubdtype(samples.dtype, np.floating):
        raise ValueError(
            f"A waveform has shape {samples.shape} and dtype {samples.dtype}; expected floats of shape (samples,)."
        )
    samples = samples.astype(np.float32)
    if not np.isfinite(samples).all():
        raise ValueError("A waveform holds NaN or infinite samples; it cannot be written.")
    return samples
