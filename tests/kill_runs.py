"""
Does a training that is killed again and again end as if nothing had happened?

Trains tiny models: once undisturbed, then with `kill -9` at random moments and a new start with
`--resume_from_checkpoint latest` after each. The weights have to be equal byte for byte, and all logged numbers too.

    python tests/kill_runs.py --work_dir /tmp/kills --kills 10 --kills_while_saving 20
"""

import argparse
import os
import random
import shutil
import tempfile
import time
from pathlib import Path

from clean_processes import wait
from training_runs import Training, outcome, signal_when, start, tiny_trainings

RESUME = {"resume_from_checkpoint": "latest"}


def finish(training: Training, output_dir: Path, **changes) -> float:
    """
    Runs a training to its end; returns the seconds it took.

    Raises:
        RuntimeError: if it fails.
    """
    log = output_dir.with_name(f"{output_dir.name}.log")
    begin = time.monotonic()
    code = wait(start(training, training.argv(output_dir, **changes), log))
    if code != 0:
        raise RuntimeError(f"{training.name} ended with {code}: {log.read_text()[-3000:]}")
    return time.monotonic() - begin


def kill_at_random(training: Training, output_dir: Path, seconds: float, draw: random.Random) -> str:
    """Starts or continues a training and kills it up to `seconds` after it began to write; says where that was."""
    folder = output_dir / "checkpoints"
    known = set(folder.glob("*"))
    process = start(training, training.argv(output_dir, **RESUME), output_dir.with_name(f"{output_dir.name}.log"))
    signal_when(process, lambda: set(folder.glob("*")) != known, delay=draw.uniform(0, seconds))
    return ", ".join(sorted(path.name for path in folder.glob("*")))


def kill_while_saving(training: Training, output_dir: Path, draw: random.Random) -> str:
    """Starts or continues a training and kills it while it writes something; says what was left."""
    folders = (output_dir, output_dir / "checkpoints")
    targets = draw.choice([("incomplete-checkpoint-*",), ("incomplete-*", "outdated-*")])

    def unfinished() -> list[str]:
        return sorted(path.name for folder in folders for target in targets for path in folder.glob(target))

    stale = unfinished()
    process = start(training, training.argv(output_dir, **RESUME), output_dir.with_name(f"{output_dir.name}.log"))
    signal_when(process, lambda: bool(set(unfinished()) - set(stale)), delay=draw.uniform(0, 0.03))
    return ", ".join(sorted(path.name for path in output_dir.glob("*/*checkpoint-*")) + unfinished())


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work_dir", type=Path, help="folder of all runs; by default a temporary one")
    parser.add_argument("--kills", type=int, default=10, help="runs that are killed once at a random moment")
    parser.add_argument("--kills_while_saving", type=int, default=20, help="kills of one more run, all while it saves")
    parser.add_argument("--trainings", nargs="+", help="by default all of them in turn")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models are no faster on more
    draw = random.Random(arguments.seed)
    work_dir = arguments.work_dir or Path(tempfile.mkdtemp())
    trainings = tiny_trainings(work_dir / "data")
    names = arguments.trainings or list(trainings)
    references, seconds = {}, {}
    for name in names:
        seconds[name] = finish(trainings[name], work_dir / name)
        references[name] = outcome(work_dir / name)
    print("| training | killed | left behind | equal to the undisturbed run |\n|---|---|---|---|", flush=True)
    for number in range(arguments.kills):
        training = trainings[names[number % len(names)]]
        output_dir = work_dir / f"killed-{number}"
        left = kill_at_random(training, output_dir, 0.4 * seconds[training.name], draw)
        finish(training, output_dir, **RESUME)
        same = outcome(output_dir) == references[training.name]
        print(f"| {training.name} | at random | {left} | {'yes' if same else '**no**'} |", flush=True)
        shutil.rmtree(output_dir)
    if not arguments.kills_while_saving:
        return
    for name in names:
        # One checkpoint for each step, so that there is always something to interrupt.
        training = tiny_trainings(work_dir / "data_saving", checkpointing_steps=1, checkpoints_total_limit=2)[name]
        output_dir = work_dir / f"{name}-saving"
        for number in range(-(-arguments.kills_while_saving // len(names))):
            left = kill_while_saving(training, output_dir, draw)
            print(f"| {name} | while saving, {number + 1} | {left} | |", flush=True)
        finish(training, output_dir, **RESUME)
        same = outcome(output_dir) == references[name]
        print(f"| {name} | while saving | | {'yes' if same else '**no**'} |", flush=True)


if __name__ == "__main__":
    main()
