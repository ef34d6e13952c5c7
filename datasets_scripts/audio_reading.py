"""How does a sound file become clips?"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from melspec_gpt.datasets_scripts.audio_decoding import AudioStream, open_audio
from melspec_gpt.datasets_scripts.clip_conditioning import condition_clip
from melspec_gpt.datasets_scripts.clip_options import FIRST_CLIP, ClipOptions
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor

# Read on both sides of a clip, so that the resampling filter sees no edge in it. A whole second is a whole number of
# samples at both rates, so that what was read before the clip can be removed exactly.
RESAMPLING_MARGIN_SECONDS = 1
NOT_FINITE = "NaN or infinite samples; repair the file or leave it out"


def read_audio(path: str | Path, max_seconds: float | None = None) -> tuple[np.ndarray, int]:
    """
    Reads a sound file, or the sound of a video.

    Args:
        path (`str` or `Path`): the file.
        max_seconds (`float`): the length after which reading stops, so that a file of hours does not fill the memory.

    Returns:
        The samples, float32 of shape `(samples,)`, the mean of the channels, and the sampling rate in Hz.

    Raises:
        ValueError: if the file cannot be read; a sentence that fits behind the name of the file.
    """
    with open_audio(path) as stream:
        num_samples = math.inf if max_seconds is None else math.ceil(max_seconds * stream.sampling_rate)
        window = _Window(stream)
        window.extend(num_samples)
        if window.problem and len(window.samples) < num_samples:
            raise ValueError(window.problem)
        return window.samples[: min(num_samples, len(window.samples))], stream.sampling_rate


def read_clips(
    path: str | Path, feature_extractor: MelFeatureExtractor, options: ClipOptions = FIRST_CLIP
) -> Iterator[tuple[str, np.ndarray, int]]:
    """
    Reads a sound file, or the sound of a video, clip by clip. Memory does not depend on the length of the file, and no
    more of it is read than the clips take.

    An error may come after some clips: it concerns the others, and those that came are whole and can be kept.

    Args:
        path (`str` or `Path`): the file.
        feature_extractor (`MelFeatureExtractor`): gives the length of a clip.
        options (`ClipOptions`): how the file is cut, trimmed and levelled.

    Yields:
        What to append to the name of the file, nothing if it gives one clip, otherwise `#0`, `#1` and so on; the
        samples, float32 of shape `(samples,)`, as many as a clip has or fewer; their sampling rate, which is the
        feature extractor's, in Hz.

    Raises:
        ValueError: if the file cannot be read; a sentence that fits behind the name of the file.
    """
    with open_audio(path) as stream:
        num_clips = num_refused = 0
        for suffix, samples, lead in _pieces(_Window(stream), feature_extractor, options.hop_seconds):
            num_clips += 1
            clip = _at_rate(samples, lead, stream.sampling_rate, feature_extractor)
            if np.isfinite(clip).all():
                clip = condition_clip(clip, feature_extractor.sampling_rate, options)
                gap = round(options.repeat_gap * feature_extractor.sampling_rate / stream.sampling_rate)
                yield suffix, _with_gap(clip, gap, feature_extractor.num_samples), feature_extractor.sampling_rate
            else:
                num_refused += 1
        if num_refused:
            part = "holds" if num_clips == 1 else f"{num_refused} of its {num_clips} clips hold"
            raise ValueError(f"{part} {NOT_FINITE}")


def _pieces(
    window: "_Window", feature_extractor: MelFeatureExtractor, hop_seconds: float | None
) -> Iterator[tuple[str, np.ndarray, int]]:
    """Suffix, samples with margins around them as far as the file has them, and the length of the first margin."""
    num_samples = math.ceil(feature_extractor.num_samples * window.sampling_rate / feature_extractor.sampling_rate)
    margin = RESAMPLING_MARGIN_SECONDS * window.sampling_rate
    index, start, lead, goes_on = 0, 0, 0, True
    while goes_on:
        is_whole = window.extend(lead + num_samples + margin) or len(window.samples) >= lead + num_samples
        if not is_whole and window.problem:
            break
        _check_long_enough(len(window.samples) - lead, window.sampling_rate, feature_extractor)
        step, goes_on = 0, False
        if is_whole and hop_seconds is not None:
            step = round((index + 1) * hop_seconds * window.sampling_rate) - start
            goes_on = window.extend(lead + step + num_samples - min(step, num_samples) // 2)
        yield f"#{index}" if index or goes_on else "", window.samples[: lead + num_samples + margin], lead
        index, start = index + 1, start + step
        next_lead = min(start, margin)
        window.advance(lead + step - next_lead)
        lead = next_lead
    if window.problem and (index == 0 or hop_seconds is not None):
        raise ValueError(window.problem + (f"; {index} clips before that are kept" if index else ""))


def _at_rate(samples: np.ndarray, lead: int, sampling_rate: int, feature_extractor: MelFeatureExtractor) -> np.ndarray:
    """One clip at the rate of the feature extractor, without the margins around it."""
    if sampling_rate == feature_extractor.sampling_rate:
        return samples[lead : lead + feature_extractor.num_samples]
    resampled = feature_extractor.to_rate(torch.from_numpy(samples), sampling_rate, resample=True).numpy()
    start = round(lead * feature_extractor.sampling_rate / sampling_rate)
    return resampled[start : start + feature_extractor.num_samples]


def _with_gap(clip: np.ndarray, gap: int, num_samples: int) -> np.ndarray:
    """The clip with `gap` samples of silence behind it, as far as `num_samples` leave room for them."""
    return np.pad(clip, (0, max(min(gap, num_samples - len(clip)), 0)))


def _check_long_enough(num_samples: int, sampling_rate: int, feature_extractor: MelFeatureExtractor) -> None:
    minimum = math.ceil(feature_extractor.n_fft * sampling_rate / feature_extractor.sampling_rate)
    if num_samples < minimum:
        raise ValueError(f"is too short: {num_samples} samples; at least {minimum} at {sampling_rate} Hz are needed")


class _Window:
    """The samples of a stream from a position that moves forward: the only ones that are held in memory."""

    def __init__(self, stream: AudioStream):
        self.samples = np.zeros(0, dtype=np.float32)
        self.sampling_rate = stream.sampling_rate
        self.problem: str | None = None
        self._stream = stream
        self._blocks = stream.blocks()
        self._num_read = 0

    def extend(self, num_samples: int | float) -> bool:
        """Reads until `num_samples` are there; False if the file ends before. `problem` says why, if that is one."""
        parts, length = [self.samples], len(self.samples)
        while length < num_samples and (block := self._next_block()) is not None:
            parts.append(block)
            length += len(block)
        self.samples = np.concatenate(parts) if len(parts) > 1 else self.samples
        return length >= num_samples

    def advance(self, num_samples: int) -> None:
        """Gives up the first `num_samples`, some of which may not be read yet."""
        while num_samples > len(self.samples):
            num_samples -= len(self.samples)
            block = self._next_block()
            self.samples = np.zeros(0, dtype=np.float32) if block is None else block
            if block is None:
                return
        self.samples = self.samples[num_samples:]

    def _next_block(self) -> np.ndarray | None:
        try:
            block = next(self._blocks, None)
        except ValueError as error:
            self.problem = f"{error} (after {self._num_read / self.sampling_rate:.1f} s)"
            return None
        if block is not None:
            self._num_read += len(block)
        elif self.problem is None and (missing := self._stream.missing_seconds(self._num_read)):
            seconds = self._num_read / self.sampling_rate
            self.problem = f"is cut off: {seconds:.1f} s of the {seconds + missing:.1f} s that its header promises"
        return block
