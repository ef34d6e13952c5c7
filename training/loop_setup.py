"""How are Accelerate and the data loaders set up, so that a run can be repeated and resumed exactly?"""

import dataclasses
import logging
from collections.abc import Callable

import torch
from accelerate import Accelerator, DataLoaderConfiguration, skip_first_batches
from accelerate.utils import GradientAccumulationPlugin, ProjectConfiguration
from torch.utils.data import DataLoader, Dataset
from transformers.utils.logging import disable_progress_bar

from melspec_gpt.training.arguments import RunArguments
from melspec_gpt.training.sharded_rows import ShardedRows
from melspec_gpt.training.token_stream import StreamLoader, build_stream_loader


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
        # Every step takes in equally many batches, also one that begins in an epoch and ends in the next.
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=arguments.gradient_accumulation_steps, sync_with_dataloader=False
        ),
        log_with=tracker,
        project_config=ProjectConfiguration(project_dir=arguments.output_dir, logging_dir=arguments.output_dir),
        # The order of the data is a function of the seed and the epoch.
        dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True, data_seed=arguments.seed),
    )
    if tracker is not None and not accelerator.log_with:
        # Accelerate leaves out a tracker that is not installed without a word.
        raise ValueError(f'`report_to` is {tracker!r}, which is not installed; install it, or choose "none".')
    return accelerator


def with_batch_size_per_device(arguments: RunArguments, num_processes: int) -> RunArguments:
    """
    The arguments with the `per_device_train_batch_size` that follows from `global_batch_size`, if that is given.

    Raises:
        ValueError: if the clips of a step cannot be shared out evenly.
    """
    if arguments.global_batch_size is None:
        return arguments
    batches_per_step = num_processes * arguments.gradient_accumulation_steps
    if arguments.global_batch_size % batches_per_step:
        raise ValueError(
            f"`global_batch_size` is {arguments.global_batch_size}; it has to be a multiple of {batches_per_step}, "
            f"the number of processes ({num_processes}) times `gradient_accumulation_steps` "
            f"({arguments.gradient_accumulation_steps})."
        )
    return dataclasses.replace(arguments, per_device_train_batch_size=arguments.global_batch_size // batches_per_step)


def build_data_loader(
    accelerator: Accelerator,
    arguments: RunArguments,
    dataset: Dataset | ShardedRows,
    split: str,
    collate_fn: Callable[[list], dict] | None = None,
) -> DataLoader | StreamLoader:
    """
    The data loader of one process for the split "train" (shuffled) or "validation"; rows in shards are streamed.

    Raises:
        ValueError: if the split is empty, or if it is streamed and there is a `collate_fn`.
    """
    if len(dataset) == 0:
        raise ValueError(f"`dataset_path` {arguments.dataset_path!r}: the {split} split is empty.")
    if isinstance(dataset, ShardedRows):
        if collate_fn is not None:
            raise ValueError("`collate_fn` is given, but `streaming` reads whole batches; leave out one of them.")
        return build_stream_loader(accelerator, arguments, dataset)
    is_training = split == "train"
    loader = DataLoader(
        dataset,
        batch_size=arguments.per_device_train_batch_size if is_training else arguments.per_device_eval_batch_size,
        shuffle=is_training,
        collate_fn=collate_fn,
        # All batches are of one size, so that the number of processes makes no difference. Shuffling leaves out other
        # clips each time.
        drop_last=is_training and len(dataset) >= arguments.per_device_train_batch_size * accelerator.num_processes,
        num_workers=arguments.dataloader_num_workers,
        pin_memory=accelerator.device.type == "cuda",
        # Its own generator, so that starting an epoch leaves the random numbers of the training steps alone.
        generator=torch.Generator().manual_seed(arguments.seed),
    )
    return accelerator.prepare(loader)


def skip_batches(loader: DataLoader | StreamLoader, count: int) -> DataLoader | StreamLoader:
    """The rest of an epoch after its first `count` batches, which are not read."""
    return loader.starting_at(count) if isinstance(loader, StreamLoader) else skip_first_batches(loader, count)
