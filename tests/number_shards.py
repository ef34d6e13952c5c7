"""A build of numbers instead of sounds, which can be made to fail in a given shard."""

import errno
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from datasets import Features, Value

from melspec_gpt.datasets_scripts.sharded_build import build_sharded

# Shards of 32 items each: four of training, two of validation.
SPLITS = {"train": range(100), "validation": range(100, 140)}
NUM_SHARDS = 6


@dataclass
class NumberJob:
    """
    Rows with the number of each item; negative ones give no row.

    Args:
        log (`str`): a file that gets a line for every shard that is begun.
        accident (`str`): what happens in the middle of a shard: "kill", "exit", "disk full", "Ctrl-C".
        shard (`str`): name of that shard, such as "train-1".
    """

    log: str
    accident: str | None = None
    shard: str | None = None

    description = "Numbers"
    features = Features({"id": Value("string"), "number": Value("int64")})

    def prepare(self, device):
        """There is nothing to load."""

    def item_name(self, item):
        """The number."""
        return f"number {item}"

    def rows(self, shard, notes):
        name = f"{shard.split}-{shard.index}"
        with open(self.log, "a") as log:
            log.write(name + "\n")
        for position, number in enumerate(shard.items):
            if name == self.shard and position == len(shard.items) // 2:
                self._happen()
            if number >= 0:
                yield {"id": f"{number}", "number": number}
        notes["sum"] = sum(shard.items)

    def _happen(self):
        if self.accident == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.accident == "exit":
            time.sleep(1)  # the other worker finishes a shard
            os._exit(1)
        elif self.accident == "disk full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        elif self.accident == "Ctrl-C":
            raise KeyboardInterrupt


def build_numbers(folder: Path, name: str, accident=None, shard=None, splits=SPLITS, seed=0, **kwargs) -> dict:
    """Builds `folder / name`; the shards that are begun are noted in `folder / f"{name}.log"`."""
    (folder / "source").mkdir(exist_ok=True)
    job = NumberJob(str(folder / f"{name}.log"), accident, shard)

    def finish(dataset, shards):
        if not any(record["rows"] for _, record in shards):
            raise ValueError("there is no row")
        (dataset / "extra.txt").write_text("extra")
        return {"sum": sum(record["notes"]["sum"] for _, record in shards)}

    return build_sharded(folder / name, folder / "source", splits, {"seed": seed}, job, finish, **kwargs)


def begun_shards(folder: Path, name: str) -> list[str]:
    """The shards that were begun, in order."""
    log = folder / f"{name}.log"
    return log.read_text().split() if log.exists() else []


def folder_bytes(folder: Path) -> dict[str, bytes]:
    """What every file of a folder holds, hidden ones included."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
