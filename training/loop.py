"""How is a model trained? One loop for all stages: steps, logs, validation, checkpoints, resuming, final model."""

import json
import logging
import math
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import skip_first_batches
from accelerate.utils import broadcast, set_seed
from torch import nn
from torch.utils.data import Dataset
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from melspec_gpt.training.arguments import RunArguments
from melspec_gpt.training.checkpoints import (
    checkpoints_folder,
    find_checkpoint,
    replace_folder,
    rotate_checkpoints,
)
from melspec_gpt.training.loop_setup import build_accelerator, build_data_loader
from melspec_gpt.training.loop_state import LoopState, RunningMeans
from melspec_gpt.training.optimization import build_schedule, schedule_position, set_learning_rates

logger = logging.getLogger(__name__)

Metrics = Mapping[str, torch.Tensor | float]
SUMMARY_NAME = "training_summary.json"


def mean_of_each(values: dict[str, torch.Tensor]) -> dict[str, float]:
    """Validation metrics that are plain means over the clips."""
    return {name: value.float().mean().item() for name, value in values.items()}


class TrainingLoop:
    """
    Trains the modules of one stage with Accelerate.

    A stage brings functions. `training_step(loop, batch)` computes the loss with `loop.modules[...]`, hands it to
    [`optimize`] and returns metrics to log, "loss" among them. A stage with two optimizers calls [`optimize`] twice.
    Random choices belong into the step, not into the data set: then a resumed run repeats them exactly.

    Args:
        arguments ([`RunArguments`]): settings.
        modules (`dict[str, nn.Module]`): everything that is trained. The first one is the model: it is saved with
            `save_pretrained` into `output_dir` and `output_dir/best`.
        optimizers (`dict[str, torch.optim.Optimizer]`): the optimizer of each module, under the module's name.
        training_step: `(loop, batch) -> metrics`.
        train_dataset: indexable data set of the training split.
        evaluation_step: `(loop, batch) -> values`, tensors with one row per clip, "loss" among them.
        validation_dataset: data set of the validation split, if there is one.
        collate_fn: makes a batch of a list of examples; by default the one of PyTorch.
        summarize_evaluation: `values of all clips -> metrics`; by default the mean of each.
        log_media: `(loop) -> None`, called on the main process after each validation, to log pictures or sounds.
    """

    def __init__(
        self,
        arguments: RunArguments,
        *,
        modules: dict[str, nn.Module],
        optimizers: dict[str, torch.optim.Optimizer],
        training_step: Callable[["TrainingLoop", Any], Metrics],
        train_dataset: Dataset,
        evaluation_step: Callable[["TrainingLoop", Any], dict[str, torch.Tensor]] | None = None,
        validation_dataset: Dataset | None = None,
        collate_fn: Callable[[list], Any] | None = None,
        summarize_evaluation: Callable[[dict[str, torch.Tensor]], dict[str, float]] = mean_of_each,
        log_media: Callable[["TrainingLoop"], None] | None = None,
    ):
        if modules.keys() != optimizers.keys():
            raise ValueError(f"`optimizers` has the names {list(optimizers)}; expected those of {list(modules)}.")
        if arguments.load_best_model_at_end and validation_dataset is None:
            raise ValueError("`load_best_model_at_end` is True, but the data set has no validation split.")
        self.arguments = arguments
        self.training_step = training_step
        self.evaluation_step = evaluation_step
        self.summarize_evaluation = summarize_evaluation
        self.log_media = log_media
        self.accelerator = build_accelerator(arguments)
        self.main_name = next(iter(modules))
        self.schedules = {
            name: build_schedule(optimizer, arguments.lr_scheduler_type, arguments.warmup_steps)
            for name, optimizer in optimizers.items()
        }
        prepared = self.accelerator.prepare(*modules.values(), *optimizers.values())
        self.modules = dict(zip(modules, prepared[: len(modules)], strict=True))
        self.optimizers = dict(zip(optimizers, prepared[len(modules) :], strict=True))
        self.train_loader = build_data_loader(self.accelerator, arguments, train_dataset, "train", collate_fn)
        self.validation_loader = None
        if validation_dataset is not None:
            self.validation_loader = build_data_loader(
                self.accelerator, arguments, validation_dataset, "validation", collate_fn
            )
        self.state = LoopState(batches_per_epoch=len(self.train_loader))
        self.means = RunningMeans()
        self.register_for_checkpointing(self.state, self.means)

    # What stages use

    def optimize(self, loss: torch.Tensor, name: str | None = None) -> bool:
        """
        One backward pass for `loss`, and a step of the optimizer called `name` (by default the first one) once enough
        gradients are accumulated.

        Returns:
            `bool`: whether the weights were changed.

        Raises:
            FloatingPointError: if the loss is NaN or infinite; the weights are still sound then.
        """
        name = self.main_name if name is None else name
        self._check_finite(loss.item(), "training loss")
        self.accelerator.backward(loss)
        if self.accelerator.sync_gradients and self.arguments.max_grad_norm:
            parameters = self.modules[name].parameters()
            norm = self.accelerator.clip_grad_norm_(parameters, self.arguments.max_grad_norm)
            self.means.add({self._tag("gradient_norm", name): norm})
        self.optimizers[name].step()
        self.optimizers[name].zero_grad()
        return self.accelerator.sync_gradients

    def unwrapped(self, name: str | None = None) -> nn.Module:
        """The module called `name` (by default the model) without the wrapper of several processes."""
        return self.accelerator.unwrap_model(self.modules[self.main_name if name is None else name])

    def register_for_checkpointing(self, *objects: Any) -> None:
        """Adds objects with `state_dict` and `load_state_dict` to the checkpoints; call it before [`run`]."""
        self.accelerator.register_for_checkpointing(*objects)

    def announce(self, text: str) -> None:
        """Writes a line to the log, once for all processes."""
        if self.accelerator.is_main_process:
            logger.info(text)

    @property
    def tensorboard(self):
        """The `SummaryWriter` for pictures and sounds, or `None` where nothing is logged to TensorBoard."""
        names = [tracker.name for tracker in self.accelerator.trackers]
        if not self.accelerator.is_main_process or "tensorboard" not in names:
            return None
        return self.accelerator.get_tracker("tensorboard", unwrap=True)

    @property
    def max_steps(self) -> int | None:
        """Steps at which the run ends; `None` if only time ends it."""
        if self.arguments.max_train_steps is not None:
            return self.arguments.max_train_steps
        if self.arguments.num_train_epochs is None:
            return None
        steps_per_epoch = math.ceil(len(self.train_loader) / self.arguments.gradient_accumulation_steps)
        return math.ceil(self.arguments.num_train_epochs * steps_per_epoch)

    def run(self) -> LoopState:
        """
        Trains to the end and saves the final model in `output_dir`.

        Returns:
            [`LoopState`]: the counters at the end, with the metrics of the last and of the best validation.
        """
        self._start_trackers()
        # Until here all processes drew the same numbers, so that their weights are equal.
        set_seed(self.arguments.seed, device_specific=True)
        self._resume()
        self._started = time.monotonic() - self.state.seconds
        self._set_learning_rates()
        self._set_training_mode(True)
        hide_bar = not self.accelerator.is_local_main_process
        with logging_redirect_tqdm(), tqdm(total=self.max_steps, initial=self.state.step, disable=hide_bar) as bar:
            while not self._is_finished():
                self._train_epoch(bar)
        self._finish()
        return self.state

    @property
    def final_validation(self) -> dict[str, float]:
        """Validation metrics of the final model; empty without a validation split."""
        return self.state.best_validation if self.arguments.load_best_model_at_end else self.state.validation

    def write_summary(self, **facts: Any) -> None:
        """Writes `training_summary.json` into `output_dir`: the settings, what was done, the result, and `facts`."""
        if not self.accelerator.is_main_process:
            return
        summary = {
            "steps": self.state.step,
            "epochs": self.state.epochs,
            "seconds": round(self.state.seconds, 1),
            "num_processes": self.accelerator.num_processes,
            "device": self.accelerator.device.type,
            "mixed_precision": self.accelerator.mixed_precision,
            "parameters": sum(parameter.numel() for parameter in self.unwrapped().parameters()),
            "validation": self.final_validation,
            "best_step": self.state.best_step,
            **facts,
            "arguments": self.arguments.to_dict(),
        }
        path = Path(self.arguments.output_dir) / SUMMARY_NAME
        path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")

    # Steps

    def _train_epoch(self, bar: tqdm) -> None:
        loader = self.train_loader
        loader.set_epoch(self.state.epoch)
        if self.state.batches:
            loader = skip_first_batches(loader, self.state.batches)
        try:
            for batch in loader:
                with self.accelerator.accumulate(*self.modules.values()):
                    metrics = self.training_step(self, batch)
                self.means.add(metrics)
                self.state.count_batch()
                if self.accelerator.sync_gradients:
                    bar.set_postfix(loss=f"{torch.as_tensor(metrics['loss']).item():.4f}", refresh=False)
                    bar.update()
                    self._after_step()
                    if self._is_finished():
                        return
        finally:
            # Accelerate only does this itself when an epoch is used up.
            loader.end()

    def _after_step(self) -> None:
        state, arguments = self.state, self.arguments
        state.step += 1
        state.seconds = self._elapsed()
        if state.step <= arguments.warmup_steps:
            state.warmup_seconds = state.seconds
        if state.step % arguments.logging_steps == 0:
            self._log("train", self.means.take(self.accelerator) | self._learning_rates() | {"epoch": state.epochs})
        self._set_learning_rates()
        if arguments.eval_steps and state.step % arguments.eval_steps == 0 and self.validation_loader is not None:
            self._validate()
        if arguments.checkpointing_steps and state.step % arguments.checkpointing_steps == 0:
            self._save_checkpoint()

    def _is_finished(self) -> bool:
        out_of_steps = self.max_steps is not None and self.state.step >= self.max_steps
        return out_of_steps or (self._max_seconds is not None and self.state.seconds >= self._max_seconds)

    @property
    def _max_seconds(self) -> float | None:
        minutes = self.arguments.max_train_minutes
        return None if minutes is None else 60 * minutes

    def _elapsed(self) -> float:
        """Seconds since the start of the run. With a time limit, all processes get those of the first one."""
        seconds = time.monotonic() - self._started
        if self._max_seconds is not None and self.accelerator.num_processes > 1:
            seconds = broadcast(torch.tensor([seconds], device=self.accelerator.device)).item()
        return seconds

    def _set_learning_rates(self) -> None:
        state = self.state
        position = schedule_position(
            step=state.step,
            seconds=state.seconds,
            warmup_steps=self.arguments.warmup_steps,
            warmup_seconds=state.warmup_seconds,
            max_steps=self.max_steps,
            max_seconds=self._max_seconds,
        )
        for schedule in self.schedules.values():
            set_learning_rates(schedule, position)

    def _learning_rates(self) -> dict[str, float]:
        return {
            self._tag("learning_rate", name): schedule.optimizer.param_groups[0]["lr"]
            for name, schedule in self.schedules.items()
        }

    def _tag(self, tag: str, name: str) -> str:
        return tag if name == self.main_name else f"{tag}_{name}"

    def _set_training_mode(self, training: bool) -> None:
        for module in self.modules.values():
            module.train(training)

    def _check_finite(self, value: float, what: str) -> None:
        if not math.isfinite(value):
            raise FloatingPointError(
                f"The {what} is {value} at step {self.state.step}. Lower `learning_rate`, lengthen `warmup_steps`, or "
                "look for broken clips in the data set; `resume_from_checkpoint` continues from the last checkpoint."
            )

    # Validation

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """
        Metrics over the validation split, each clip counted once. The random numbers drawn are always the same ones,
        and training goes on as if there had been none.
        """
        self._set_training_mode(False)
        gathered = defaultdict(list)
        with self._same_random_numbers():
            for batch in self.validation_loader:
                values = self.accelerator.gather_for_metrics(self.evaluation_step(self, batch))
                for name, value in values.items():
                    gathered[name].append(value.cpu())
            metrics = self.summarize_evaluation({name: torch.cat(parts) for name, parts in gathered.items()})
            if self.log_media is not None and self.accelerator.is_main_process:
                self.log_media(self)
        self._set_training_mode(True)
        return metrics

    @contextmanager
    def _same_random_numbers(self) -> Iterator[None]:
        device = self.accelerator.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(self.arguments.seed)
            yield

    def _validate(self) -> None:
        state = self.state
        state.validation = self.evaluate()
        state.evaluated_step = state.step
        self._check_finite(state.validation["loss"], "validation loss")
        self._log("validation", state.validation)
        if not state.best_validation or state.validation["loss"] < state.best_validation["loss"]:
            state.best_step, state.best_validation = state.step, state.validation
            self._save_best()

    def _log(self, split: str, metrics: dict[str, float]) -> None:
        self.accelerator.log({f"{split}/{name}": value for name, value in metrics.items()}, step=self.state.step)
        text = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        self.announce(f"step {self.state.step}, {split}: {text}")

    # Files

    @property
    def _best_folder(self) -> Path:
        return Path(self.arguments.output_dir) / "best"

    def save_model(self, directory: str | Path) -> None:
        """Saves the model with `save_pretrained`; every process has to call this."""
        self.unwrapped().save_pretrained(
            directory,
            save_code=False,  # publishing adds it
            is_main_process=self.accelerator.is_main_process,
            save_function=self.accelerator.save,
            state_dict=self.accelerator.get_state_dict(self.modules[self.main_name]),
        )

    def _save_best(self) -> None:
        self._write_folder(self._best_folder, self.save_model)

    def _save_checkpoint(self) -> None:
        folder = checkpoints_folder(self.arguments.output_dir)
        self._write_folder(folder / f"checkpoint-{self.state.step}", self.accelerator.save_state)
        if self.accelerator.is_main_process:
            rotate_checkpoints(self.arguments.output_dir, self.arguments.checkpoints_total_limit)

    def _write_folder(self, folder: Path, write: Callable[[str], Any]) -> None:
        """Writes under a temporary name first, so that a folder with the final name is always complete."""
        temporary = folder.with_name(f"incomplete-{folder.name}")
        if self.accelerator.is_main_process:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
        self.accelerator.wait_for_everyone()
        write(str(temporary))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            replace_folder(temporary, folder)

    def _resume(self) -> None:
        resume_from = self.arguments.resume_from_checkpoint
        checkpoint = find_checkpoint(resume_from, self.arguments.output_dir)
        # Nobody may write a checkpoint before everybody has looked.
        self.accelerator.wait_for_everyone()
        if checkpoint is not None:
            self.accelerator.load_state(str(checkpoint))
            self.announce(f"resumed from {checkpoint} at step {self.state.step}")
        elif resume_from is not None:
            self.announce(f"no checkpoint in {self.arguments.output_dir} yet: starting from the beginning")

    def _start_trackers(self) -> None:
        config = {
            name: value for name, value in self.arguments.to_dict().items() if isinstance(value, (int, float, str))
        }
        self.accelerator.init_trackers("logs", config=config)

    def _finish(self) -> None:
        if self.validation_loader is not None and self.state.evaluated_step != self.state.step:
            self._validate()
        self.accelerator.wait_for_everyone()
        if not self.arguments.load_best_model_at_end:
            self.save_model(self.arguments.output_dir)
        elif self.accelerator.is_main_process:
            shutil.copytree(self._best_folder, self.arguments.output_dir, dirs_exist_ok=True)
        self.accelerator.wait_for_everyone()
        self.accelerator.end_training()
