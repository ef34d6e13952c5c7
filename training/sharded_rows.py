"""How are single rows read from a split that lies in many files, on this machine or on the Hub?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import datasets
import numpy as np
import pyarrow as pa
import torch
from huggingface_hub import hf_hub_download

PARQUET = ".parquet"


@dataclass(frozen=True)
class Shard:
    """
    One file of a split.

    Args:
        file (`str`): an Arrow file as `save_to_disk` writes it, or a Parquet file; its path, or its name in `repo_id`.
        num_rows (`int`): rows in it.
        repo_id (`str`, *optional*): dataset on the Hub that holds the file.
        revision (`str`, *optional*): commit of it.
    """

    file: str
    num_rows: int
    repo_id: str | None = None
    revision: str | None = None

    def fetch(self) -> str:
        """
        Path of an Arrow file on this machine with the rows. A file on the Hub is downloaded once, and a Parquet file
        is converted once, in the caches of `huggingface_hub` and `datasets`.
        """
        path = self.file
        if self.repo_id is not None:
            path = hf_hub_download(self.repo_id, self.file, repo_type="dataset", revision=self.revision)
        if not path.endswith(PARQUET):
            return path
        with no_progress_bars():
            return datasets.Dataset.from_parquet(path).cache_files[0]["filename"]

    def open(self) -> datasets.Dataset:
        """The rows, mapped into memory: they take none until they are read."""
        return datasets.Dataset.from_file(self.fetch())


class ShardedRows:
    """
    A split in many files, of which only those are opened whose rows are asked for. They stay open; being mapped into
    memory, they take none of it for long.

    Args:
        shards (`Sequence[Shard]`): the files in their order.
        columns (`Sequence[str]`): columns to read, of numbers and of lists of a fixed length.
        number_column (`str`, *optional*): name of one more column that numbers the rows.
    """

    def __init__(self, shards: Sequence[Shard], columns: Sequence[str], number_column: str | None = None):
        self.shards = tuple(shards)
        self.columns = tuple(columns)
        self.number_column = number_column
        self._starts = np.cumsum([0, *(shard.num_rows for shard in self.shards)])
        self._opened: dict[int, _OpenShard] = {}

    @classmethod
    def from_dataset(cls, dataset: datasets.Dataset, columns: Sequence[str]) -> ShardedRows:
        """The split that `load_from_disk` gives, read from its files."""
        files = [entry["filename"] for entry in dataset.cache_files]
        return cls([Shard(file, len(read_arrow_file(file))) for file in files], columns)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @cached_property
    def features(self) -> datasets.Features:
        """Types of all columns of the split; opens the first file."""
        return self.shards[0].open().features

    @property
    def column_names(self) -> list[str]:
        """Names of all columns of the split, whether they are read or not."""
        return list(self.features)

    def numbered(self, number_column: str) -> ShardedRows:
        """The same rows with a column of their numbers."""
        return ShardedRows(self.shards, self.columns, number_column)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        return {name: values[0] for name, values in self.read(np.array([row])).items()}

    def read(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """
        A batch.

        Args:
            rows (`np.ndarray` of shape `(batch_size,)`): numbers of the rows.

        Returns:
            `dict[str, torch.Tensor]`: a tensor for each column, int64 or float32, one row for each of `rows`.

        Raises:
            IndexError: if there is no such row.
        """
        if rows.min() < 0 or rows.max() >= len(self):
            raise IndexError(f"The rows {rows.min()} to {rows.max()} were asked for; there are {len(self)}.")
        indices = np.searchsorted(self._starts, rows, side="right") - 1
        places = [(self._open(shard), row - self._starts[shard]) for shard, row in zip(indices, rows, strict=True)]
        batch = {
            name: _as_tensor(np.stack([shard.value(name, row) for shard, row in places])) for name in self.columns
        }
        if self.number_column is not None:
            batch[self.number_column] = torch.from_numpy(rows.astype(np.int64))
        return batch

    def some_shards(self, max_rows: int) -> list[datasets.Dataset]:
        """Whole shards at even distances, as many as have about `max_rows` rows together (at least one)."""
        count = min(len(self.shards), max(1, len(self.shards) * max_rows // max(1, len(self))))
        return [self.shards[index * len(self.shards) // count].open() for index in range(count)]

    def _open(self, index: int) -> _OpenShard:
        if index not in self._opened:
            self._opened[index] = _OpenShard(self.shards[index], self.columns)
        return self._opened[index]

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_opened": {}}  # another process maps the files anew


class _OpenShard:
    """Views of the columns of one file: a list of arrays for each column, whose first dimension are the rows."""

    def __init__(self, shard: Shard, columns: Sequence[str]):
        # Not as a `Dataset`, which takes twenty times longer to open: there may be hundreds of files.
        table = read_arrow_file(shard.fetch())
        if len(table) != shard.num_rows:
            raise ValueError(f"{shard.file} has {len(table)} rows, but {shard.num_rows} are expected; fetch it again.")
        chunks = {name: table.column(name).chunks for name in columns}
        self.views = {name: [_view(chunk) for chunk in parts] for name, parts in chunks.items()}
        lengths = [len(chunk) for chunk in next(iter(chunks.values()))]
        self.starts = np.cumsum([0, *lengths])

    def value(self, column: str, row: int) -> np.ndarray:
        chunk = int(np.searchsorted(self.starts, row, side="right")) - 1
        return self.views[column][chunk][row - self.starts[chunk]]


def read_arrow_file(file: str) -> pa.Table:
    """The rows of an Arrow file, mapped into memory; only the headers are read."""
    with pa.memory_map(file) as source:
        return pa.ipc.open_stream(source).read_all()


def _view(array: pa.Array) -> np.ndarray:
    """A column of numbers or of (nested) lists of the same length as an array, without a copy."""
    shape = [len(array)]
    array = array.storage if isinstance(array, pa.ExtensionArray) else array
    while pa.types.is_list(array.type) or pa.types.is_fixed_size_list(array.type):
        values = array.flatten()
        shape.append(len(values) // max(1, len(array)))
        array = values
    return array.to_numpy(zero_copy_only=True).reshape(shape)


def _as_tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32 if np.issubdtype(values.dtype, np.floating) else np.int64))


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Without the progress bars of `datasets`."""
    were_disabled = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not were_disabled:
            datasets.enable_progress_bars()
