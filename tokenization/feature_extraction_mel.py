"""How does a waveform become the log-mel features that the audio tokenizer reads, and a waveform again?"""

import inspect
import math
from collections.abc import Collection
from fractions import Fraction
from functools import lru_cache

import numpy as np
import torch
from transformers import BatchFeature
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor

from ..configuration.strict_fields import nearest, refuse_misspelled, report_unknown
from ..configuration.value_checks import check_sizes, check_spectrogram
from ..modeling.mel_filters import mel_filters
from ..modeling.modeling_griffin_lim import GriffinLimVocoder
from ..modeling.portable_code import PortableCodeMixin
from .mono_clips import mono_clips

MINIMUM_AMPLITUDE = 1e-5
# Frames transformed at once: what belongs to them stays in the cache of a core.
BLOCK_FRAMES = 64
# 22 050 Hz from 32 000 Hz, the least even of the usual rates, takes 441 phases.
MAXIMUM_RESAMPLING_PHASES = 2000
# What the library reads or writes beside our arguments; names with an underscore in front are its own, too. The first
# one is in every saved file.
TYPE_NAME = "feature_extractor_type"
LIBRARY_NAMES = {
    TYPE_NAME,
    "auto_map",
    "custom_pipelines",
    "image_processor_type",
    "padding_side",
    "processor_class",
    "return_attention_mask",
}


class MelFeatureExtractor(PortableCodeMixin, SequenceFeatureExtractor):
    r"""
    Waveform -> log-mel features, by the recipe of SpecVQGAN (Iashin and Rahtu, 2021, arXiv:2110.08791):
    Slaney mel bands of the magnitude spectrum, clamped to 1e-5, `(20 * log10 - 20 + 100) / 100` clipped to [0, 1], the
    first `num_mel_frames` frames, their central `num_frames`, and `2 * x - 1`.

    Args:
        feature_size (`int`): mel bands.
        sampling_rate (`int`): samples per second of the audio, Hz.
        padding_value (`float`): sample value of zero-padding.
        n_fft, hop_length (`int`): window and hop, samples.
        min_frequency, max_frequency (`float`): edges of the mel bands, Hz.
        num_samples (`int`): length every clip is cut, looped or padded to, samples (220 500 = 10 s).
        num_mel_frames (`int`): frames kept of a whole clip.
        num_frames (`int`): frames of the features, cropped from the centre of the kept ones.
        short_clips (`str`): `"repeat"` loops a clip shorter than `num_samples`, as the published VAS features do;
            `"zero"` appends silence.

    Raises:
        ValueError: for an argument of another name, and for sizes that are impossible or contradict each other.
    """

    model_input_names = ["input_features"]

    def __init__(
        self,
        feature_size: int = 80,
        sampling_rate: int = 22050,
        padding_value: float = 0.0,
        n_fft: int = 1024,
        hop_length: int = 256,
        min_frequency: float = 125.0,
        max_frequency: float = 7600.0,
        num_samples: int = 220500,
        num_mel_frames: int = 860,
        num_frames: int = 848,
        short_clips: str = "repeat",
        **kwargs,
    ):
        _check_names(kwargs)
        kwargs.pop("auto_map", None)  # belongs to the folder it was loaded from
        super().__init__(feature_size=feature_size, sampling_rate=sampling_rate, padding_value=padding_value, **kwargs)
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.min_frequency = min_frequency
        self.max_frequency = max_frequency
        self.num_samples = num_samples
        self.num_mel_frames = num_mel_frames
        self.num_frames = num_frames
        self.short_clips = _check_short_clips(short_clips)
        self._check_geometry()

    def _check_geometry(self) -> None:
        check_sizes(self, "feature_size")
        check_spectrogram(self)
        if not self.num_samples > self.n_fft // 2:
            raise ValueError(
                f"`num_samples` is {self.num_samples}; it has to be above {self.n_fft // 2}, half of `n_fft`, because "
                "so many are reflected at either end of a clip."
            )
        available = 1 + self.num_samples // self.hop_length
        if not 0 < self.num_frames <= self.num_mel_frames <= available:
            raise ValueError(
                f"`num_frames` {self.num_frames} <= `num_mel_frames` {self.num_mel_frames} <= {available} does not "
                f"hold; {self.num_samples} samples with `hop_length` {self.hop_length} give {available} frames."
            )

    @classmethod
    def from_dict(cls, feature_extractor_dict: dict, **kwargs):
        """
        As the method of the library, which leaves arguments alone that the dictionary does not hold.

        Raises:
            ValueError: if one of `kwargs`, among which may be arguments for others, looks like a misspelled one.
        """
        refuse_misspelled(f"{cls.__name__} has no argument", kwargs, _argument_names())
        return super().from_dict(feature_extractor_dict, **kwargs)

    @classmethod
    def from_clip_seconds(cls, clip_seconds: float, downsampling_factor: int = 16, **kwargs) -> "MelFeatureExtractor":
        """
        An extractor for clips of `clip_seconds`: an even number of whole mel frames, of which as many as
        `downsampling_factor` divides are used. 10 s give 860 and 848 frames, 5 s give 430 and 416.

        Raises:
            ValueError: if `clip_seconds` is no length of time, or too short.
        """
        if not (math.isfinite(clip_seconds) and clip_seconds > 0):
            raise ValueError(f"`clip_seconds` is {clip_seconds}; it has to be positive and finite, in seconds.")
        defaults = cls(num_mel_frames=1, num_frames=1, **kwargs)
        num_samples = round(clip_seconds * defaults.sampling_rate)
        num_mel_frames = num_samples // defaults.hop_length // 2 * 2
        num_frames = num_mel_frames // downsampling_factor * downsampling_factor
        if num_frames == 0:
            raise ValueError(
                f"`clip_seconds` is {clip_seconds}; at least {downsampling_factor} frames of {defaults.hop_length} "
                f"samples at {defaults.sampling_rate} Hz are needed."
            )
        return cls(num_samples=num_samples, num_mel_frames=num_mel_frames, num_frames=num_frames, **kwargs)

    @property
    def spectrogram_geometry(self) -> dict[str, int | float]:
        """What an audio tokenizer and a vocoder have to agree on, under the names of [`MelVQConfig`]."""
        return {
            "num_mel_bins": self.feature_size,
            "sampling_rate": self.sampling_rate,
            "n_fft": self.n_fft,
            "hop_length": self.hop_length,
            "min_frequency": self.min_frequency,
            "max_frequency": self.max_frequency,
        }

    def __call__(
        self,
        audio,
        sampling_rate: int | None = None,
        resample: bool = False,
        short_clips: str | None = None,
        return_tensors: str | None = None,
    ) -> BatchFeature:
        """
        Features of one clip or a batch of clips.

        Args:
            audio (array, tensor or list): one clip of shape `(samples,)`; a batch as a list of clips or as an array
                of shape `(batch_size, samples)`. Inside a list (or in a 3-D array) a clip may have the shape
                `(channels, samples)`: its channels are averaged. Floats are taken as they are, integer PCM is scaled
                to [-1, 1].
            sampling_rate (`int`): rate of `audio`, Hz. Give it, so that a wrong rate is noticed.
            resample (`bool`): whether to convert another rate to the extractor's.
            short_clips (`str`): `"repeat"` or `"zero"` instead of the extractor's own setting.
            return_tensors (`str`): `"pt"` or `"np"`; without it a list of numpy arrays.

        Returns:
            `BatchFeature` with `input_features`, float32 of shape `(batch_size, feature_size, num_frames)` in [-1, 1].

        Raises:
            ValueError: for a rate other than the extractor's (without `resample`), empty or too short clips, NaN or
                infinite samples, and shapes that are not clips.
        """
        mel = self.mel_spectrogram(audio, sampling_rate, resample=resample, short_clips=short_clips)
        features = self.normalize(mel)
        return BatchFeature({"input_features": list(features.numpy())}, tensor_type=return_tensors)

    def mel_spectrogram(
        self, audio, sampling_rate: int | None = None, resample: bool = False, short_clips: str | None = None
    ) -> torch.Tensor:
        """
        The log-mel spectrogram before cropping, as it is stored in mel datasets. Arguments as in the call.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, feature_size, num_mel_frames)`, in [0, 1].
        """
        clips = self.whole_clips(audio, sampling_rate, resample=resample, short_clips=short_clips)
        mel = self._magnitude_mel(clips)[..., : self.num_mel_frames]
        log_mel = mel.clamp(min=MINIMUM_AMPLITUDE).log10_()
        return log_mel.mul_(20).sub_(20).add_(100).div_(100).clamp_(0, 1)

    def normalize(self, mel: torch.Tensor) -> torch.Tensor:
        """Log-mel (..., frames) in [0, 1] -> its central `num_frames` frames in [-1, 1]."""
        if mel.shape[-1] < self.num_frames:
            raise ValueError(
                f"`mel` has {mel.shape[-1]} frames; at least `num_frames` = {self.num_frames} are needed."
            )
        start = (mel.shape[-1] - self.num_frames) // 2
        return 2 * mel[..., start : start + self.num_frames] - 1

    def inverse(self, input_features: torch.Tensor, num_iterations: int = 32) -> torch.Tensor:
        """
        Features in [-1, 1], (batch_size, feature_size, frames), to waveforms (batch_size, hop_length * frames) by
        Griffin-Lim, see [`GriffinLimVocoder`].
        """
        vocoder = GriffinLimVocoder(**self.spectrogram_geometry, num_iterations=num_iterations)
        return vocoder(torch.as_tensor(input_features, dtype=torch.float32))

    def _magnitude_mel(self, clips: torch.Tensor) -> torch.Tensor:
        """
        Clips (batch, samples) -> mel bands of their magnitude spectrum (batch, feature_size, frames). The same as
        `torch.stft` and `abs` in a third of the time: some frames after the other, without the bins that are in no
        band, and the magnitude by NumPy, whose `abs` of complex numbers is faster.
        """
        bins, filters = _cached_filters(
            self.feature_size, self.sampling_rate, self.n_fft, self.min_frequency, self.max_frequency
        )
        window, edge = torch.hann_window(self.n_fft), self.n_fft // 2
        reflected = clips[:, 1 : edge + 1].flip(1), clips, clips[:, -edge - 1 : -1].flip(1)
        mel = []
        for frames in torch.cat(reflected, dim=1).unfold(1, self.n_fft, self.hop_length).split(BLOCK_FRAMES, dim=1):
            spectrum = torch.fft.rfft(frames * window)[..., bins]  # (B, frames, bins)
            mel.append(torch.from_numpy(np.abs(spectrum.numpy())) @ filters)
        return torch.cat(mel, dim=1).transpose(1, 2)

    def whole_clips(
        self, audio, sampling_rate: int | None = None, resample: bool = False, short_clips: str | None = None
    ) -> torch.Tensor:
        """
        The waveforms that the spectrogram is of: mono, at the extractor's rate, cut or filled up. Arguments as in the
        call.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, num_samples)`.
        """
        short_clips = self.short_clips if short_clips is None else _check_short_clips(short_clips)
        clips = [self.to_rate(clip, sampling_rate, resample) for clip in mono_clips(audio)]
        return torch.stack([self._fit_length(clip, short_clips) for clip in clips])

    def to_rate(self, clip: torch.Tensor, sampling_rate: int | None, resample: bool) -> torch.Tensor:
        """A mono clip `(samples,)` at the extractor's rate; arguments and errors as in the call."""
        if sampling_rate is None or sampling_rate == self.sampling_rate:
            return self._long_enough(clip, self.sampling_rate)
        if not resample:
            raise ValueError(
                f"The audio has `sampling_rate` {sampling_rate}, this feature extractor works at "
                f"{self.sampling_rate}. Resample the audio, or pass `resample=True`."
            )
        if sampling_rate <= 0:
            raise ValueError(f"`sampling_rate` is {sampling_rate}; it has to be positive, in Hz.")
        clip = self._long_enough(clip, sampling_rate)
        # Exact for every usual rate. An odd one (44 101 Hz) would need a filter for each of 22 050 phases, and
        # gigabytes of memory; the nearest simple ratio is within 0.1 % of it, under two cents of pitch.
        ratio = Fraction(int(sampling_rate), self.sampling_rate).limit_denominator(MAXIMUM_RESAMPLING_PHASES)
        return _resample(clip, ratio)

    def _long_enough(self, clip: torch.Tensor, sampling_rate: int) -> torch.Tensor:
        minimum = -(-self.n_fft * sampling_rate // self.sampling_rate)
        if clip.shape[-1] < minimum:
            raise ValueError(
                f"`audio` has {clip.shape[-1]} samples; at least one frame of {minimum} samples at {sampling_rate} Hz "
                "is needed. One clip of shape (samples, channels) has to be transposed, and given in a list."
            )
        return clip

    def _fit_length(self, clip: torch.Tensor, short_clips: str) -> torch.Tensor:
        missing = self.num_samples - clip.shape[-1]
        if missing <= 0:
            return clip[: self.num_samples]
        if short_clips == "zero":
            return torch.nn.functional.pad(clip, (0, missing), value=self.padding_value)
        return clip.repeat(-(-self.num_samples // clip.shape[-1]))[: self.num_samples]


@lru_cache(maxsize=8)
def _cached_filters(*geometry: int | float) -> tuple[slice, torch.Tensor]:
    """The bins that the bands cover, and the filters (bins, bands) for these; arguments as in [`mel_filters`]."""
    filters = mel_filters(*geometry)
    used = filters.any(dim=0).nonzero()
    bins = slice(int(used[0]), int(used[-1]) + 1)
    return bins, filters[:, bins].T.contiguous()


def _resample(clip: torch.Tensor, ratio: Fraction) -> torch.Tensor:
    """`clip` at a rate lower by `ratio`."""
    try:
        import torchaudio  # only this needs it: sounds of the right rate, and making sounds, do without
    except ImportError as error:
        raise ValueError(
            "`resample=True` needs the package torchaudio, which is not installed: pip install torchaudio, or pass "
            "audio of the right rate."
        ) from error
    return torchaudio.functional.resample(clip, ratio.numerator, ratio.denominator)


def _argument_names() -> list[str]:
    return [name for name in inspect.signature(MelFeatureExtractor).parameters if name != "kwargs"]


def _check_names(names: Collection[str]) -> None:
    for name in names:
        if name not in LIBRARY_NAMES and not name.startswith("_"):
            message = f"MelFeatureExtractor has no argument {name!r}; {nearest(name, _argument_names())}"
            report_unknown(message, is_saved_file=TYPE_NAME in names)


def _check_short_clips(short_clips: str) -> str:
    if short_clips not in ("repeat", "zero"):
        raise ValueError(f'`short_clips` is {short_clips!r}; choose "repeat" or "zero".')
    return short_clips
