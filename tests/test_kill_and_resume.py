"""Trainings that are killed, by `kill -9` or by a polite signal, and continued: nothing may be lost or different."""

import random
import signal

import pytest
from kill_runs import RESUME, finish, kill_at_random, kill_while_saving
from training_runs import outcome, signal_when, start, tiny_trainings

from melspec_gpt.training.checkpoints import list_checkpoints


@pytest.fixture(scope="module")
def trainings(tmp_path_factory):
    return tiny_trainings(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def references(trainings, tmp_path_factory):
    """What undisturbed runs come to, and the seconds they take."""
    folder = tmp_path_factory.mktemp("references")
    results = {}
    for name, training in trainings.items():
        seconds = finish(training, folder / name)
        results[name] = outcome(folder / name), seconds
    return results


@pytest.mark.parametrize("name", ["train_gpt", "train_gpt_vae", "train_audio_tokenizer", "train_vocoder"])
def test_run_killed_at_random_moments_equals_an_undisturbed_one(trainings, references, name, tmp_path):
    reference, seconds = references[name]
    draw = random.Random(name)
    kill_at_random(trainings[name], tmp_path / "run", 0.5 * seconds, draw)
    finish(trainings[name], tmp_path / "run", **RESUME)
    assert outcome(tmp_path / "run") == reference
    assert len(reference["logged"]["train/loss"]) > 5


def test_run_killed_while_it_saves_equals_an_undisturbed_one(trainings, references, tmp_path):
    training, draw = trainings["train_gpt"], random.Random(0)
    for _ in range(3):
        kill_while_saving(training, tmp_path / "run", draw)
    finish(training, tmp_path / "run", **RESUME)
    assert outcome(tmp_path / "run") == references["train_gpt"][0]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_saves_and_ends_and_the_run_can_be_continued(trainings, references, number, code, tmp_path):
    training, output_dir, log = trainings["train_gpt"], tmp_path / "run", tmp_path / "run.log"
    process = start(training, training.argv(output_dir, checkpointing_steps=0), log)
    started = signal_when(process, lambda: list(output_dir.glob("logs/events*")) != [], number, delay=0.1)
    assert started == code
    (checkpoint,) = list_checkpoints(str(output_dir)).values()
    assert f"{checkpoint} has everything. Continue with" in log.read_text()
    finish(training, output_dir, **RESUME)
    assert outcome(output_dir) == references["train_gpt"][0]
