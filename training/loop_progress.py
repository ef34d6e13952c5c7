"""What does a training show of its progress? One bar with loss, speed and time left."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm

BAR_FORMAT = "{desc}{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} steps [{elapsed}<{remaining}{postfix}]"
# Of a run that only the time ends.
ENDLESS_BAR_FORMAT = "{desc}{n_fmt} steps [{elapsed}{postfix}]"


class ProgressBar:
    """
    A bar on standard error that is only shown by the process with `shown`.

    Args:
        step (`int`): steps already done.
        max_steps (`int`, *optional*): steps at which the run ends, if it is limited by steps.
        max_seconds (`float`, *optional*): time at which the run ends, if it is limited by time.
        clips_per_step (`int`): clips of one step, of all processes.
        shown (`bool`): whether there is anything to see.
    """

    def __init__(
        self, *, step: int, max_steps: int | None, max_seconds: float | None, clips_per_step: int, shown: bool
    ):
        self.max_seconds = max_seconds
        self.clips_per_step = clips_per_step
        bar_format = ENDLESS_BAR_FORMAT if max_steps is None else BAR_FORMAT
        self.bar = tqdm(total=max_steps, initial=step, disable=not shown, bar_format=bar_format)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *error: Any) -> None:
        self.bar.close()

    def update(self, loss: float, seconds: float) -> None:
        """Counts a step with its loss, after `seconds` of training."""
        texts = {"loss": f"{loss:.4f}"}
        rate = self.bar.format_dict["rate"]  # steps per second; none in the beginning
        if rate:
            texts["clips/s"] = f"{rate * self.clips_per_step:.1f}"
        if self.max_seconds is not None:
            texts["time left"] = tqdm.format_interval(max(self.max_seconds - seconds, 0))
        self.bar.set_postfix(texts, refresh=False)
        self.bar.update()
