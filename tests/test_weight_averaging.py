"""Averaged weights: the formula, what they are used for, exact resuming, two processes."""

import pytest
import torch
from clean_processes import run_on_two_processes
from tiny_loop import DATA, Recorder, assert_same_head, make_loop, weights
from torch import nn

from melspec_gpt.modeling.modeling_mel_gpt import MelGPTForCausalLM
from melspec_gpt.training.weight_averaging import WeightAverage


@pytest.fixture
def module():
    return nn.BatchNorm1d(1, affine=True)


def test_average_follows_weights_and_buffers_and_starts_short(module):
    average = WeightAverage(module, decay=0.5)
    with torch.no_grad():
        module.weight.fill_(3.0)
        module.running_mean.fill_(8.0)
        module.num_batches_tracked.fill_(4)
    average.update(step=1)  # decay 2 / 11
    assert average.average["weight"].item() == pytest.approx(2 / 11 * 1 + 9 / 11 * 3)
    assert average.average["running_mean"].item() == pytest.approx(9 / 11 * 8)
    assert average.average["num_batches_tracked"].item() == 4
    before = average.average["weight"].item()
    average.update(step=1000)
    assert average.average["weight"].item() == pytest.approx((before + 3) / 2)


def test_module_has_the_average_for_a_while_and_then_its_own_weights(module):
    average = WeightAverage(module, decay=0.5)
    with torch.no_grad():
        module.weight.fill_(1 / 3)
    average.update(step=1000)
    own, averaged = module.weight.clone(), average.average["weight"].clone()
    with average.applied():
        assert torch.equal(module.weight, averaged)
    assert torch.equal(module.weight, own)
    assert torch.equal(average.average["weight"], averaged)


def test_averaged_weights_are_validated_and_saved_and_the_training_goes_on_with_its_own(tmp_path):
    validated = []

    class Spy(Recorder):
        @staticmethod
        def evaluation_step(loop, batch):
            validated.append(loop.unwrapped().lm_head.weight.clone())
            return Recorder.evaluation_step(loop, batch)

    settings = {"validation": DATA[:3], "max_train_steps": 6, "eval_steps": 3, "dropout": 0.2}
    averaged = make_loop(tmp_path / "averaged", Spy(), ema_decay=0.9, **settings)
    averaged.run()
    plain = make_loop(tmp_path / "plain", **settings)
    plain.run()
    assert torch.equal(weights(averaged), weights(plain))
    saved = MelGPTForCausalLM.from_pretrained(tmp_path / "averaged").lm_head.weight
    assert torch.equal(saved, averaged.average.average["lm_head.weight"])
    assert torch.equal(saved, validated[-1])
    assert not torch.equal(saved, plain.unwrapped().lm_head.weight)


def test_average_is_resumed_exactly(tmp_path):
    settings = {"max_train_steps": 6, "checkpointing_steps": 2, "ema_decay": 0.9}
    make_loop(tmp_path / "whole", **settings).run()
    with pytest.raises(KeyboardInterrupt):
        make_loop(tmp_path / "parts", Recorder(fail_at=3), **settings).run()
    make_loop(tmp_path / "parts", resume_from_checkpoint="latest", **settings).run()
    files = [tmp_path / name / "model.safetensors" for name in ("whole", "parts")]
    assert files[0].read_bytes() == files[1].read_bytes()


SETTINGS = {"validation": DATA[:5], "max_train_steps": 3, "global_batch_size": 6, "ema_decay": 0.9}


def _train_on_two_processes(output_dir):
    make_loop(output_dir, **SETTINGS).run()


def test_average_of_two_processes_equals_that_of_one(tmp_path):
    make_loop(tmp_path / "one", **SETTINGS).run()
    run_on_two_processes(_train_on_two_processes, tmp_path / "two")
    assert_same_head(*(MelGPTForCausalLM.from_pretrained(tmp_path / name) for name in ("one", "two")))
