"""Whole trainings as processes that can be killed: how they are started, waited for and compared."""

import hashlib
import importlib
import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import clean_processes
from clean_processes import wait
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_mels import write_mels
from tiny_tokens import save_audio_tokenizer, write_dataset
from tiny_waveforms import write_waveforms

# Whatever draws random numbers or remembers something between two steps is switched on.
SHARED_SETTINGS = {
    "model_config": "tiny",
    "max_train_steps": 24,
    "learning_rate": 0.003,
    "warmup_steps": 3,
    "ema_decay": 0.9,
    "logging_steps": 2,
    "eval_steps": 6,
    "media_steps": 0,
    "checkpointing_steps": 5,
    "load_best_model_at_end": False,
}
GPT_SETTINGS = {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 2, "code_noise": 0.1}
DROPOUT = {"residual_dropout": 0.1}


@dataclass(frozen=True)
class Training:
    """A training program with its settings, all but the output folder."""

    name: str
    module: str
    settings: dict

    def argv(self, output_dir: Path, **changes) -> list[str]:
        """A recipe beside the output folder, and how to use it."""
        recipe = output_dir.with_name(f"{output_dir.name}.json")
        recipe.parent.mkdir(parents=True, exist_ok=True)
        recipe.write_text(json.dumps(self.settings | {"output_dir": str(output_dir)} | changes))
        return [str(recipe)]


def tiny_trainings(folder: Path, **changes) -> dict[str, Training]:
    """All trainings, on data and with models that take seconds."""
    tokens = {
        "dataset_path": write_dataset(folder / "tokens"),
        "audio_tokenizer": save_audio_tokenizer(folder / "tokenizer"),
    }
    mels = {"dataset_path": write_mels(folder / "mels")}
    gpt = {"model_overrides": DROPOUT, "class_dropout": 0.3}
    vae = {"model_overrides": {"encoder": DROPOUT, "decoder": DROPOUT}, "stage": "vae", "kl_start": 0.0}
    vae |= {"warm_up": 5.0, "encoder_mask_probability": 0.5, "num_importance_samples": 0}
    tokenizer = {"crop_frames": 32, "per_device_train_batch_size": 4, "max_train_steps": 16}
    tokenizer |= {"discriminator_weight": 1.0, "discriminator_start": 3, "discriminator_channels": 4}
    vocoder = {"segment_frames": 16, "per_device_train_batch_size": 4, "max_train_steps": 12, "discriminator_start": 3}
    vocoder |= {"discriminator_config": {"base_channels": 4, "max_channels": 8, "num_layers": 2}}
    settings = {
        "train_gpt": tokens | GPT_SETTINGS | gpt,
        "train_gpt_vae": tokens | GPT_SETTINGS | vae,
        "train_audio_tokenizer": mels | tokenizer,
        "train_vocoder": {"dataset_path": write_waveforms(folder / "waveforms")} | vocoder,
    }
    return {
        name: Training(name, f"melspec_gpt.training.{name}", SHARED_SETTINGS | own | changes)
        for name, own in settings.items()
    }


def start(training: Training, argv: list[str], log: Path) -> BaseProcess:
    """Starts a training in a process of its own, as its command line would."""
    return clean_processes.start(importlib.import_module(training.module).main, argv, log=log)


def signal_when(
    process: BaseProcess, is_time: Callable[[], bool], number: int = signal.SIGKILL, delay: float = 0.0
) -> int:
    """Sends a signal `delay` seconds after it `is_time`, unless the process has ended; returns as [`wait`]."""
    while not is_time():
        if not process.is_alive():
            return wait(process)
        time.sleep(0.001)
    time.sleep(delay)
    with suppress(ProcessLookupError):  # it may have ended in the meantime
        os.kill(process.pid, number)
    return wait(process)


def logged_scalars(output_dir: Path) -> dict[str, dict[int, float]]:
    """What a run logged: a value for each step of each tag."""
    events = EventAccumulator(str(output_dir / "logs"), size_guidance={"scalars": 0})
    events.Reload()
    return {
        tag: {event.step: event.value for event in events.Scalars(tag)}
        for tag in events.Tags()["scalars"]
        if tag.startswith(("train/", "validation/"))
    }


def outcome(output_dir: Path) -> dict:
    """Everything that two equal runs have in common: the bytes of the weights, and all numbers that were logged."""
    weights = [output_dir / "model.safetensors", output_dir / "best" / "model.safetensors"]
    return {
        "weights": [hashlib.sha256(path.read_bytes()).hexdigest() for path in weights],
        "steps": json.loads((output_dir / "training_summary.json").read_text())["steps"],
        "logged": logged_scalars(output_dir),
    }
