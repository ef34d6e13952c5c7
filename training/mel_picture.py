"""How is a log-mel spectrogram shown as a picture?"""

from pathlib import Path

import torch
from matplotlib import image

from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor

COLOUR_MAP = "magma"


def write_mel_picture(input_features: torch.Tensor, path: str | Path) -> None:
    """
    Writes a PNG with one pixel for each value: time from left to right, low frequencies at the bottom.

    Args:
        input_features (`torch.FloatTensor` of shape `(mel bands, frames)`): in [-1, 1]; values beyond are cut off.
        path (`str` or `Path`): the file.
    """
    image.imsave(path, input_features.numpy(), vmin=-1, vmax=1, cmap=COLOUR_MAP, origin="lower")


def describe_mel_pictures(feature_extractor: MelFeatureExtractor) -> str:
    """A sentence that says how to read the pictures."""
    return (
        f"Pictures: time from left to right, {feature_extractor.min_frequency:g} Hz at the bottom to "
        f"{feature_extractor.max_frequency:g} Hz at the top (mel scale), bright is loud."
    )
