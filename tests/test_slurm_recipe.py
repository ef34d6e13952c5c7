"""The Slurm example, with stand-ins for the commands of a cluster: what it starts, and what a signal makes it do."""

import os
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest

from melspec_gpt.training.arguments import RECIPES_FOLDER, parse_arguments
from melspec_gpt.training.train_gpt import GPTArguments

SCRIPT = RECIPES_FOLDER / "slurm_train_gpt.sh"
SRUN = '#!/bin/bash\nprintf "%s\\n" "${@:6}" > "$LOGS/srun-$(date +%s%N)"\nif [[ $LONG ]]; then exec sleep 60; fi\n'
SCONTROL = '#!/bin/bash\nif [[ $1 == show ]]; then echo first; echo second; else echo "$*" > "$LOGS/scontrol"; fi\n'


@pytest.fixture
def cluster(tmp_path) -> dict[str, str]:
    """Environment of a job on two machines with four GPUs each."""
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "logs").mkdir()
    slurm = {"NNODES": "2", "GPUS_ON_NODE": "4", "JOB_NODELIST": "x[1-2]", "JOB_ID": "7", "CPUS_PER_TASK": "64"}
    paths = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "LOGS": str(tmp_path / "logs"), "LONG": ""}
    return os.environ | {f"SLURM_{name}": value for name, value in slurm.items()} | paths


def launched(cluster) -> list[list[str]]:
    """The arguments of each launch, from the number of machines on."""
    return [path.read_text().splitlines() for path in sorted(Path(cluster["LOGS"]).glob("srun-*"))]


def run(cluster, *arguments) -> subprocess.CompletedProcess:
    return subprocess.run(["bash", SCRIPT, *arguments], env=cluster, capture_output=True, text=True)


def test_tokens_that_exist_are_trained_on(cluster):
    assert run(cluster, "-", "tokenizer", "user/tokens", "out").returncode == 0
    (training,) = launched(cluster)
    assert training[:6] == ["2", "8", "first", "20007", "bf16", "melspec_gpt.training.train_gpt"]
    arguments = parse_arguments(GPTArguments, training[6:])
    assert (arguments.dataset_path, arguments.output_dir, arguments.streaming) == ("user/tokens", "out", True)
    assert arguments.resume_from_checkpoint == "latest"


def test_mels_are_encoded_first_unless_they_are(cluster, tmp_path):
    tokens = tmp_path / "tokens"
    assert run(cluster, "mels", "tokenizer", str(tokens), "out").returncode == 0
    modules = [arguments[5] for arguments in launched(cluster)]
    assert modules == ["melspec_gpt.datasets_scripts.token_dataset", "melspec_gpt.training.train_gpt"]
    tokens.mkdir()
    run(cluster, "mels", "tokenizer", str(tokens), "out")
    assert [arguments[5] for arguments in launched(cluster)][2:] == ["melspec_gpt.training.train_gpt"]


def test_signal_puts_the_job_back_into_the_queue(cluster):
    job = subprocess.Popen(["bash", SCRIPT, "-", "tokenizer", "tokens", "out"], env=cluster | {"LONG": "yes"})
    deadline = time.monotonic() + 30
    while not launched(cluster) and time.monotonic() < deadline:
        time.sleep(0.05)
    job.send_signal(signal.SIGTERM)
    assert job.wait(30) == 0
    assert Path(cluster["LOGS"], "scontrol").read_text() == "requeue 7\n"


def test_wrong_number_of_arguments_is_a_sentence(cluster):
    result = run(cluster, "tokens")
    assert result.returncode == 2
    assert "usage" in result.stderr
    assert launched(cluster) == []
