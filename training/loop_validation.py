"""What does a validation read, with which random numbers, and when does it show pictures and sounds?"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from accelerate.utils import DistributedType

if TYPE_CHECKING:
    from melspec_gpt.training.loop import TrainingLoop

# Largest part of the time that pictures and sounds take where nothing else is asked for.
MEDIA_SHARE = 0.05


@contextmanager
def same_random_numbers(device: torch.device, seed: int) -> Iterator[None]:
    """Random numbers that depend on the seed alone, and leave those of the training as they are."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def validation_values(loop: TrainingLoop) -> dict[str, torch.Tensor]:
    """What the stage says about each clip of the validation split, each clip once, on every process."""
    gathered = defaultdict(list)
    for batch in loop.validation_loader:
        values = loop.accelerator.gather_for_metrics(loop.evaluation_step(loop, batch))
        for name, value in values.items():
            gathered[name].append(value.cpu())
    return {name: torch.cat(parts) for name, parts in gathered.items()}


def log_media_if_due(loop: TrainingLoop) -> None:
    """Shows pictures and sounds when their steps have come, or when there is time for them."""
    state, steps = loop.state, loop.arguments.media_steps
    is_sharded = loop.accelerator.distributed_type == DistributedType.FSDP
    if loop.log_media is None or is_sharded or not loop.accelerator.is_main_process:
        return
    if not (state.can_afford_media(MEDIA_SHARE) if steps is None else steps and state.step % steps == 0):
        return
    start = time.monotonic()
    # Sampling calls the model with every length there is: not what it was compiled for.
    with torch.compiler.set_stance("force_eager"):
        loop.log_media(loop)
    state.media_seconds += time.monotonic() - start
    state.media_entries += 1
