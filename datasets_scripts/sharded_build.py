"""How is a dataset built shard by shard, in parallel, so that a killed build goes on and no byte depends on that?"""

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from melspec_gpt.datasets_scripts.arrow_shards import Shard, finished_record, plan_shards, write_dataset_files
from melspec_gpt.datasets_scripts.output_folder import (
    REPORT_FILE,
    SETTINGS_KEY,
    WorkFolder,
    read_json,
    work_folder,
    write_report,
)
from melspec_gpt.datasets_scripts.shard_workers import Ranks, ShardJob, find_ranks, run_shards

logger = logging.getLogger(__name__)


def build_sharded(
    output_dir: str | Path,
    source_dir: str | Path,
    splits: Mapping[str, Sequence[Any]],
    settings: dict[str, Any],
    job: ShardJob,
    finish: Callable[[Path, list[tuple[Shard, dict[str, Any]]]], dict[str, Any]],
    num_proc: int | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """
    Builds a `DatasetDict` for `load_from_disk`, with build_report.json beside it.

    The work is done in the folder `output_dir` + ".partial". A shard is written under a temporary name and renamed;
    once that is done, no later call with the same settings repeats it. The dataset is a function of the splits, the
    settings and the job: the number of processes and of interruptions changes no byte. If `output_dir` already holds a
    build with the same settings, nothing is done.

    Args:
        output_dir (`str` or `Path`): the folder to make.
        source_dir (`str` or `Path`): the folder with the source data, which must not contain `output_dir`.
        splits (`Mapping`): split name -> what its rows are made from, in order.
        settings (`dict`): all that the rows depend on, by name and ready for JSON, a digest of the sources included.
            They are compared with those of an earlier build and noted in the report.
        job (`ShardJob`): how the rows are made.
        finish (`Callable`): called with the folder of the dataset, and each shard with its record, when all of them
            are written; adds its files and returns the report.
        num_proc (`int`): worker processes, which take the shards one by one; `None` for none. Under `accelerate
            launch` its processes share the shards instead.
        overwrite (`bool`): whether to replace an earlier build, and to throw away an unfinished one with other
            settings. An unfinished one with these settings is continued.

    Returns:
        The report.

    Raises:
        ValueError: if `output_dir` must not be written, see [`work_folder`], or by `finish`: then nothing is left.
        OSError: if the disk is full or a worker process died; the finished shards are kept.
    """
    if num_proc is not None and num_proc < 1:
        raise ValueError(f"`num_proc` is {num_proc}; it has to be at least 1.")
    settings = json.loads(json.dumps(settings))
    ranks = find_ranks()
    if ranks.count > 1 and (num_proc or 1) > 1:
        raise ValueError(f"`num_proc` is {num_proc}, but a launcher runs {ranks.count} processes; leave one of them.")
    shards = plan_shards(splits)
    if ranks.index > 0:
        return _help_first_rank(WorkFolder(output_dir), shards, job, ranks)
    started = time.monotonic()
    with ExitStack() as stack:
        try:
            work = stack.enter_context(work_folder(output_dir, overwrite, source_dir, settings))
        except (OSError, ValueError):
            ranks.share(None)
            raise
        report = work.finished_report
        pending = _pending(work, shards) if report is None else []
        ranks.share(pending)
        _write_share(work, shards, pending, job, ranks, num_proc)
        ranks.wait()
        if report is None:
            report = _finish(work, shards, job, settings, finish)
            logger.info("Wrote %s in %.1f s.", output_dir, time.monotonic() - started)
        else:
            logger.info("%s is already built with the same settings; nothing to do.", output_dir)
    ranks.wait()
    return report


def _help_first_rank(work: WorkFolder, shards: list[Shard], job: ShardJob, ranks: Ranks) -> dict[str, Any]:
    """What the other ranks do: their share of the shards."""
    pending = ranks.share(None)
    if pending is None:
        raise SystemExit(1)  # the first rank says why
    _write_share(work, shards, pending, job, ranks, num_proc=None)
    ranks.wait()
    ranks.wait()
    return read_json(work.output_dir / REPORT_FILE)


def _pending(work: WorkFolder, shards: list[Shard]) -> list[int]:
    """Positions of the shards that are still to be written."""
    pending = [position for position, shard in enumerate(shards) if finished_record(work, shard) is None]
    num_finished = len(shards) - len(pending)
    if num_finished:
        logger.info("Going on in %s: %d of %d shards are finished.", work.path, num_finished, len(shards))
    return pending


def _write_share(
    work: WorkFolder, shards: list[Shard], pending: list[int], job: ShardJob, ranks: Ranks, num_proc: int | None
) -> None:
    own = [shards[position] for position in pending[ranks.index :: ranks.count]]
    num_items = sum(len(shard.items) for shard in own)
    num_written = 0
    bar = tqdm(total=num_items, desc=job.description, unit="clip", disable=ranks.index > 0 or not own)
    try:
        with logging_redirect_tqdm(), bar:
            for shard in run_shards(work, job, own, num_proc, ranks.device):
                num_written += 1
                bar.update(len(shard.items))
    finally:
        kept = len(shards) - len(pending) + num_written
        if num_written < len(own) and kept > 0:
            logger.error("Stopped with %d of %d shards finished; the same command goes on there.", kept, len(shards))


def _finish(
    work: WorkFolder,
    shards: list[Shard],
    job: ShardJob,
    settings: dict[str, Any],
    finish: Callable[[Path, list[tuple[Shard, dict[str, Any]]]], dict[str, Any]],
) -> dict[str, Any]:
    records = [finished_record(work, shard) for shard in shards]
    try:
        report = finish(work.dataset, list(zip(shards, records, strict=True)))
    except ValueError:
        work.discard()
        raise
    report |= {SETTINGS_KEY: settings}
    write_dataset_files(work, job.features, shards, records)
    write_report(report, work.dataset)
    work.publish()
    return report
