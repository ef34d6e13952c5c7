"""How do shards stream into a training? Batches read in order from memory-mapped files, each rank its own share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from accelerate.data_loader import DataLoaderStateMixin
from accelerate.state import GradientState
from accelerate.utils import send_to_device
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from melspec_gpt.training.sharded_rows import ShardedRows
from melspec_gpt.training.stream_order import StreamOrder

if TYPE_CHECKING:
    from accelerate import Accelerator

    from melspec_gpt.training.arguments import RunArguments


class TokenStream(IterableDataset):
    """
    The batches of one process in one epoch. The streams of `datasets` shuffle in a buffer that has to be filled again
    at a resume, and give processes different numbers of batches; this one knows its order beforehand.

    Args:
        rows ([`ShardedRows`]): where the data are.
        order ([`StreamOrder`]): which rows each batch has.
        epoch (`int`): epoch, which decides the order.
        first_batch (`int`): batch to begin with; those before it are not read.
    """

    def __init__(self, rows: ShardedRows, order: StreamOrder, epoch: int = 0, first_batch: int = 0):
        self.rows = rows
        self.order = order
        self.epoch = epoch
        self.first_batch = first_batch

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        # The loader takes batches from its workers in turn, so that they stay in order.
        worker = get_worker_info()
        offset, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for rows in self.order.batches(self.epoch, self.first_batch + offset, step):
            yield self.rows.read(rows)


class StreamLoader(DataLoaderStateMixin):
    """
    Loads the batches of a [`TokenStream`] and puts them on the device of the process. To Accelerate it is one of its
    own loaders, but nothing is handed out by the first process: each one reads its share.

    Args:
        rows ([`ShardedRows`]): where the data are.
        order ([`StreamOrder`]): which rows each batch has.
        device (`torch.device`, *optional*): where the batches go; by default they stay on the CPU.
        num_workers (`int`): processes that load; 0 loads in this one.
        epoch (`int`): epoch to begin with.
        first_batch (`int`): batch that the first epoch begins with.
    """

    def __init__(
        self,
        rows: ShardedRows,
        order: StreamOrder,
        device: torch.device | None = None,
        num_workers: int = 0,
        epoch: int = 0,
        first_batch: int = 0,
    ):
        self.dataset = rows
        self.order = order
        self.device = device
        self.num_workers = num_workers
        self.epoch = epoch
        self.first_batch = first_batch
        self.gradient_state = GradientState()

    def __len__(self) -> int:
        return self.order.num_batches - self.first_batch

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of the next pass."""
        self.epoch = epoch

    def starting_at(self, batch: int) -> StreamLoader:
        """The same loader without the batches before `batch`, for a pass that was interrupted there."""
        return StreamLoader(self.dataset, self.order, self.device, self.num_workers, self.epoch, batch)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        loader = DataLoader(
            TokenStream(self.dataset, self.order, self.epoch, self.first_batch),
            batch_size=None,
            num_workers=self.num_workers,
            pin_memory=self.device is not None and self.device.type == "cuda",
            # Its own generator, so that starting an epoch leaves the random numbers of the training steps alone.
            generator=torch.Generator(),
        )
        self.begin()
        try:
            for index, batch in enumerate(loader, start=1):
                self.end_of_dataloader = index == len(self)
                yield batch if self.device is None else send_to_device(batch, self.device, non_blocking=True)
        finally:
            self.end()


def build_stream_loader(accelerator: Accelerator, arguments: RunArguments, rows: ShardedRows) -> StreamLoader:
    """The loader of this process for a training split in shards."""
    order = StreamOrder(
        shard_rows=[shard.num_rows for shard in rows.shards],
        batch_size=arguments.per_device_train_batch_size,
        num_processes=accelerator.num_processes,
        process_index=accelerator.process_index,
        seed=arguments.seed,
    )
    return StreamLoader(rows, order, accelerator.device, arguments.dataloader_num_workers)
