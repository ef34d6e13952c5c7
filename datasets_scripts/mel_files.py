"""How is a published spectrogram file read, and when is it refused?"""

import errno
from pathlib import Path
from tokenize import TokenError

import numpy as np

from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor

# Names of SpecVQGAN's feature files end like this.
MEL_SUFFIX = "_mel.npy"
CLIP_SECONDS = 10.0
# Values are clipped to [0, 1] when they are made; beyond this excess they are something else.
TOLERANCE = 1e-3
# What NumPy raises for files that are cut off, no arrays, or have a header made up by somebody.
DAMAGE = (ValueError, EOFError, ArithmeticError, SyntaxError, TypeError, TokenError)


def load_mel(path: str | Path, feature_extractor: MelFeatureExtractor) -> np.ndarray:
    """
    Reads a mel spectrogram as SpecVQGAN publishes it. Nothing in the file is executed, and no more memory is taken
    than the expected shape needs, whatever the file's header says.

    Args:
        path (`str` or `Path`): an .npy file of floats of 16, 32 or 64 bits.
        feature_extractor (`MelFeatureExtractor`): says which shape a clip has.

    Returns:
        The mel, float32 of shape `(feature_size, num_mel_frames)`, in [0, 1], the lowest band first.

    Raises:
        ValueError: if the file cannot be read or holds anything else; a sentence that fits behind its name.
    """
    expected = (feature_extractor.feature_size, feature_extractor.num_mel_frames)
    try:
        with np.errstate(over="raise"):
            stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        reason = "there is no such file" if error.errno == errno.ENOENT else error.strerror or error
        raise ValueError(f"cannot be read: {reason}") from error
    except DAMAGE as error:
        if "pickle" in str(error) or "Python objects" in str(error):
            raise ValueError("is no plain array: it is not an npy file, or holds Python objects") from error
        raise ValueError(f"is a damaged npy file: {error}") from error
    if not isinstance(stored, np.ndarray):
        stored.close()
        raise ValueError("is an archive of arrays; expected a single array")
    if stored.dtype.kind != "f" or stored.shape != expected:
        raise ValueError(f"holds {stored.dtype} of shape {stored.shape}; expected floats of shape {expected}")
    mel = np.array(stored, dtype=np.float32)
    if not np.isfinite(mel).all():
        raise ValueError("holds NaN or infinite values")
    if mel.min() < -TOLERANCE or mel.max() > 1 + TOLERANCE:
        raise ValueError(f"has values from {mel.min():.4g} to {mel.max():.4g}; expected a mel between 0 and 1")
    return mel.clip(0, 1)


def mel_extractor(layout: str, clip_seconds: float, short_clips: str) -> MelFeatureExtractor:
    """
    The feature extractor for a data set that comes as mels or as sound.

    Raises:
        ValueError: for another length than that of published mels, if `layout` is `"features"`.
    """
    if layout == "features" and clip_seconds != CLIP_SECONDS:
        raise ValueError(
            f"`clip_seconds` is {clip_seconds:g}; the published mels are clips of {CLIP_SECONDS:g} s. Keep that "
            "length, or build from the videos or sound files (`--layout videos` or `--layout audio`)."
        )
    return MelFeatureExtractor.from_clip_seconds(clip_seconds, short_clips=short_clips)
