"""Which rows does each process read in which order, when a split is streamed from many shards?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

SHUFFLE_ROWS = 65_536
MIN_WINDOW_ROWS = 1_024


@dataclass(frozen=True, kw_only=True)
class StreamOrder:
    """
    The batches of one process, computed from the sizes of the shards alone, so that a run can be resumed anywhere.

    An epoch is one sequence of all rows: the shards in random order, and within it windows of neighbouring rows that
    are shuffled completely. The sequence is cut into as many equally long lanes as all processes have rows in a batch,
    and batch `k` takes the row `k` of each lane. A process has neighbouring lanes: it reads one run of shards, of
    which it shares only those at both ends. Which rows make up a step depends on the seed, the epoch and the number of
    lanes, not on how many processes share them. A split of at most `shuffle_rows` rows is one window: all its rows are
    shuffled, and every process reads all shards.

    Every row is in one batch of one process, every process has the same number of batches, and all of them are full up
    to the last one. If less than one row for each process is left for the last one, those who have none take a row of
    their batch before it; if that has no second row (`batch_size` 1, or less rows than processes), they read a row
    twice.

    Args:
        shard_rows (`Sequence[int]`): rows of each shard.
        batch_size (`int`): rows in a batch of one process.
        num_processes (`int`): processes that share the rows.
        process_index (`int`): the one whose batches these are.
        seed (`int`): seed of the shuffling.
        shuffle_rows (`int`): rows that the windows of all lanes have together.
        min_window_rows (`int`): smallest window, whatever the number of lanes.
    """

    shard_rows: Sequence[int]
    batch_size: int
    num_processes: int = 1
    process_index: int = 0
    seed: int = 0
    shuffle_rows: int = SHUFFLE_ROWS
    min_window_rows: int = MIN_WINDOW_ROWS

    @cached_property
    def num_rows(self) -> int:
        """Rows of the split."""
        return int(sum(self.shard_rows))

    @property
    def num_lanes(self) -> int:
        """Rows of the batches of all processes together."""
        return self.batch_size * self.num_processes

    @property
    def num_batches(self) -> int:
        """Batches of an epoch, the same number for every process."""
        return -(-self.num_rows // self.num_lanes)

    @property
    def window_rows(self) -> int:
        """Rows that are shuffled among each other."""
        if self.num_rows <= self.shuffle_rows:
            return max(1, self.num_rows)
        return max(self.min_window_rows, self.shuffle_rows // self.num_lanes)

    def batches(self, epoch: int, start: int = 0, step: int = 1) -> Iterator[np.ndarray]:
        """
        Numbers of the rows in the batches `start`, `start + step`, ... of an epoch; a row's number is its place in the
        split as it is stored. Nothing is computed for the batches that are left out.
        """
        sequence = _Sequence(self, epoch)
        for batch in range(start, self.num_batches, step):
            yield sequence.rows(self._positions(batch))

    def _positions(self, batch: int) -> np.ndarray:
        """Where in the sequence the rows of a batch are."""
        lanes = self.process_index * self.batch_size + np.arange(self.batch_size)
        firsts, ends = lanes * self.num_rows // self.num_lanes, (lanes + 1) * self.num_rows // self.num_lanes
        last = self.num_batches - 1
        if (firsts + last >= ends).all():  # nothing is left for the last batch
            can_share = self.batch_size > 1 and last > 0
            if can_share and batch >= last - 1:
                positions = firsts + last - 1
                return positions[-1:] if batch == last else positions[:-1]
            if batch == last:
                return np.maximum(ends[-1:] - 1, 0)
        positions = firsts + batch
        return positions[positions < ends]


class _Sequence:
    """The rows of an epoch in their random order. Only the permutations of the windows in use are kept."""

    def __init__(self, order: StreamOrder, epoch: int):
        self.order = order
        self.epoch = epoch
        sizes = np.asarray(order.shard_rows, dtype=np.int64)
        shards = self._permutation(len(sizes))
        self.ends = np.cumsum(sizes[shards])
        # What a place in the sequence differs from the number of the row by, for each shard.
        self.shifts = (np.cumsum(sizes) - sizes)[shards] - (self.ends - sizes[shards])
        self.windows: dict[int, np.ndarray] = {}

    def rows(self, positions: np.ndarray) -> np.ndarray:
        """Numbers of the rows at `positions` of the sequence."""
        windows, places = np.divmod(positions, self.order.window_rows)
        self.windows = {window: self._window(window) for window in dict.fromkeys(windows.tolist())}
        shuffled = np.array([self.windows[window][place] for window, place in zip(windows, places, strict=True)])
        return shuffled + self.shifts[np.searchsorted(self.ends, shuffled, side="right")]

    def _window(self, window: int) -> np.ndarray:
        if window in self.windows:
            return self.windows[window]
        start = window * self.order.window_rows
        return start + self._permutation(min(self.order.window_rows, self.order.num_rows - start), 1 + window)

    def _permutation(self, size: int, *context: int) -> np.ndarray:
        return np.random.default_rng([self.order.seed, self.epoch, *context]).permutation(size)
