"""What does the training loop have to remember between two steps, and across an interruption?"""

import dataclasses
from dataclasses import dataclass, field

import torch


@dataclass
class LoopState:
    """
    Counters of a run; they are part of every checkpoint.

    Args:
        step: optimizer steps done.
        epoch: complete passes over the training split.
        batches: batches of the current pass that are used up, for each process.
        batches_per_epoch: batches of a pass, for each process; a checkpoint fits no other number.
        seconds: time used, earlier sessions of an interrupted run included.
        warmup_seconds: time the warm-up of the learning rate took, or has taken so far.
        evaluated_step: step of the last validation, -1 before the first one.
        validation: metrics of the last validation.
        best_step: step with the lowest validation loss, -1 before the first validation.
        best_validation: metrics of that step.
    """

    step: int = 0
    epoch: int = 0
    batches: int = 0
    batches_per_epoch: int = 0
    seconds: float = 0.0
    warmup_seconds: float = 0.0
    evaluated_step: int = -1
    validation: dict[str, float] = field(default_factory=dict)
    best_step: int = -1
    best_validation: dict[str, float] = field(default_factory=dict)

    @property
    def epochs(self) -> float:
        """Passes over the training split, as a fraction."""
        return self.epoch + self.batches / self.batches_per_epoch

    def count_batch(self) -> None:
        self.batches += 1
        if self.batches == self.batches_per_epoch:
            self.epoch += 1
            self.batches = 0

    def state_dict(self) -> dict:
        return dataclasses.asdict(self)

    def load_state_dict(self, state: dict) -> None:
        if state["batches_per_epoch"] != self.batches_per_epoch:
            raise ValueError(
                f"The checkpoint is of a run with {state['batches_per_epoch']} batches in an epoch, this one has "
                f"{self.batches_per_epoch}. Resume with the same data, `per_device_train_batch_size` and number of "
                "processes."
            )
        for name, value in state.items():
            setattr(self, name, value)


class RunningMeans:
    """Means of the training metrics since the last log entry; a checkpoint has those of the main process."""

    def __init__(self):
        self.sums: dict[str, torch.Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, metrics: dict[str, torch.Tensor | float]) -> None:
        """Adds one value for each name. Tensors stay on their device: reading them here would stall it."""
        for name, value in metrics.items():
            value = torch.as_tensor(value).detach().float()
            self.sums[name] = self.sums[name].to(value.device) + value if name in self.sums else value
            self.counts[name] = self.counts.get(name, 0) + 1

    def take(self, accelerator) -> dict[str, float]:
        """The means over all processes; starts anew."""
        device = accelerator.device
        local = {name: (total / self.counts[name]).to(device) for name, total in self.sums.items()}
        self.load_state_dict({"sums": {}, "counts": {}})
        return {name: value.item() for name, value in accelerator.reduce(local, reduction="mean").items()}

    def state_dict(self) -> dict:
        return {"sums": {name: total.cpu() for name, total in self.sums.items()}, "counts": dict(self.counts)}

    def load_state_dict(self, state: dict) -> None:
        self.sums = dict(state["sums"])
        self.counts = dict(state["counts"])
