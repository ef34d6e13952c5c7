"""Which codes of a sentence belong to which seconds of the clip?"""

import math

import torch

from ..configuration.configuration_mel_vq import MelVQConfig
from .feature_extraction_mel import MelFeatureExtractor

# Decimals of a time step that count: 1e-6 of one is shorter than a sample.
STEP_DIGITS = 6


class CodeTimes:
    """
    Seconds of a clip and time steps of its codes. A time step is `downsampling_factor` frames of the features; the
    features are the middle of the spectrogram, so that the first step begins a little after the clip does.

    Args:
        feature_extractor ([`MelFeatureExtractor`]): length and hop of the spectrogram.
        config ([`MelVQConfig`]): the code grid.
    """

    def __init__(self, feature_extractor: MelFeatureExtractor, config: MelVQConfig):
        self.num_rows = config.grid_shape[0]
        self.num_steps = feature_extractor.num_frames // config.downsampling_factor
        frame_seconds = feature_extractor.hop_length / feature_extractor.sampling_rate
        skipped_frames = (feature_extractor.num_mel_frames - feature_extractor.num_frames) // 2
        self.start = skipped_frames * frame_seconds
        self.step_seconds = config.downsampling_factor * frame_seconds

    @property
    def end(self) -> float:
        """Where the last time step ends, seconds."""
        return self.start + self.num_steps * self.step_seconds

    def num_prompt_codes(self, prompt_seconds: float) -> int:
        """
        Codes of the time steps that lie wholly in the first `prompt_seconds` of a clip.

        Raises:
            ValueError: if there is none, or nothing is left after them.
        """
        num_steps = self._steps(prompt_seconds)
        if not 1 <= num_steps < self.num_steps:  # also refuses NaN
            raise ValueError(
                f"`prompt_seconds` is {prompt_seconds}; it has to be at least {self.start + self.step_seconds:.3f} s "
                f"(one time step of codes) and below {self.end:.3f} s, where nothing is left to continue."
            )
        return int(num_steps) * self.num_rows

    def _steps(self, seconds: float) -> float:
        """Time steps before `seconds`, where what is whole up to rounding errors is whole."""
        return round((seconds - self.start) / self.step_seconds, STEP_DIGITS)

    def hidden_codes(self, hidden_seconds: tuple[float, float]) -> torch.BoolTensor:
        """
        Mask of shape `(num_codes,)`: True for the codes of every time step that the span touches.

        Args:
            hidden_seconds (`tuple[float, float]`): start and end of the span, seconds. An end of `inf` is that of the
                clip.

        Raises:
            ValueError: if it is no span of the clip.
        """
        try:
            start, end = (float(seconds) for seconds in hidden_seconds)
        except (TypeError, ValueError):
            start = end = math.nan
        first = last = 0
        if 0 <= start < end:  # also refuses NaN
            first = max(0, math.floor(self._steps(min(start, self.end))))
            last = math.ceil(self._steps(min(end, self.end)))
        if not first < last:
            raise ValueError(
                f"`hidden_seconds` is {hidden_seconds}; it has to be a pair (start, end) with 0 <= start < end that "
                f"reaches into the codes, which last from {self.start:.3f} s to {self.end:.3f} s."
            )
        hidden_steps = torch.zeros(self.num_steps, dtype=torch.bool)
        hidden_steps[first:last] = True
        return hidden_steps.repeat_interleave(self.num_rows)
