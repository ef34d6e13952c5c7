"""SIGTERM and SIGINT: noted, agreed on by all processes, and not for ever in the way."""

import os
import signal
import time

import clean_processes
import pytest
from accelerate import Accelerator
from clean_processes import run_on_two_processes
from tiny_loop import DATA, Recorder, make_loop

from melspec_gpt.training import stop_signals
from melspec_gpt.training.checkpoints import list_checkpoints
from melspec_gpt.training.stop_signals import StopSignals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_first_signal_is_noted_and_the_handlers_come_back(number):
    earlier = signal.getsignal(number)
    with StopSignals() as signals:
        assert signals.agreed(Accelerator()) is None
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)  # a launcher that passes on what the process has got itself
        assert signals.agreed(Accelerator()) == number
    assert signal.getsignal(number) is earlier


def _get_two_signals():
    stop_signals.SECONDS_TO_SECOND = 0.0
    with StopSignals():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)


def test_second_signal_after_a_while_ends_the_process():
    assert clean_processes.run(_get_two_signals) == -signal.SIGTERM


SETTINGS = {"max_train_steps": 6, "global_batch_size": 6, "checkpointing_steps": 0, "dropout": 0.2}


def _train_where_one_of_two_processes_gets_a_signal(output_dir):
    def training_step(loop, batch):
        if loop.state.step == 2 and loop.accelerator.process_index == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return Recorder().training_step(loop, batch)

    loop = make_loop(output_dir, loop_options={"training_step": training_step}, **SETTINGS)
    with pytest.raises(SystemExit) as ending:
        loop.run()
    assert (ending.value.code, loop.state.step) == (143, 3)


def _train(output_dir, resume_from):
    make_loop(output_dir, resume_from_checkpoint=resume_from, **SETTINGS).run()


def test_two_processes_stop_together_and_continue_exactly(tmp_path):
    run_on_two_processes(_train_where_one_of_two_processes_gets_a_signal, tmp_path / "parts")
    assert list(list_checkpoints(str(tmp_path / "parts"))) == [3]
    run_on_two_processes(_train, tmp_path / "parts", "latest")
    run_on_two_processes(_train, tmp_path / "whole", None)
    files = [tmp_path / name / "model.safetensors" for name in ("whole", "parts")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_validation_that_a_signal_put_off_is_made_up_for(tmp_path):
    def training_step(loop, batch):
        if loop.state.step == 1 and loop.arguments.resume_from_checkpoint is None:
            os.kill(os.getpid(), signal.SIGTERM)
        return Recorder().training_step(loop, batch)

    def loop(**settings):
        options = {"training_step": training_step}
        return make_loop(tmp_path, validation=DATA[:3], loop_options=options, **settings)

    settings = {"max_train_steps": 4, "eval_steps": 2}
    with pytest.raises(SystemExit):
        loop(**settings).run()
    evaluated = []
    resumed = loop(resume_from_checkpoint="latest", **settings)
    evaluate = resumed.evaluate
    resumed.evaluate = lambda: evaluated.append(resumed.state.step) or evaluate()
    resumed.run()
    assert evaluated == [2, 4]
