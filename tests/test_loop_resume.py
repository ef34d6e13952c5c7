"""What does a run take over from a checkpoint, its own or another run's, and what do its own arguments decide?"""

import pytest
import torch
from safetensors.torch import load_file
from tiny_loop import DATA, make_loop

SETTINGS = {"validation": DATA, "checkpointing_steps": 2, "eval_steps": 2}


def train(output_dir, steps, **settings):
    loop = make_loop(output_dir, max_train_steps=steps, **(SETTINGS | settings))
    loop.run()
    return loop


def weights(folder):
    return load_file(folder / "model.safetensors")


def assert_same(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_best_model_of_another_run_comes_along(tmp_path):
    train(tmp_path / "stale", 2)
    (tmp_path / "here").mkdir()
    (tmp_path / "stale" / "best").rename(tmp_path / "here" / "best")
    other = train(tmp_path / "other", 6)
    # From here on it only gets worse.
    worse = {"learning_rate": 5.0, "lr_scheduler_type": "constant", "load_best_model_at_end": True}
    checkpoint = str(tmp_path / "other" / "checkpoints" / "checkpoint-6")
    loop = train(tmp_path / "here", 8, resume_from_checkpoint=checkpoint, **worse)
    assert loop.state.best_step == other.state.best_step == 6
    assert_same(weights(tmp_path / "here"), weights(tmp_path / "other" / "best"))


@pytest.mark.parametrize("steps", [6, 8])
def test_a_best_model_that_is_not_there_is_forgotten(tmp_path, caplog, steps):
    train(tmp_path / "other", 6)
    (tmp_path / "other" / "best").rename(tmp_path / "gone")
    checkpoint = str(tmp_path / "other" / "checkpoints" / "checkpoint-6")
    with caplog.at_level("INFO"):
        loop = train(tmp_path / "here", steps, resume_from_checkpoint=checkpoint, load_best_model_at_end=True)
    assert "the best model so far, of step 6, is not beside" in caplog.text
    assert loop.state.best_step == steps
    assert_same(weights(tmp_path / "here"), weights(tmp_path / "here" / "best"))


def test_the_arguments_decide_about_the_optimizer(tmp_path):
    train(tmp_path, 2, weight_decay=0.01)
    loop = train(tmp_path, 4, weight_decay=0.5, resume_from_checkpoint="latest")
    assert [group["weight_decay"] for group in loop.optimizers["model"].param_groups] == [0.5, 0.0]


def test_a_checkpoint_of_another_training_is_a_sentence(tmp_path):
    train(tmp_path, 2)
    with pytest.raises(ValueError, match="`resume_from_checkpoint` .* does not fit this run: .*`ema_decay`"):
        train(tmp_path, 4, ema_decay=0.9, resume_from_checkpoint="latest")
