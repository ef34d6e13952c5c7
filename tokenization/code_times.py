"""Which codes of a sentence belong to which seconds of the clip?"""

import math

import torch

from ..configuration.configuration_mel_vq import MelVQConfig
from .feature_extraction_mel import MelFeatureExtractor


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
        num_steps = (prompt_seconds - self.start) / self.step_seconds
        if not 1 <= num_steps < self.num_steps:  # also refuses NaN
            raise ValueError(
                f"`prompt_seconds` is {prompt_seconds}; it has to be at least {self.start + self.step_seconds:.3f} s "
                f"(one time step of codes) and below {self.end:.3f} s, where nothing is left to continue."
            )
        return int(num_steps) * self.num_rows

    def hidden_codes(self, hidden_seconds: tuple[float, float]) -> torch.BoolTensor:
        """
        Mask of shape `(num_codes,)`: True for the codes of every time step that the span touches.

        Args:
            hidden_seconds (`tuple[float, float]`): start and end of the span, seconds.

        Raises:
            ValueError: if it is no span of the clip.
        """
        try:
            start, end = (float(seconds) for seconds in hidden_seconds)
        except (TypeError, ValueError):
            start = end = math.nan
        if not (0 <= start < end and start < self.end and end > self.start):
            raise ValueError(
                f"`hidden_seconds` is {hidden_seconds}; it has to be a pair (start, end) with 0 <= start < end that "
                f"reaches into the codes, which last from {self.start:.3f} s to {self.end:.3f} s."
            )
        first = max(0, math.floor((start - self.start) / self.step_seconds))
        last = min(self.num_steps, math.ceil((end - self.start) / self.step_seconds))
        hidden_steps = torch.zeros(self.num_steps, dtype=torch.bool)
        hidden_steps[first:last] = True
        return hidden_steps.repeat_interleave(self.num_rows)
