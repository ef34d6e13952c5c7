"""How is silence cut from the ends of a clip, and how is the clip brought to a level?"""

import numpy as np

from melspec_gpt.datasets_scripts.clip_options import ClipOptions

# Length of the frames whose levels are compared: about one period of the lowest sounds. Seconds.
FRAME_SECONDS = 0.02
# Less than this is not left by trimming: what is repeated more often becomes a hum. Seconds.
SHORTEST_TRIMMED_SECONDS = 0.1
# Frames further below the loudest one do not count for the level of a clip. dB.
AUDIBLE_RANGE = 40.0
# A clip whose loudest frame is quieter is silence, in which only the noise of 16-bit samples could be raised. dBFS.
SILENCE_LEVEL = -80.0
# Amplitude that no sample of a levelled clip passes.
PEAK_LIMIT = 0.99


def condition_clip(samples: np.ndarray, sampling_rate: int, options: ClipOptions) -> np.ndarray:
    """One clip of shape `(samples,)`, trimmed and levelled as `options` say. `sampling_rate` in Hz."""
    if options.trim_silence is not None:
        start, end = audible_span(samples, sampling_rate, options.trim_silence)
        samples = samples[start:end]
    if options.loudness is not None:
        samples = samples * level_gain(samples, sampling_rate, options.loudness)
    return samples


def audible_span(samples: np.ndarray, sampling_rate: int, range_db: float) -> tuple[int, int]:
    """
    First and last (exclusive) sample of the part between silent ends: from the first to the last frame of 20 ms that
    is at most `range_db` dB below the loudest. At least 0.1 s around it is kept; of digital silence everything.
    """
    powers, frame_length = _frame_powers(samples, sampling_rate)
    if not powers.any():
        return 0, len(samples)
    audible = np.flatnonzero(powers >= powers.max() * 10 ** (-range_db / 10))
    start, end = int(audible[0]) * frame_length, min((int(audible[-1]) + 1) * frame_length, len(samples))
    missing = max(round(SHORTEST_TRIMMED_SECONDS * sampling_rate) - (end - start), 0)
    start = max(start - missing // 2, 0)
    end = min(end + missing - missing // 2, len(samples))
    return start, end


def level_gain(samples: np.ndarray, sampling_rate: int, loudness: float) -> np.float32:
    """
    The factor that brings the audible frames of `samples`, those within 40 dB of the loudest, to a root mean square of
    `loudness` dBFS, or as near to it as a peak of 0.99 allows; 1 for silence, all of whose frames are below -80 dBFS.
    """
    powers, _ = _frame_powers(samples, sampling_rate)
    loudest = powers.max()
    if loudest < 10 ** (SILENCE_LEVEL / 10):
        return np.float32(1)
    power = powers[powers >= loudest * 10 ** (-AUDIBLE_RANGE / 10)].mean()
    peak = max(float(samples.max()), -float(samples.min()))
    return np.float32(min(10 ** (loudness / 20) / np.sqrt(power), PEAK_LIMIT / peak))


def _frame_powers(samples: np.ndarray, sampling_rate: int) -> tuple[np.ndarray, int]:
    """Mean square of each frame (the last one may be shorter), float64 of shape `(frames,)`, and the frame length."""
    frame_length = max(round(FRAME_SECONDS * sampling_rate), 1)
    starts = np.arange(0, len(samples), frame_length)
    sums = np.add.reduceat(np.square(samples, dtype=np.float64), starts)
    return sums / np.diff(starts, append=len(samples)), frame_length
