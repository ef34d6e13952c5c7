"""
Do two processes with half the batch each train as one process does?

Trains tiny models for some steps, once with `python -m` and once with `accelerate launch` on two processes of the CPU,
at the same global batch size, and compares what was logged at every step.

    python tests/process_runs.py --steps 30
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from training_runs import Training, logged_scalars, tiny_trainings

CONFIG = Path(__file__).resolve().parent.parent / "training" / "recipes" / "accelerate" / "cpu_two_processes.yaml"
# Dropout draws other numbers on every process; all other random choices belong to the clips.
SETTINGS = {
    "model_overrides": {},
    # As in the recipes: at higher rates two networks that chase each other blow up rounding errors.
    "learning_rate": 0.0005,
    "global_batch_size": 4,
    "gradient_accumulation_steps": 1,
    "logging_steps": 1,
    "checkpointing_steps": 0,
    "ema_decay": 0.0,
}


def run(training: Training, output_dir: Path, num_processes: int) -> dict[str, dict[int, float]]:
    """What a training logs on so many processes."""
    command = [sys.executable]
    if num_processes > 1:
        command += ["-m", "accelerate.commands.launch", "--config_file", str(CONFIG), "--main_process_port", "0"]
        command += ["--num_processes", str(num_processes)]
    command += ["-m", training.module, *training.argv(output_dir)]
    with output_dir.with_name(f"{output_dir.name}.log").open("wb") as log:
        environment = os.environ | {"ACCELERATE_USE_CPU": "true"}
        subprocess.run(command, env=environment, check=True, stdout=log, stderr=log)
    return logged_scalars(output_dir)


def largest_difference(one: dict[str, dict[int, float]], two: dict[str, dict[int, float]], tag: str) -> float:
    """Between the values of all steps, relative to values above 1."""
    assert one[tag].keys() == two[tag].keys()
    return max(abs(one[tag][step] - two[tag][step]) / max(1, abs(one[tag][step])) for step in one[tag])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work_dir", type=Path, help="folder of all runs; by default a temporary one")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learning_rate", type=float, default=SETTINGS["learning_rate"])
    parser.add_argument("--trainings", nargs="+", help="by default all of them")
    arguments = parser.parse_args()
    work_dir = arguments.work_dir or Path(tempfile.mkdtemp())
    settings = SETTINGS | {"max_train_steps": arguments.steps, "eval_steps": arguments.steps}
    settings |= {"seed": arguments.seed, "learning_rate": arguments.learning_rate}
    trainings = tiny_trainings(work_dir / "data", **settings)
    print("| training | steps | first and last loss | largest difference of the loss | of the validation loss |")
    print("|---|---|---|---|---|", flush=True)
    for name in arguments.trainings or trainings:
        one, two = (run(trainings[name], work_dir / f"{name}-{number}", number) for number in (1, 2))
        losses = list(one["train/loss"].values())
        differences = [f"{largest_difference(one, two, f'{split}/loss'):.1e}" for split in ("train", "validation")]
        print(
            f"| {name} | {len(losses)} | {losses[0]:.4f}, {losses[-1]:.4f} | {' | '.join(differences)} |", flush=True
        )


if __name__ == "__main__":
    main()
