"""Which numbers are possible as a size, a probability or a spectrogram's geometry? Configs and features ask alike."""

from typing import Any

from transformers.utils import logging

logger = logging.get_logger(__name__)


def check_sizes(owner: Any, *names: str) -> None:
    """
    Raises:
        ValueError: if one of the attributes `names` of `owner` is not 1 or more.
    """
    for name in names:
        if not getattr(owner, name) >= 1:  # also refuses NaN
            raise ValueError(f"`{name}` is {getattr(owner, name)}; it has to be 1 or more.")


def check_dropouts(owner: Any, *names: str) -> None:
    """
    Raises:
        ValueError: if one of the attributes `names` of `owner` is no probability, or 1, which lets nothing through.
    """
    for name in names:
        if not 0 <= getattr(owner, name) < 1:
            raise ValueError(f"`{name}` is {getattr(owner, name)}; it has to be at least 0 and below 1.")


def check_spectrogram(owner: Any) -> None:
    """
    Args:
        owner (`Any`): has the attributes `sampling_rate`, `n_fft`, `hop_length`, `min_frequency`, `max_frequency`.

    Raises:
        ValueError: if there can be no mel spectrogram of such a geometry.
    """
    check_sizes(owner, "sampling_rate", "n_fft", "hop_length")
    if owner.n_fft < owner.hop_length:
        raise ValueError(
            f"`n_fft` is {owner.n_fft} and `hop_length` {owner.hop_length}: samples between two windows would be in "
            "none; make `n_fft` at least as large."
        )
    if not owner.min_frequency >= 0:
        raise ValueError(f"`min_frequency` is {owner.min_frequency}; it has to be 0 or more, in Hz.")
    if not owner.min_frequency < owner.max_frequency:
        raise ValueError(
            f"`max_frequency` is {owner.max_frequency}; it has to be above `min_frequency` = {owner.min_frequency} Hz."
        )
    if owner.max_frequency > owner.sampling_rate / 2:
        logger.warning_once(
            f"`max_frequency` is {owner.max_frequency} Hz, but at `sampling_rate` {owner.sampling_rate} sound has "
            f"nothing above {owner.sampling_rate / 2} Hz: the highest mel bands stay empty."
        )
