"""How is a model trained? One loop for all stages: steps, logs, validation, checkpoints, resuming, final model."""

import logging
import math
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast, set_seed
from torch import nn
from torch.utils.data import Dataset
from tqdm.contrib.logging import logging_redirect_tqdm

from melspec_gpt.training.arguments import RunArguments
from melspec_gpt.training.divergence import check_finite, check_step
from melspec_gpt.training.loop_progress import ProgressBar
from melspec_gpt.training.loop_resume import resume
from melspec_gpt.training.loop_setup import (
    build_accelerator,
    build_data_loader,
    skip_batches,
    with_batch_size_per_device,
)
from melspec_gpt.training.loop_state import LoopState, RunningMeans
from melspec_gpt.training.loop_validation import log_media_if_due, same_random_numbers, validation_values
from melspec_gpt.training.optimization import LearningRates
from melspec_gpt.training.run_folder import RunFolder, check_writable
from melspec_gpt.training.stop_signals import StopSignals
from melspec_gpt.training.training_summary import write_summary
from melspec_gpt.training.weight_averaging import WeightAverage

logger = logging.getLogger(__name__)

Metrics = Mapping[str, torch.Tensor | float]


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
            `save_pretrained` into `output_dir` and `output_dir/best`; averaging of weights, compilation and gradient
            checkpointing are for it.
        optimizers (`dict[str, torch.optim.Optimizer]`): the optimizer of each module, under the module's name.
        training_step: `(loop, batch) -> metrics`.
        train_dataset: indexable data set of the training split.
        evaluation_step: `(loop, batch) -> values`, tensors with one row per clip, "loss" among them.
        validation_dataset: data set of the validation split, if there is one.
        collate_fn: makes a batch of a list of examples; by default the one of PyTorch.
        summarize_evaluation: `values of all clips -> metrics`; by default the mean of each.
        log_media: `(loop) -> None`, called on the main process after validations, to log pictures or sounds: see
            `media_steps`. Not with sharded weights, which a single process cannot use.

    Raises:
        ValueError: if the arguments do not fit each other, the data set or the number of processes.
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
        for name in ("load_best_model_at_end", "early_stopping_patience"):
            if getattr(arguments, name) and validation_dataset is None:
                raise ValueError(f"`{name}` is {getattr(arguments, name)}, but the data set has no validation split.")
        self.accelerator = build_accelerator(arguments)
        self.arguments = with_batch_size_per_device(arguments, self.accelerator.num_processes)
        self.training_step = training_step
        self.evaluation_step = evaluation_step
        self.summarize_evaluation = summarize_evaluation
        self.log_media = log_media
        self.main_name = next(iter(modules))
        self._prepare(modules, optimizers)
        build = partial(build_data_loader, self.accelerator, self.arguments)
        self.train_loader = build(train_dataset, "train", collate_fn)
        self.validation_loader = None
        if validation_dataset is not None:
            self.validation_loader = build(validation_dataset, "validation", collate_fn)
        self.folder = RunFolder(self.accelerator, arguments.output_dir, arguments.checkpoints_total_limit)
        self.state = LoopState(batches_per_epoch=len(self.train_loader))
        self.means = RunningMeans()
        self.register_for_checkpointing(self.state)
        self.average = None
        if arguments.ema_decay:
            self.average = WeightAverage(self.unwrapped(), arguments.ema_decay)
            self.register_for_checkpointing(self.average)

    def _prepare(self, modules: dict[str, nn.Module], optimizers: dict[str, torch.optim.Optimizer]) -> None:
        arguments, model = self.arguments, modules[self.main_name]
        if arguments.gradient_checkpointing:
            model.activation_checkpointing_enable()
        if arguments.torch_compile:
            # In place: the model keeps its class, and its weights keep their names.
            model.compile(backend=arguments.torch_compile_backend)
        self.learning_rates = LearningRates(arguments, optimizers)
        prepared = self.accelerator.prepare(*modules.values(), *optimizers.values())
        self.modules = dict(zip(modules, prepared[: len(modules)], strict=True))
        self.optimizers = dict(zip(optimizers, prepared[len(modules) :], strict=True))

    # What stages use

    def optimize(self, loss: torch.Tensor, name: str | None = None) -> bool:
        """
        One backward pass for `loss`, and a step of the optimizer called `name` (by default the first one) once enough
        gradients are accumulated.

        Returns:
            `bool`: whether the weights were changed.

        Raises:
            FloatingPointError: if the loss or a gradient is NaN or infinite, on any process; the weights are still
                sound then.
        """
        name = self.main_name if name is None else name
        self.accelerator.backward(loss)
        if self.accelerator.sync_gradients:
            parameters = self.modules[name].parameters()
            norm = self.accelerator.clip_grad_norm_(parameters, self.arguments.max_grad_norm or math.inf)
            # Scaled gradients of float16 may be infinite: their step is left out.
            if self.accelerator.scaler is None:
                check_step(loss, norm, self.state.step)
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
        batches = self.arguments.num_train_epochs * len(self.train_loader)
        return math.ceil(batches / self.arguments.gradient_accumulation_steps)

    def run(self) -> LoopState:
        """
        Trains to the end and saves the final model in `output_dir`.

        Returns:
            [`LoopState`]: the counters at the end, with the metrics of the last and of the best validation.

        Raises:
            SystemExit: after SIGTERM (exit code 143) or SIGINT (130), when the state is saved in a checkpoint.
            FloatingPointError: if a loss is NaN or infinite.
            OSError: if nothing can be written into `output_dir`, at the start or later.
        """
        check_writable(self.arguments.output_dir)
        # Until here all processes drew the same numbers, so that their weights are equal.
        set_seed(self.arguments.seed, device_specific=True)
        resume(self)
        self._start_trackers()
        self._started = time.monotonic() - self.state.seconds
        self.learning_rates.follow(self.state, self.max_steps)
        self._set_training_mode(True)
        with logging_redirect_tqdm(), StopSignals() as self._signals, self._progress_bar() as bar:
            # What a signal kept the earlier session from.
            self._validate_if_due()
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
        if self.accelerator.is_main_process:
            write_summary(self, facts)

    # Steps

    def _progress_bar(self) -> ProgressBar:
        arguments = self.arguments
        # A data set that is smaller than a batch is one.
        clips_per_batch = min(
            arguments.per_device_train_batch_size * self.accelerator.num_processes, len(self.train_loader.dataset)
        )
        return ProgressBar(
            step=self.state.step,
            max_steps=self.max_steps,
            max_seconds=arguments.max_train_seconds,
            clips_per_step=clips_per_batch * arguments.gradient_accumulation_steps,
            shown=self.accelerator.is_main_process,
        )

    def _train_epoch(self, bar: ProgressBar) -> None:
        loader, arguments = self.train_loader, self.arguments
        loader.set_epoch(self.state.epoch)
        if self.state.batches:
            loader = skip_batches(loader, self.state.batches)
        try:
            for batch in loader:
                with self.accelerator.accumulate(*self.modules.values()):
                    metrics = self.training_step(self, batch)
                self.means.add(metrics)
                self.state.count_batch()
                if self.accelerator.sync_gradients:
                    self._after_step()
                    bar.update(torch.as_tensor(metrics["loss"]).item(), self.state.seconds)
                    self._act_on_signals()
                    self._validate_if_due()
                    if arguments.checkpointing_steps and self.state.step % arguments.checkpointing_steps == 0:
                        self._save_checkpoint()
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
        if self.average is not None:
            self.average.update(state.step)
        if state.step % arguments.logging_steps == 0:
            rates = {self._tag("learning_rate", name): rate for name, rate in self.learning_rates.current().items()}
            self._log("train", self.means.take(self.accelerator) | rates | {"epoch": state.epochs})
        self.learning_rates.follow(self.state, self.max_steps)

    def _act_on_signals(self) -> None:
        number = self._signals.agreed(self.accelerator)
        if number is None:
            return
        checkpoint = self._save_checkpoint()
        self.announce(
            f"stopped by {signal.Signals(number).name} at step {self.state.step}; {checkpoint} has everything. "
            "Continue with the same command and --resume_from_checkpoint latest"
        )
        self.accelerator.end_training()
        sys.exit(128 + number)  # as shells count it

    def _is_finished(self) -> bool:
        state, arguments = self.state, self.arguments
        used_up = [
            (state.step, self.max_steps),
            (state.seconds, arguments.max_train_seconds),
            (state.validations_without_improvement, arguments.early_stopping_patience),
        ]
        return any(limit is not None and value >= limit for value, limit in used_up)

    def _elapsed(self) -> float:
        """Seconds since the start of the run. With a time limit, all processes get those of the first one."""
        seconds = time.monotonic() - self._started
        if self.arguments.max_train_seconds is not None and self.accelerator.num_processes > 1:
            seconds = broadcast(torch.tensor([seconds], device=self.accelerator.device)).item()
        return seconds

    def _tag(self, tag: str, name: str) -> str:
        return tag if name == self.main_name else f"{tag}_{name}"

    def _set_training_mode(self, training: bool) -> None:
        for module in self.modules.values():
            module.train(training)

    # Validation

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """
        Metrics over the validation split, each clip counted once. The random numbers drawn are always the same ones,
        and training goes on as if there had been none.
        """
        self._set_training_mode(False)
        with same_random_numbers(self.accelerator.device, self.arguments.seed), self._averaged_weights():
            metrics = self.summarize_evaluation(validation_values(self))
            log_media_if_due(self)
        self._set_training_mode(True)
        return metrics

    def _averaged_weights(self):
        return nullcontext() if self.average is None else self.average.applied()

    def _validate_if_due(self) -> None:
        step, eval_steps = self.state.step, self.arguments.eval_steps
        is_done = step in (0, self.state.evaluated_step)
        if self.validation_loader is not None and eval_steps and step % eval_steps == 0 and not is_done:
            self._validate()

    def _validate(self) -> None:
        metrics = self.evaluate()
        check_finite("validation loss", metrics["loss"], self.state.step)
        self._log("validation", metrics)
        if self.state.note_validation(metrics, self.arguments.early_stopping_threshold):
            self.folder.write_best(self.save_model, self.state.step)

    def _log(self, split: str, metrics: dict[str, float]) -> None:
        self.accelerator.log({f"{split}/{name}": value for name, value in metrics.items()}, step=self.state.step)
        text = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        self.announce(f"step {self.state.step}, {split}: {text}")

    # Files

    def save_model(self, directory: str | Path) -> None:
        """Saves the model, averaged if there is an average, with `save_pretrained`; every process has to call this."""
        with self._averaged_weights():
            self.unwrapped().save_pretrained(
                directory,
                save_code=False,  # publishing adds it
                is_main_process=self.accelerator.is_main_process,
                save_function=self.accelerator.save,
                state_dict=self.accelerator.get_state_dict(self.modules[self.main_name]),
            )

    def _save_checkpoint(self) -> Path:
        return self.folder.write_checkpoint(self.state.step, self._write_state)

    def _write_state(self, directory: str) -> None:
        self.accelerator.save_state(directory)
        self.means.save(directory, self.accelerator.process_index)

    def _start_trackers(self) -> None:
        config = {
            name: value for name, value in self.arguments.to_dict().items() if isinstance(value, (int, float, str))
        }
        # What a killed session logged after the checkpoint is logged again.
        tensorboard = {"purge_step": self.state.step + 1} if self.state.step else {}
        self.accelerator.init_trackers("logs", config=config, init_kwargs={"tensorboard": tensorboard})

    def _finish(self) -> None:
        if self.validation_loader is not None and self.state.evaluated_step != self.state.step:
            self._validate()
        self.accelerator.wait_for_everyone()
        self.folder.write_final(self.folder.copy_best if self.arguments.load_best_model_at_end else self.save_model)
        self.accelerator.wait_for_everyone()
        self.accelerator.end_training()
