"""How loud is a clip, and how is it brought to a level at which one hears it well?"""

import math

import torch

from melspec_gpt.modeling.modeling_griffin_lim import PEAK_LIMIT


def measure_level(waveform: torch.Tensor) -> dict[str, float | None]:
    """`peak` and `rms_dbfs` (`None` for digital silence) of a waveform of shape `(samples,)`."""
    power = waveform.double().square().mean().item()
    return {"peak": waveform.abs().max().item(), "rms_dbfs": 10 * math.log10(power) if power > 0 else None}


def bring_to_level(waveform: torch.Tensor, rms_dbfs: float) -> torch.Tensor:
    """
    The waveform (samples,) with the level `rms_dbfs`, or as near to it as a peak of 0.95 allows; silence stays silent.
    """
    level = measure_level(waveform)
    if level["rms_dbfs"] is None:
        return waveform
    gain = 10 ** ((rms_dbfs - level["rms_dbfs"]) / 20)
    return waveform * min(gain, PEAK_LIMIT / level["peak"])
