"""Variants of a training: early stopping, batches, precision, compilation, checkpointing, pictures, progress."""

import re
import time

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
from tiny_loop import DATA, Recorder, assert_same_head, logged, make_loop, weights

from melspec_gpt.modeling.modeling_mel_gpt import MelGPTForCausalLM
from melspec_gpt.training import loop as loop_module
from melspec_gpt.training.arguments import RunArguments
from melspec_gpt.training.loop_progress import ProgressBar
from melspec_gpt.training.loop_setup import with_batch_size_per_device
from melspec_gpt.training.loop_state import LoopState

SETTINGS = {"dataset_path": "", "output_dir": "out", "model_config": "", "max_train_steps": 1}


def run(folder, **settings):
    loop = make_loop(folder, **({"max_train_steps": 4} | settings))
    loop.run()
    return loop


def losses_in(losses):
    def evaluation_step(loop, batch):
        return {"loss": torch.full((len(batch["input_ids"]),), losses[loop.state.step])}

    return {"evaluation_step": evaluation_step}


@pytest.mark.parametrize(("threshold", "stopped"), [(0.0, 5), (0.2, 3)])
def test_training_stops_after_validations_without_improvement(tmp_path, threshold, stopped):
    losses = dict(enumerate([None, 3.0, 2.9, 2.8, 2.9, 2.85, 2.0, 1.0]))
    loop = run(
        tmp_path,
        validation=DATA[:3],
        max_train_steps=7,
        eval_steps=1,
        early_stopping_patience=2,
        early_stopping_threshold=threshold,
        loop_options=losses_in(losses),
    )
    assert loop.state.step == stopped
    assert loop.state.best_step == 3


def test_stopped_training_stays_stopped_when_it_is_resumed(tmp_path):
    settings = {"validation": DATA[:3], "eval_steps": 1, "checkpointing_steps": 1, "early_stopping_patience": 1}
    options = losses_in({1: 1.0, 2: 2.0})
    assert run(tmp_path, loop_options=options, **settings).state.step == 2
    recorder = Recorder()
    again = run(tmp_path, recorder=recorder, resume_from_checkpoint="latest", **settings)
    assert (again.state.step, recorder.losses) == (2, [])


@pytest.mark.parametrize(
    ("settings", "validation", "words"),
    [
        ({"early_stopping_patience": 1}, None, "early_stopping_patience.*no validation split"),
        ({"early_stopping_patience": 1, "eval_steps": 0}, DATA[:3], "`eval_steps` is 0"),
        ({"global_batch_size": 5, "gradient_accumulation_steps": 2}, None, "is 5; it has to be a multiple of 2"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, settings, validation, words):
    with pytest.raises(ValueError, match=words):
        make_loop(tmp_path, max_train_steps=1, validation=validation, **settings)


def test_global_batch_is_shared_out_over_processes_and_accumulation():
    arguments = RunArguments(**SETTINGS, global_batch_size=48, gradient_accumulation_steps=2)
    assert with_batch_size_per_device(arguments, 4).per_device_train_batch_size == 6
    assert with_batch_size_per_device(RunArguments(**SETTINGS), 4).per_device_train_batch_size == 8


def test_every_step_has_its_number_of_clips_across_the_end_of_an_epoch(tmp_path):
    """Three batches of 6 in an epoch, two in a step: the second step ends in the second epoch."""
    settings = {"per_device_train_batch_size": 6, "max_train_steps": 3, "logging_steps": 1}
    accumulated = Recorder()
    loop = run(tmp_path, recorder=accumulated, gradient_accumulation_steps=2, **settings)
    assert loop.state.epochs == 2
    assert len(accumulated.losses) == 6


def test_accumulated_batches_equal_a_large_one_without_dropout(tmp_path):
    small = run(tmp_path / "a", per_device_train_batch_size=4, gradient_accumulation_steps=2, global_batch_size=8)
    large = run(tmp_path / "b", global_batch_size=8)
    assert small.arguments.per_device_train_batch_size == 4
    assert_same_head(small.unwrapped(), large.unwrapped())


@pytest.fixture
def set_precision(monkeypatch):
    """Sets the precision as `accelerate launch` does; it is a state of the process."""

    def set_to(name):
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", name)

    yield set_to
    set_to("no")


def test_bfloat16_is_close_to_float32_and_keeps_float32_weights(tmp_path, set_precision):
    exact, half = Recorder(), Recorder()
    run(tmp_path / "a", recorder=exact, max_train_steps=8)
    set_precision("bf16")
    loop = run(tmp_path / "b", recorder=half, max_train_steps=8)
    assert loop.accelerator.mixed_precision == "bf16"
    assert exact.losses != half.losses
    assert half.losses == pytest.approx(exact.losses, rel=0.01)
    assert MelGPTForCausalLM.from_pretrained(tmp_path / "b").dtype == torch.float32


def test_gradient_checkpointing_changes_nothing(tmp_path):
    plain = run(tmp_path / "a", dropout=0.2)
    checkpointed = run(tmp_path / "b", dropout=0.2, gradient_checkpointing=True)
    assert checkpointed.unwrapped().is_activation_checkpointing
    assert torch.equal(weights(checkpointed), weights(plain))


def test_compiled_model_learns_the_same_and_is_saved_under_its_own_names(tmp_path):
    plain = run(tmp_path / "a")
    settings = {"torch_compile": True, "torch_compile_backend": "eager", "checkpointing_steps": 2}
    compiled = run(tmp_path / "b", validation=DATA[:3], ema_decay=0.5, **settings)
    torch.testing.assert_close(weights(compiled), weights(plain), atol=1e-5, rtol=1e-4)
    assert isinstance(compiled.unwrapped(), MelGPTForCausalLM)
    MelGPTForCausalLM.from_pretrained(tmp_path / "b")
    checkpoint = str(tmp_path / "b" / "checkpoints" / "checkpoint-2")
    resumed = run(tmp_path / "c", resume_from_checkpoint=checkpoint, ema_decay=0.5)  # without compilation
    torch.testing.assert_close(weights(resumed), weights(plain), atol=1e-5, rtol=1e-4)


def test_checkpoint_that_does_not_fit_is_refused_with_a_sentence(tmp_path):
    run(tmp_path, max_train_steps=2, checkpointing_steps=2)
    with pytest.raises(ValueError, match="checkpoint-2' does not fit this run: Number of custom checkpoints"):
        run(tmp_path, ema_decay=0.5, resume_from_checkpoint="latest")


@pytest.mark.parametrize(("media_steps", "expected"), [(None, [2]), (0, []), (4, [4, 8]), (2, [2, 4, 6, 8])])
def test_pictures_come_at_their_steps_or_when_there_is_time(tmp_path, media_steps, expected):
    """Without steps: the first time, and in this short run never again."""
    shown = []
    run(
        tmp_path,
        validation=DATA[:3],
        max_train_steps=8,
        media_steps=media_steps,
        loop_options={"log_media": lambda loop: (shown.append(loop.state.step), torch.rand(10**6).sort())},
    )
    assert shown == expected


def test_pictures_take_their_share_of_the_time():
    state, entries = LoopState(), []
    for second in range(0, 10_000, 10):
        state.seconds = second
        if state.can_afford_media(0.05):
            entries.append(second)
            state.media_seconds += 2
            state.media_entries += 1
    assert entries[0] == 0
    assert 240 < len(entries) <= 250
    assert state.media_seconds / state.seconds <= 0.05


def test_progress_is_one_line_with_loss_speed_and_time_left(capsys):
    with ProgressBar(step=2, max_steps=10, max_seconds=90, clips_per_step=16, shown=True) as bar:
        bar.update(1.5, seconds=30)
        time.sleep(0.2)  # a bar draws itself, and knows its speed, ten times a second
        bar.update(1.25, seconds=30)
        bar.update(1.25, seconds=30)
        line = str(bar.bar)
    assert "5/10 steps" in line
    assert "loss=1.2500" in line
    assert re.search(r"clips/s=\d", line)
    assert "time left=01:00" in line
    capsys.readouterr()
    with ProgressBar(step=0, max_steps=None, max_seconds=None, clips_per_step=16, shown=False) as bar:
        bar.update(1.5, seconds=30)
    assert capsys.readouterr().err == ""


def test_progress_counts_the_clips_that_there_are(tmp_path, monkeypatch):
    bars = []
    monkeypatch.setattr(loop_module, "ProgressBar", lambda **facts: bars.append(ProgressBar(**facts)) or bars[-1])
    for dataset in (DATA, DATA[:3]):
        run(tmp_path, gradient_accumulation_steps=2, max_train_steps=1, loop_options={"train_dataset": dataset})
    assert [bar.clips_per_step for bar in bars] == [8, 6]


def test_resumed_run_hides_what_the_killed_one_logged_after_the_checkpoint(tmp_path):
    settings = {"max_train_steps": 6, "checkpointing_steps": 4, "logging_steps": 1, "report_to": "tensorboard"}
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, recorder=Recorder(fail_at=5), **settings)
    assert set(logged(tmp_path, "train/loss")) == {1, 2, 3, 4, 5}
    time.sleep(1.1)  # TensorBoard orders sessions by the second they began in
    run(tmp_path, resume_from_checkpoint="latest", learning_rate=0.0, **settings)
    assert set(logged(tmp_path, "train/loss")) == {1, 2, 3, 4, 5, 6}
    assert logged(tmp_path, "train/learning_rate")[5] == 0
