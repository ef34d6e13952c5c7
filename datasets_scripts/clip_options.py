"""Which choices turn one sound file into clips?"""

import math
from dataclasses import dataclass

# Clips that start closer to each other are copies, and a day of sound would give a million of them. Seconds.
SHORTEST_HOP_SECONDS = 0.1


@dataclass(frozen=True)
class ClipOptions:
    """
    How a sound file becomes clips. The length of a clip is the feature extractor's.

    Args:
        hop_seconds (`float`): distance between the starts of two clips of one file, s. A last piece that is shorter
            than a clip is kept if it has at least half of what a whole clip would add: half a clip, or half a hop
            where clips overlap. `None` takes only the first clip of each file.
        trim_silence (`float`): how far below the clip's loudest frame a frame has to lie to be silent, dB. Silent
            frames at the start and at the end of a clip are removed; `None` removes nothing.
        loudness (`float`): level every clip is brought to: root mean square of its audible frames, dBFS (0 is a
            full-scale square wave). A clip whose peak would pass 0.99 gets the level at which it reaches it. `None`
            leaves the level as it is.
        repeat_gap (`int`): silence behind each repetition of a file that is shorter than a clip, at the rate of the
            file, samples.
    """

    hop_seconds: float | None = None
    trim_silence: float | None = None
    loudness: float | None = None
    repeat_gap: int = 0

    def __post_init__(self):
        if self.hop_seconds is not None and not SHORTEST_HOP_SECONDS <= self.hop_seconds < math.inf:
            raise ValueError(
                f"`hop_seconds` is {self.hop_seconds}; it has to be at least {SHORTEST_HOP_SECONDS}, in seconds, or "
                "None for only the first clip of each file."
            )
        if self.trim_silence is not None and not 0 < self.trim_silence < math.inf:
            raise ValueError(
                f"`trim_silence` is {self.trim_silence}; it has to be positive, in dB below the loudest frame; 40 "
                "suits most recordings."
            )
        if self.loudness is not None and not -math.inf < self.loudness <= 0:
            raise ValueError(
                f"`loudness` is {self.loudness}; it has to be 0 or lower, in dBFS; -20 suits most recordings."
            )
        if self.repeat_gap < 0:
            raise ValueError(f"`repeat_gap` is {self.repeat_gap}; it has to be 0 or more, in samples.")


# The first clip of each file, as it is.
FIRST_CLIP = ClipOptions()
