"""Which rows each process reads when shards are streamed: each one once, in an order that the seed decides."""

import numpy as np
import pytest

from melspec_gpt.training.stream_order import StreamOrder

UNEVEN = [5, 1, 9, 0, 7, 3]
SMALL_WINDOWS = {"shuffle_rows": 8, "min_window_rows": 2}
MANY = [40] * 32


def batches(shard_rows, num_processes, batch_size, epoch=0, **options) -> list[list[np.ndarray]]:
    """The batches of each process."""
    return [
        list(
            StreamOrder(
                shard_rows=shard_rows,
                batch_size=batch_size,
                num_processes=num_processes,
                process_index=process,
                **options,
            ).batches(epoch)
        )
        for process in range(num_processes)
    ]


def rows_of(processes: list[list[np.ndarray]]) -> list[int]:
    return [row for process in processes for batch in process for row in batch.tolist()]


@pytest.mark.parametrize("options", [{}, SMALL_WINDOWS], ids=["one window", "small windows"])
@pytest.mark.parametrize("batch_size", [2, 3, 4, 7, 30])
@pytest.mark.parametrize("num_processes", [1, 2, 3])
def test_every_row_is_read_once_in_equally_many_batches(num_processes, batch_size, options):
    for shard_rows in (UNEVEN, [*UNEVEN, 1], [*UNEVEN, 2]):  # 25, 26 and 27 rows
        processes = batches(shard_rows, num_processes, batch_size, **options)
        assert sorted(rows_of(processes)) == list(range(sum(shard_rows)))
        assert {len(process) for process in processes} == {-(-sum(shard_rows) // (num_processes * batch_size))}
        assert all(1 <= len(batch) <= batch_size for process in processes for batch in process)


def test_all_batches_are_full_up_to_the_last_one():
    processes = batches([27], num_processes=2, batch_size=4)
    assert [[len(batch) for batch in process] for process in processes] == [[4, 4, 4, 1], [4, 4, 4, 2]]


def test_process_without_rest_shares_its_batch_before():
    processes = batches([25], num_processes=2, batch_size=4)  # 12 and 13 rows in 4 batches
    assert [[len(batch) for batch in process] for process in processes] == [[4, 4, 3, 1], [4, 4, 4, 1]]


@pytest.mark.parametrize(("num_rows", "num_processes", "batch_size"), [(5, 2, 1), (2, 3, 4), (1, 4, 2)])
def test_too_few_rows_are_read_twice_rather_than_not(num_rows, num_processes, batch_size):
    processes = batches([num_rows], num_processes, batch_size)
    assert len({len(process) for process in processes}) == 1
    assert set(rows_of(processes)) == set(range(num_rows))
    assert len(rows_of(processes)) - num_rows < num_processes


def test_order_depends_on_seed_and_epoch_only():
    first = rows_of(batches(MANY, 2, 4, epoch=3, seed=1, shuffle_rows=100))
    assert first == rows_of(batches(MANY, 2, 4, epoch=3, seed=1, shuffle_rows=100))
    assert first != rows_of(batches(MANY, 2, 4, epoch=4, seed=1, shuffle_rows=100))
    assert first != rows_of(batches(MANY, 2, 4, epoch=3, seed=2, shuffle_rows=100))


@pytest.mark.parametrize("options", [{}, SMALL_WINDOWS], ids=["one window", "small windows"])
def test_steps_are_the_same_however_many_processes_share_them(options):
    one = batches(MANY, 1, 8, **options)[0]
    for num_processes in (2, 4):
        shared = batches(MANY, num_processes, 8 // num_processes, **options)
        assert [np.concatenate(parts).tolist() for parts in zip(*shared, strict=True)] == [
            part.tolist() for part in one
        ]


def test_small_split_is_shuffled_completely():
    rows = np.array(rows_of(batches([1000], 1, 8)))
    assert abs(np.corrcoef(rows, np.arange(1000))[0, 1]) < 0.1
    assert abs(np.corrcoef(rows[1:], rows[:-1])[0, 1]) < 0.1


def test_process_reads_its_share_of_the_shards():
    processes = batches(MANY, num_processes=4, batch_size=2, shuffle_rows=40, min_window_rows=20)
    shards = [{int(row) // 40 for batch in process for row in batch} for process in processes]
    # 32 shards for four processes; a window that reaches over an end may add one more on each side.
    assert all(8 <= len(own) <= 10 for own in shards)
    assert set().union(*shards) == set(range(32))


def test_batches_from_any_place_on_are_those_of_the_whole_epoch():
    order = StreamOrder(shard_rows=MANY, batch_size=8, shuffle_rows=100)
    whole = [rows.tolist() for rows in order.batches(2)]
    assert [rows.tolist() for rows in order.batches(2, start=100)] == whole[100:]
    assert [rows.tolist() for rows in order.batches(2, start=5, step=3)] == whole[5::3]
    assert list(order.batches(2, start=len(whole))) == []


def test_no_more_than_the_windows_in_use_is_kept(monkeypatch):
    sizes = []

    class Generator:
        def __init__(self, seeds):
            self.generator = np.random.Generator(np.random.PCG64(seeds))

        def permutation(self, size):
            sizes.append(size)
            return self.generator.permutation(size)

    monkeypatch.setattr(np.random, "default_rng", Generator)
    order = StreamOrder(shard_rows=[10**9] * 1000, batch_size=4)  # a million million rows
    assert len(list(zip(range(20), order.batches(0), strict=False))) == 20
    assert sizes == [1000, *[order.window_rows] * 4]
