"""How does a training learn that it has to end, so that it can save its state first?"""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType

import torch
from accelerate import Accelerator

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Launchers pass a signal on to processes that may have got it themselves.
SECONDS_TO_SECOND = 1.0


class StopSignals:
    """
    A context in which SIGTERM (machines that are taken away) and SIGINT (Ctrl-C) are noted instead of ending the
    process. Repeated after more than a second, they end it at once. Outside of the main thread nothing is noted.
    """

    def __init__(self):
        self._number: int | None = None
        self._noted_at = 0.0
        self._earlier = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._earlier = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *error) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)
        self._earlier = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._number is None:
            self._number, self._noted_at = number, time.monotonic()
        elif time.monotonic() - self._noted_at > SECONDS_TO_SECOND:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def agreed(self, accelerator: Accelerator) -> int | None:
        """
        The signal that any process of the run has got; every process has to ask. With one process that costs nothing,
        with several a number is gathered, which is little beside the gradients of a step.
        """
        if accelerator.num_processes == 1:
            return self._number
        numbers = accelerator.gather(torch.tensor([self._number or 0], device=accelerator.device))
        return int(numbers.max()) or None
