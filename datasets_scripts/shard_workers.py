"""Who writes the shards of a build: this process, worker processes, or the ranks of a launcher?"""

import faulthandler
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import connection
from typing import Any, Protocol

import torch
from datasets import Features

from melspec_gpt.datasets_scripts.arrow_shards import Shard, write_shard
from melspec_gpt.datasets_scripts.output_folder import WorkFolder

# Ranks wait for the slowest one this long; the shares of a large data set can differ by hours.
RANK_TIMEOUT = timedelta(days=7)


class ShardJob(Protocol):
    """What a build puts into its shards. It travels to the worker processes, so it has to be small and to pickle."""

    description: str
    features: Features

    def prepare(self, device: torch.device | None) -> None:
        """Loads what is needed in the process that writes; on `device`, `None` for the job's own choice."""

    def item_name(self, item: Any) -> str:
        """What a user knows an item by."""

    def rows(self, shard: Shard, notes: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """
        The rows of a shard, a function of the shard alone. What is to be remembered of it goes to `notes`, see
        [`write_shard`].
        """


@dataclass
class Ranks:
    """
    The processes of a launcher such as `accelerate launch` that build one dataset together.

    Args:
        index, count (`int`): number of this process, and how many there are.
        device (`torch.device`): what this process computes on; `None` without a launcher.
    """

    index: int = 0
    count: int = 1
    device: torch.device | None = None

    def share(self, value: Any) -> Any:
        """The first rank's `value`."""
        if self.count == 1:
            return value
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0]

    def wait(self) -> None:
        """Returns when all ranks are here."""
        if self.count > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()


def find_ranks() -> Ranks:
    """The ranks that this process belongs to: those of a launcher, or it alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Ranks()
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available()
    # Only a few words are exchanged, for which gloo does on every device.
    state = PartialState(cpu=cpu, backend="gloo", timeout=RANK_TIMEOUT)
    return Ranks(state.process_index, state.num_processes, state.device)


def run_shards(
    work: WorkFolder, job: ShardJob, shards: Sequence[Shard], num_proc: int | None, device: torch.device | None
) -> Iterator[Shard]:
    """
    Writes `shards`, each process one at a time, and yields each one as it is finished.

    Args:
        work (`WorkFolder`): where.
        job (`ShardJob`): what to write.
        shards (`Sequence[Shard]`): the shards to be written.
        num_proc (`int`): worker processes; `None` or 1 for none.
        device (`torch.device`): what to compute on; `None` for the job's own choice.

    Raises:
        ChildProcessError: if a worker process died. The shards that were yielded are whole.
    """
    num_workers = min(num_proc or 1, len(shards))
    if num_workers > 1:
        yield from _run_in_workers(work, job, shards, num_workers)
        return
    if shards:
        job.prepare(device)
    for shard in shards:
        with _one_thread():
            _write(work, job, shard)
        yield shard


def _run_in_workers(work: WorkFolder, job: ShardJob, shards: Sequence[Shard], num_workers: int) -> Iterator[Shard]:
    # Spawned, as a fork of a process that runs threads (PyTorch's, say) can hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(num_workers, context, initializer=_start_worker, initargs=(work.output_dir, job))
    try:
        futures = {pool.submit(_write_in_worker, shard): shard for shard in shards}
        for future in as_completed(list(futures)):
            future.result()
            yield futures.pop(future)
    except BrokenProcessPool as error:
        # Shards are taken in order, one at a time: the first that are not finished were being written.
        begun = list(futures.values())[:num_workers]
        names = [f"{job.item_name(shard.items[0])} to {job.item_name(shard.items[-1])}" for shard in begun]
        raise ChildProcessError(
            "A worker process died without a word: it was killed, perhaps as the memory was full (then give a smaller "
            "`num_proc`), or crashed on a damaged file. It was working on one of these parts: "
            f"{'; '.join(names)}. In a program of your own, call the build below `if __name__ == '__main__':`."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


class _Worker:
    """What a worker process needs for every shard."""

    work: WorkFolder
    job: ShardJob


def _start_worker(output_dir, job: ShardJob) -> None:
    # Ctrl-C reaches every process of the terminal: here it just ends the process.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    faulthandler.enable()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    _Worker.work, _Worker.job = WorkFolder(output_dir), job
    job.prepare(None)


def _end_with_parent() -> None:
    """Ends a worker whose parent was killed: it would wait for work for ever."""
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _write_in_worker(shard: Shard) -> None:
    _write(_Worker.work, _Worker.job, shard)


def _write(work: WorkFolder, job: ShardJob, shard: Shard) -> None:
    notes: dict[str, Any] = {}
    write_shard(work, shard, job.features, job.rows(shard, notes), notes)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums are rounded differently by another number of threads; a worker process has one."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)
