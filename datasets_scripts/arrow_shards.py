"""How is one shard of a dataset written so that it is whole or not there, and what makes of the shards a dataset?"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import DatasetInfo, Features
from datasets.arrow_writer import ArrowWriter

from melspec_gpt.datasets_scripts.output_folder import (
    TEMPORARY_SUFFIX,
    WorkFolder,
    read_json,
    sync_file,
    sync_folder,
    write_json,
)

# Small enough that little work is lost with an unfinished shard, large enough that there are not too many files.
MINIMUM_SHARD_ITEMS = 32
MAXIMUM_SHARDS = 512
# Rows held in memory before they go to disk: a 10-second mel takes 138 kB.
ROWS_IN_MEMORY = 64
FINGERPRINT_LENGTH = 16


@dataclass(frozen=True)
class Shard:
    """
    One file of a dataset, and what it is made from.

    Args:
        split (`str`): its split.
        index, num_shards (`int`): its place among the shards of the split, and their number.
        items (`Sequence`): what its rows are made from, in order.
    """

    split: str
    index: int
    num_shards: int
    items: Sequence[Any] = field(repr=False)

    @property
    def file_name(self) -> str:
        """Name of the file inside the folder of the split, as `datasets` itself would call it."""
        return f"data-{self.index:05d}-of-{self.num_shards:05d}.arrow"

    def path_in(self, work: WorkFolder) -> Path:
        """Where the rows lie while the dataset is being built."""
        return work.dataset / self.split / self.file_name

    def record_path_in(self, work: WorkFolder) -> Path:
        """Where the record lies that says that the shard is finished."""
        return work.shards / f"{self.split}-{self.index:05d}.json"


def plan_shards(splits: Mapping[str, Sequence[Any]]) -> list[Shard]:
    """The shards of a dataset. They depend on the number of items of each split, on nothing else."""
    shards = []
    for split, items in splits.items():
        size = max(MINIMUM_SHARD_ITEMS, -(-len(items) // MAXIMUM_SHARDS))
        starts = range(0, len(items), size)
        shards += [Shard(split, index, len(starts), items[start : start + size]) for index, start in enumerate(starts)]
    return shards


def write_shard(
    work: WorkFolder, shard: Shard, features: Features, rows: Iterable[dict[str, Any]], notes: dict[str, Any]
) -> None:
    """
    Writes the rows of a shard, then the record that it is finished.

    Args:
        work (`WorkFolder`): where.
        shard (`Shard`): which.
        features (`Features`): types of the columns.
        rows (iterable of `dict`): the rows; at most `ROWS_IN_MEMORY` are held in memory.
        notes (`dict`): what is to be remembered of the shard, ready for JSON when the last row has been taken.
    """
    path = shard.path_in(work)
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    try:
        with open(temporary, "wb") as file:
            with ArrowWriter(stream=file, features=features, writer_batch_size=ROWS_IN_MEMORY) as writer:
                for row in rows:
                    writer.write(row)
                num_rows, _ = writer.finalize(close_stream=False)
            sync_file(file)
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    record = {"rows": num_rows, "bytes": path.stat().st_size, "sha256": digest, "notes": notes}
    write_json(shard.record_path_in(work), record)


def finished_record(work: WorkFolder, shard: Shard) -> dict[str, Any] | None:
    """The record of a finished shard: `rows`, `bytes`, `sha256`, `notes`; `None` for one that has to be written."""
    record = read_json(shard.record_path_in(work))
    path = shard.path_in(work)
    return record if record is not None and path.is_file() and path.stat().st_size == record["bytes"] else None


def write_dataset_files(
    work: WorkFolder, features: Features, shards: Sequence[Shard], records: Sequence[dict[str, Any]]
) -> None:
    """
    Makes of the shards a dataset that `load_from_disk` opens; a split without rows is removed. The fingerprints are
    those of the content.

    Args:
        work (`WorkFolder`): where the shards lie.
        features (`Features`): types of the columns.
        shards, records (`Sequence`): all shards, and the record of each.
    """
    splits = []
    for split in dict.fromkeys(shard.split for shard in shards):
        own = [(shard, record) for shard, record in zip(shards, records, strict=True) if shard.split == split]
        if not any(record["rows"] for _, record in own):
            for shard, _ in own:
                shard.path_in(work).unlink()
            (work.dataset / split).rmdir()
            continue
        splits.append(split)
        hashes = "".join(record["sha256"] for _, record in own)
        state = {
            "_data_files": [{"filename": shard.file_name} for shard, _ in own],
            "_fingerprint": hashlib.sha256(hashes.encode()).hexdigest()[:FINGERPRINT_LENGTH],
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": None,
        }
        write_json(work.dataset / split / "state.json", state)
        DatasetInfo(features=features).write_to_directory(str(work.dataset / split), pretty_print=True)
    write_json(work.dataset / "dataset_dict.json", {"splits": splits})
