"""What do the sounds of each class look like?"""

import base64
import io
from collections.abc import Callable, Mapping

import numpy as np

COLOUR_MAP = "magma"
# One colour in four, for smaller files.
COLOUR_STEP = 4
PICTURE_FRAMES = 160
GAP_FRAMES = 4
# The last place of the palette, between two clips.
GAP_COLOUR = 255
GREY = 136
NUM_EXAMPLES = 3


def example_rows(labels: np.ndarray, num_classes: int, num_examples: int = NUM_EXAMPLES) -> list[np.ndarray]:
    """
    Rows to show of each class, evenly spread over those it has; fewer where it has fewer.

    Args:
        labels (`np.ndarray` of shape `(rows,)`): class number of each row.
        num_classes (`int`): how many classes there are.
        num_examples (`int`): rows of each class at most.
    """
    examples = []
    for label in range(num_classes):
        rows = np.flatnonzero(labels == label)
        examples.append(rows[np.linspace(0, len(rows) - 1, min(num_examples, len(rows))).round().astype(int)])
    return examples


def class_pictures(
    class_names: list[str], examples: list[np.ndarray], read_mel: Callable[[int], np.ndarray]
) -> dict[str, bytes]:
    """
    A PNG for each class that has examples: their mels side by side, time from left to right, low bands at the bottom.

    Args:
        class_names (`list[str]`): the classes.
        examples (`list[np.ndarray]`): the rows to show of each class.
        read_mel (`Callable[[int], np.ndarray]`): row -> mel of shape `(bands, frames)`, in [0, 1].
    """
    return {
        name: encode_png([read_mel(int(row)) for row in rows])
        for name, rows in zip(class_names, examples, strict=True)
        if len(rows)
    }


def encode_png(mels: list[np.ndarray]) -> bytes:
    """Mels (bands, frames) in [0, 1], side by side, as the bytes of a PNG file."""
    from matplotlib import colormaps  # only pages with pictures need it, and Pillow, which comes with it
    from PIL import Image

    narrow = [_fewer_frames(np.asarray(mel, dtype=np.float32)) for mel in mels]
    levels = [(mel.clip(0, 1) * (GAP_COLOUR - 1)).astype(np.uint8) // COLOUR_STEP * COLOUR_STEP for mel in narrow]
    gap = np.full((len(levels[0]), GAP_FRAMES), GAP_COLOUR, dtype=np.uint8)
    joined = np.concatenate([part for mel in levels for part in (gap, mel)][1:], axis=1)
    palette = (colormaps[COLOUR_MAP](np.arange(GAP_COLOUR + 1))[:, :3] * 255).astype(np.uint8)
    palette[GAP_COLOUR] = GREY
    picture = Image.fromarray(np.ascontiguousarray(joined[::-1]), "P")
    picture.putpalette(palette.tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def data_urls(pictures: Mapping[str, bytes]) -> dict[str, str]:
    """PNG files as addresses that hold the whole picture."""
    return {name: f"data:image/png;base64,{base64.b64encode(data).decode()}" for name, data in pictures.items()}


def _fewer_frames(mel: np.ndarray) -> np.ndarray:
    """Neighbouring frames averaged, so that at most `PICTURE_FRAMES` are left."""
    step = -(-mel.shape[1] // PICTURE_FRAMES)
    starts = np.arange(0, mel.shape[1], step)
    return np.add.reduceat(mel, starts, axis=1) / np.diff(np.append(starts, mel.shape[1]))
