"""What does the training loop have to remember between two steps, and across an interruption?"""

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path

import torch


class OtherBatchesError(ValueError):
    """A checkpoint is of a run with other data, another batch size or another number of processes."""


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
        validations_without_improvement: validations since the last one that counted as an improvement.
        media_seconds: time that the log entries of pictures and sounds took.
        media_entries: number of these entries.
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
    validations_without_improvement: int = 0
    media_seconds: float = 0.0
    media_entries: int = 0

    @property
    def epochs(self) -> float:
        """Passes over the training split, as a fraction."""
        return self.epoch + self.batches / self.batches_per_epoch

    def count_batch(self) -> None:
        self.batches += 1
        if self.batches == self.batches_per_epoch:
            self.epoch += 1
            self.batches = 0

    def note_validation(self, metrics: dict[str, float], threshold: float) -> bool:
        """
        Notes the metrics of a validation. It counts as an improvement if its loss is more than `threshold` below the
        lowest one so far.

        Returns:
            `bool`: whether its loss is the lowest one so far.
        """
        self.validation, self.evaluated_step = metrics, self.step
        lowest = self.best_validation.get("loss", math.inf)
        has_improved = metrics["loss"] < lowest - threshold
        self.validations_without_improvement = 0 if has_improved else self.validations_without_improvement + 1
        if metrics["loss"] >= lowest:
            return False
        self.best_step, self.best_validation = self.step, metrics
        return True

    def forget_best(self) -> None:
        """Starts anew in the search for the best model, with a validation of what is there."""
        self.best_step = self.evaluated_step = -1
        self.best_validation, self.validations_without_improvement = {}, 0

    def can_afford_media(self, share: float) -> bool:
        """Whether one more entry of pictures and sounds leaves their part of the time below `share`."""
        if self.media_entries == 0:
            return True
        return self.media_seconds * (1 + 1 / self.media_entries) <= share * self.seconds

    def state_dict(self) -> dict:
        return dataclasses.asdict(self)

    def load_state_dict(self, state: dict) -> None:
        if state["batches_per_epoch"] != self.batches_per_epoch:
            raise OtherBatchesError(
                f"The checkpoint is of a run with {state['batches_per_epoch']} batches in an epoch, this one has "
                f"{self.batches_per_epoch}. Resume with the same data, batch size and number of processes (with the "
                "same `global_batch_size` their number may differ)."
            )
        for name, value in state.items():
            setattr(self, name, value)


class RunningMeans:
    """Means of the training metrics since the last log entry; a checkpoint has those of every process."""

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
        self.sums, self.counts = {}, {}
        return {name: value.item() for name, value in accelerator.reduce(local, reduction="mean").items()}

    def save(self, folder: str | Path, rank: int) -> None:
        """Writes the sums of the process number `rank` into a checkpoint."""
        sums = {name: total.cpu() for name, total in self.sums.items()}
        torch.save({"sums": sums, "counts": self.counts}, self._file(folder, rank))

    def load(self, folder: str | Path, rank: int) -> None:
        """Reads them; a process that the checkpoint does not know takes those of the main process."""
        path = self._file(folder, rank)
        state = torch.load(path if path.is_file() else self._file(folder, 0), weights_only=True)
        self.sums, self.counts = state["sums"], state["counts"]

    @staticmethod
    def _file(folder: str | Path, rank: int) -> Path:
        return Path(folder) / f"running_means_{rank}.bin"
