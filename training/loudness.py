"""How loud is a clip, and how is it brought to a level at which one hears it well?"""

import math

import torch

from melspec_gpt.modeling.modeling_griffin_lim import PEAK_LIMIT

# A clip below it could hardly be heard.
LOWEST_LEVEL = -60
LEVELS = f"none, or from {LOWEST_LEVEL} to 0 (dBFS)"


def measure_level(waveform: torch.Tensor) -> dict[str, float | None]:
    """`peak` and `rms_dbfs` (`None` for digital silence) of a waveform of shape `(samples,)`."""
    power = waveform.double().square().mean().item()
    return {"peak": waveform.abs().max().item(), "rms_dbfs": 10 * math.log10(power) if power > 0 else None}


def bring_to_level(waveform: torch.Tensor, rms_dbfs: float | None) -> torch.Tensor:
    """
    The waveform with the level `rms_dbfs`, or as near to it as a peak of 0.95 allows; silence stays silent, and `None`
    changes nothing. Several waveforms, `(batch_size, samples)`, get the same gain: their common level is `rms_dbfs`.
    """
    level = measure_level(waveform)
    if rms_dbfs is None or level["rms_dbfs"] is None:
        return waveform
    gain = 10 ** ((rms_dbfs - level["rms_dbfs"]) / 20)
    return waveform * min(gain, PEAK_LIMIT / level["peak"])


def is_level(rms_dbfs: float | None) -> bool:
    """Whether clips can be brought to this level."""
    return rms_dbfs is None or LOWEST_LEVEL <= rms_dbfs <= 0


def read_level(text: str) -> float | None:
    """A level as an option of a program: a number, or "none"."""
    return None if text.lower() == "none" else float(text)
