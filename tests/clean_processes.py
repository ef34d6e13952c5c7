"""
Processes of tests: copies of a server that has imported the package and done nothing else.

A copy of the test session itself could wait for ever, for a lock that one of its threads held at that moment or that a
killed copy took with it.
"""

import faulthandler
import multiprocessing
import os
import socket
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

from accelerate import PartialState
from torch.multiprocessing import start_processes

METHOD = "forkserver"
PRELOADED = [
    f"melspec_gpt.training.{name}" for name in ("train_gpt", "train_gpt_vae", "train_audio_tokenizer", "train_vocoder")
]
# What tests run takes seconds. A process that hangs says where, and ends.
MAX_SECONDS = 240

multiprocessing.get_context(METHOD).set_forkserver_preload(PRELOADED)


def start(function: Callable, *args, log: Path | None = None, **kwargs) -> BaseProcess:
    """Starts a process that calls `function`, which has to be found by its name; what it prints is added to `log`."""
    process = multiprocessing.get_context(METHOD).Process(target=_run, args=(function, args, kwargs, log))
    process.start()
    return process


def wait(process: BaseProcess) -> int:
    """Waits for the end of a process; its exit code, or the negative number of the signal that ended it."""
    process.join()
    return process.exitcode


def run(function: Callable, *args, **kwargs) -> int:
    """[`start`] and [`wait`]."""
    return wait(start(function, *args, **kwargs))


def run_on_two_processes(function: Callable, *args) -> None:
    """Calls `function` on two processes that know of each other as `accelerate launch` would tell them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start_processes(_run_as_rank, args=(port, function, args), nprocs=2, start_method=METHOD)


def _run(function: Callable, args: tuple, kwargs: dict, log: Path | None) -> None:
    if log is not None:
        sys.stdout = sys.stderr = log.open("a")
    faulthandler.dump_traceback_later(MAX_SECONDS, exit=True, file=sys.stderr)
    function(*args, **kwargs)


def _run_as_rank(rank: int, port: int, function: Callable, args: tuple) -> None:
    world = {"WORLD_SIZE": 2, "RANK": rank, "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in world.items()} | {"ACCELERATE_USE_CPU": "true"}
    PartialState(cpu=True)  # joins the process group
    _run(function, args, {}, None)
