"""The number of processes makes no difference to what a training learns."""

import importlib

import pytest
from clean_processes import run_on_two_processes
from process_runs import SETTINGS, largest_difference
from training_runs import logged_scalars, tiny_trainings


@pytest.fixture(scope="module")
def trainings(tmp_path_factory):
    return tiny_trainings(tmp_path_factory.mktemp("data"), **SETTINGS | {"max_train_steps": 8, "eval_steps": 4})


@pytest.mark.parametrize("name", ["train_gpt", "train_gpt_vae", "train_audio_tokenizer", "train_vocoder"])
def test_two_processes_have_the_loss_curve_of_one(trainings, name, tmp_path):
    program = importlib.import_module(trainings[name].module)
    program.main(trainings[name].argv(tmp_path / "one"))
    run_on_two_processes(program.main, trainings[name].argv(tmp_path / "two"))
    one, two = (logged_scalars(tmp_path / folder) for folder in ("one", "two"))
    assert len(one["train/loss"]) == 8
    assert one.keys() == two.keys()
    differences = {tag: largest_difference(one, two, tag) for tag in one}
    assert max(differences.values()) < 1e-4, differences
