"""How loud is a mel, frame by frame?"""

import numpy as np

# Decibels from 0 to 1 on the scale of a stored mel.
SCALE_DECIBELS = 100
# Quieter frames count as silence, dBFS.
SILENCE_LEVEL = -60.0
# What brings the mean power of the bands to the level of the sound, dB: the median over the clips of ESC-10.
CALIBRATION = 17.5


def frame_levels(mel: np.ndarray) -> np.ndarray:
    """
    Level (root mean square, 0 for a square wave of peak 1) of each frame, dBFS, estimated from the bands. What lies
    below or above them (125 to 7600 Hz) is not counted: on ESC-10, on which it was calibrated, the estimate is
    within 3 dB of the level of the samples for 86 % of the clips and within 6 dB for 94 %.

    Args:
        mel (`np.ndarray` of shape `(bands, frames)`): as stored, in [0, 1].
    """
    decibels = SCALE_DECIBELS * (np.asarray(mel, dtype=np.float32) - 1)
    return 10 * np.log10(np.mean(10 ** (decibels / 10), axis=0)) + CALIBRATION


def mean_level(levels: np.ndarray) -> float:
    """Level of the whole of which `levels` are the frames, dBFS: the mean of their powers."""
    return float(10 * np.log10(np.mean(10 ** (levels / 10))))
