"""What does a run take over from a checkpoint, its own or another run's, and what do its own arguments decide?"""

import shutil
from unittest import mock

import pytest
import torch
from clean_processes import run_on_two_processes
from safetensors.torch import load_file
from tiny_loop import DATA, make_loop, tiny_model

from melspec_gpt.training import run_folder
from melspec_gpt.training.optimization import build_adamw

SETTINGS = {"validation": DATA, "checkpointing_steps": 2, "eval_steps": 2}
# From here on it only gets worse.
WORSE = {"learning_rate": 5.0, "lr_scheduler_type": "constant", "load_best_model_at_end": True}


def train(output_dir, steps, **settings):
    loop = make_loop(output_dir, max_train_steps=steps, **(SETTINGS | settings))
    loop.run()
    return loop


def weights(folder):
    return load_file(folder / "model.safetensors")


def assert_same(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def checkpoint_of(output_dir, step):
    return str(output_dir / "checkpoints" / f"checkpoint-{step}")


def stale_and_other_run(tmp_path):
    """A folder with the best model of a short run, and a longer run in another folder."""
    train(tmp_path / "stale", 2)
    (tmp_path / "here").mkdir()
    (tmp_path / "stale" / "best").rename(tmp_path / "here" / "best")
    return train(tmp_path / "other", 6)


def resume_worse(output_dir, other_dir):
    return train(output_dir, 8, resume_from_checkpoint=checkpoint_of(other_dir, 6), **WORSE)


def test_the_best_model_of_another_run_comes_along(tmp_path):
    other = stale_and_other_run(tmp_path)
    loop = resume_worse(tmp_path / "here", tmp_path / "other")
    assert loop.state.best_step == other.state.best_step == 6
    assert_same(weights(tmp_path / "here"), weights(tmp_path / "other" / "best"))
    assert not (tmp_path / "here" / "best_step.txt").exists()


def test_two_processes_take_it_over_together(tmp_path):
    stale_and_other_run(tmp_path)
    run_on_two_processes(_resume_worse_as_one_of_two, tmp_path / "here", tmp_path / "other")
    assert_same(weights(tmp_path / "here"), weights(tmp_path / "other" / "best"))


def _resume_worse_as_one_of_two(output_dir, other_dir):
    # As many clips in a step as before.
    settings = {"per_device_train_batch_size": 2, **WORSE}
    with mock.patch.object(run_folder.shutil, "copytree", wraps=shutil.copytree) as copytree:
        loop = train(output_dir, 8, resume_from_checkpoint=checkpoint_of(other_dir, 6), **settings)
    assert (loop.accelerator.num_processes, loop.state.best_step) == (2, 6)
    assert copytree.called == loop.accelerator.is_main_process


def test_killed_while_it_is_copied_it_comes_along_later(tmp_path, monkeypatch):
    stale_and_other_run(tmp_path)
    stale = weights(tmp_path / "here" / "best")

    def copy_half(source, target, **options):
        shutil.copy(source / "config.json", target)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_folder.shutil, "copytree", copy_half)
        with pytest.raises(KeyboardInterrupt):
            resume_worse(tmp_path / "here", tmp_path / "other")
    assert_same(weights(tmp_path / "here" / "best"), stale)
    resume_worse(tmp_path / "here", tmp_path / "other")
    assert_same(weights(tmp_path / "here"), weights(tmp_path / "other" / "best"))
    assert not list((tmp_path / "here").glob("incomplete-*"))


def test_a_best_model_of_a_later_step_of_another_run_stays_there(tmp_path):
    assert train(tmp_path / "other", 6).state.best_step == 6
    loop = train(tmp_path / "here", 6, resume_from_checkpoint=checkpoint_of(tmp_path / "other", 4), **WORSE)
    # The weights of the checkpoint itself, which are validated anew.
    assert loop.state.best_step == 4
    assert_same(weights(tmp_path / "here"), load_file(tmp_path / "other/checkpoints/checkpoint-4/model.safetensors"))


@pytest.mark.parametrize(("name", "steps"), [("here", 6), ("here", 8), ("other", 8)])
def test_a_best_model_that_is_not_there_is_forgotten(tmp_path, caplog, name, steps):
    train(tmp_path / "other", 6)
    (tmp_path / "other" / "best").rename(tmp_path / "gone")
    checkpoint = checkpoint_of(tmp_path / "other", 6)
    with caplog.at_level("INFO"):
        loop = train(tmp_path / name, steps, resume_from_checkpoint=checkpoint, load_best_model_at_end=True)
    assert "the best model so far, of step 6, is not beside" in caplog.text
    assert loop.state.best_step == steps
    assert_same(weights(tmp_path / name), weights(tmp_path / name / "best"))


def with_a_second_module(weight_decay=0.01, betas=(0.9, 0.95)):
    modules = {"model": tiny_model(0.0), "judge": torch.nn.Linear(2, 2)}
    optimizers = {name: build_adamw(module, 0.01, weight_decay, betas) for name, module in modules.items()}
    return {"modules": modules, "optimizers": optimizers}


def test_the_arguments_decide_about_the_optimizers(tmp_path):
    train(tmp_path, 2, loop_options=with_a_second_module())
    changed = with_a_second_module(weight_decay=0.5, betas=(0.8, 0.9))
    loop = train(tmp_path, 4, resume_from_checkpoint="latest", loop_options=changed)
    for optimizer in loop.optimizers.values():
        groups = [(group["weight_decay"], group["betas"]) for group in optimizer.param_groups]
        assert groups == [(0.5, (0.8, 0.9)), (0.0, (0.8, 0.9))]


def with_other_parameters():
    model = tiny_model(0.0)
    return {"modules": {"model": model}, "optimizers": {"model": torch.optim.AdamW(model.parameters())}}


@pytest.mark.parametrize(
    ("settings", "loop_options"),
    [({"ema_decay": 0.9}, dict), ({}, with_a_second_module), ({}, with_other_parameters)],
    ids=["more to remember", "another module", "other parameters"],
)
def test_a_checkpoint_of_another_training_is_a_sentence(tmp_path, settings, loop_options):
    train(tmp_path, 2)
    with pytest.raises(ValueError, match="`resume_from_checkpoint` .* does not fit this run: .*`ema_decay`.*anew"):
        train(tmp_path, 4, resume_from_checkpoint="latest", loop_options=loop_options(), **settings)


def test_other_batches_are_a_sentence_of_their_own(tmp_path):
    train(tmp_path, 2)
    with pytest.raises(ValueError, match="^The checkpoint is of a run with 4 batches in an epoch, this one has 9"):
        train(tmp_path, 4, resume_from_checkpoint="latest", per_device_train_batch_size=2)
