"""How are Accelerate and the data loaders set up, so that a run can be repeated and resumed exactly?"""

import logging
from collections.abc import Callable

import torch
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.utils import ProjectConfiguration
from torch.utils.data import DataLoader, Dataset
from transformers.utils.logging import disable_progress_bar

from melspec_gpt.training.arguments import RunArguments


def configure_logging() -> None:
    """For programs: our own progress is shown, the details and bars of saving and loading are not."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for name in ("accelerate", "httpx", "httpx2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    disable_progress_bar()


def build_accelerator(arguments: RunArguments) -> Accelerator:
    """
    Raises:
        ValueError: if the tracker asked for does not exist or is not installed.
    """
    tracker = None if arguments.report_to == "none" else arguments.report_to
    accelerator = Accelerator(
        gradient_accumulation_steps=arguments.gradient_accumulation_steps,
        log_with=tracker,
        project_config=ProjectConfiguration(project_dir=arguments.output_dir, logging_dir=arguments.output_dir),
        # The order of the data is a function of the seed and the epoch.
        dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True, data_seed=arguments.seed),
    )
    if tracker is not None and not accelerator.log_with:
        # Accelerate leaves out a tracker that is not installed without a word.
        raise ValueError(f'`report_to` is {tracker!r}, which is not installed; install it, or choose "none".')
    return accelerator


def build_data_loader(
    accelerator: Accelerator,
    arguments: RunArguments,
    dataset: Dataset,
    split: str,
    collate_fn: Callable[[list], dict] | None = None,
) -> DataLoader:
    """
    The data loader of one process for the split "train" (shuffled) or "validation".

    Raises:
        ValueError: if the split is empty.
    """
    if len(dataset) == 0:
        raise ValueError(f"`dataset_path` {arguments.dataset_path!r}: the {split} split is empty.")
    is_training = split == "train"
    loader = DataLoader(
        dataset,
        batch_size=arguments.per_device_train_batch_size if is_training else arguments.per_device_eval_batch_size,
        shuffle=is_training,
        collate_fn=collate_fn,
        num_workers=arguments.dataloader_num_workers,
        pin_memory=accelerator.device.type == "cuda",
        # Its own generator, so that starting an epoch leaves the random numbers of the training steps alone.
        generator=torch.Generator().manual_seed(arguments.seed),
    )
    return accelerator.prepare(loader)
