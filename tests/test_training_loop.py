"""The training loop: exact resuming, checkpoints, the best model, accumulation, time limits, two processes."""

import itertools
import json
import logging

import pytest
import torch
from accelerate.utils import set_seed
from clean_processes import run_on_two_processes
from tiny_loop import DATA, SENTENCES, Recorder, assert_same_head, logged, make_loop, tiny_model, weights

from melspec_gpt.modeling.modeling_mel_gpt import MelGPTForCausalLM
from melspec_gpt.training import loop as loop_module
from melspec_gpt.training.checkpoints import list_checkpoints
from melspec_gpt.training.optimization import build_adamw


def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(tmp_path):
    """With dropout, accumulation over an uneven epoch, and log entries that an interruption cuts in two."""
    settings = {
        "dropout": 0.2,
        "validation": DATA[:5],
        "gradient_accumulation_steps": 2,
        "max_train_steps": 8,
        "warmup_steps": 2,
        "checkpointing_steps": 4,
        "report_to": "tensorboard",
    }
    whole = Recorder()
    uninterrupted = make_loop(tmp_path / "whole", whole, **settings)
    uninterrupted.run()

    first = Recorder(fail_at=5)
    broken = make_loop(tmp_path / "parts", first, **settings)
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    second = Recorder()
    resumed = make_loop(tmp_path / "parts", second, resume_from_checkpoint="latest", **settings)
    resumed.run()

    assert second.losses == whole.losses[-len(second.losses) :]
    assert 0 < len(second.losses) < len(whole.losses)
    assert torch.equal(weights(resumed), weights(uninterrupted))
    assert resumed.state.validation == uninterrupted.state.validation
    for tag in ("train/loss", "train/learning_rate", "train/gradient_norm", "validation/loss"):
        parts = logged(tmp_path / "parts", tag)
        assert parts == logged(tmp_path / "whole", tag)
        assert len(parts) >= 2


def test_registered_objects_are_restored(tmp_path):
    recorder = Recorder(fail_at=3)
    loop = make_loop(tmp_path, recorder, max_train_steps=6, checkpointing_steps=2)
    loop.register_for_checkpointing(recorder)
    with pytest.raises(KeyboardInterrupt):
        loop.run()
    resumed = Recorder()
    loop = make_loop(tmp_path, resumed, max_train_steps=6, checkpointing_steps=2, resume_from_checkpoint="latest")
    loop.register_for_checkpointing(resumed)
    loop.run()
    assert resumed.count == 6
    assert len(resumed.losses) == 4


def test_latest_without_a_checkpoint_starts_from_the_beginning(tmp_path, caplog):
    # What a crash in the middle of writing leaves behind.
    (tmp_path / "checkpoints" / "incomplete-checkpoint-9").mkdir(parents=True)
    with caplog.at_level(logging.INFO):
        state = make_loop(tmp_path, max_train_steps=1, resume_from_checkpoint="latest").run()
    assert state.step == 1
    assert "starting from the beginning" in caplog.text


def test_rotation_keeps_the_newest_checkpoints(tmp_path):
    make_loop(tmp_path, max_train_steps=5, checkpointing_steps=1, checkpoints_total_limit=2).run()
    assert list(list_checkpoints(str(tmp_path))) == [4, 5]
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"checkpoint-4", "checkpoint-5"}


def test_resuming_from_a_named_checkpoint(tmp_path):
    make_loop(tmp_path / "one", max_train_steps=2, checkpointing_steps=2).run()
    recorder = Recorder()
    checkpoint = str(tmp_path / "one" / "checkpoints" / "checkpoint-2")
    state = make_loop(tmp_path / "two", recorder, max_train_steps=5, resume_from_checkpoint=checkpoint).run()
    assert (state.step, len(recorder.losses)) == (5, 3)


@pytest.mark.parametrize(
    ("resume_from", "words"), [(None, "checkpoint-2 of another run"), ("nowhere", "'nowhere'.*checkpoint-N")]
)
def test_wrong_starts_are_refused(tmp_path, resume_from, words):
    make_loop(tmp_path, max_train_steps=2, checkpointing_steps=2).run()
    with pytest.raises(ValueError, match=words):
        make_loop(tmp_path, max_train_steps=2, resume_from_checkpoint=resume_from).run()


def test_nan_loss_stops_before_the_weights_are_spoiled(tmp_path):
    def training_step(loop, batch):
        loss = loop.modules["model"](input_ids=batch["input_ids"], labels=batch["input_ids"]).loss
        loop.optimize(loss * (float("nan") if loop.state.step == 2 else 1))
        return {"loss": loss}

    loop = make_loop(tmp_path, max_train_steps=4, loop_options={"training_step": training_step})
    with pytest.raises(FloatingPointError, match="training loss is nan at step 2.*learning_rate"):
        loop.run()
    assert torch.isfinite(weights(loop)).all()


@pytest.mark.parametrize(("load_best", "expected"), [(True, 4), (False, 6)])
def test_best_weights_are_kept_and_become_the_final_model_on_request(tmp_path, load_best, expected):
    snapshots = {}

    def evaluation_step(loop, batch):
        snapshots[loop.state.step] = loop.unwrapped().lm_head.weight.clone()
        return {"loss": torch.full((len(batch["input_ids"]),), {2: 3.0, 4: 1.0, 6: 2.0}[loop.state.step])}

    loop = make_loop(
        tmp_path,
        validation=DATA[:5],
        max_train_steps=6,
        load_best_model_at_end=load_best,
        loop_options={"evaluation_step": evaluation_step},
    )
    state = loop.run()
    assert (state.best_step, state.best_validation) == (4, {"loss": 1.0})
    assert torch.equal(MelGPTForCausalLM.from_pretrained(tmp_path / "best").lm_head.weight, snapshots[4])
    assert torch.equal(MelGPTForCausalLM.from_pretrained(tmp_path).lm_head.weight, snapshots[expected])
    assert loop.final_validation == {"loss": 1.0 if load_best else 2.0}


def test_best_model_needs_a_validation_split(tmp_path):
    with pytest.raises(ValueError, match="load_best_model_at_end.*no validation split"):
        make_loop(tmp_path, max_train_steps=1, load_best_model_at_end=True)


def test_validation_leaves_the_training_as_it_is(tmp_path):
    def noisy_media(loop):
        torch.rand(3)

    with_media = make_loop(
        tmp_path / "a",
        dropout=0.2,
        validation=DATA[:5],
        eval_steps=1,
        max_train_steps=3,
        loop_options={"log_media": noisy_media},
    )
    without = make_loop(tmp_path / "b", dropout=0.2, max_train_steps=3)
    with_media.run()
    without.run()
    assert torch.equal(weights(with_media), weights(without))


def test_validation_summary_sees_every_clip_once(tmp_path):
    seen = []

    def evaluation_step(loop, batch):
        return {"loss": batch["input_ids"][:, 0].float(), "codes": batch["input_ids"]}

    def summarize(values):
        seen.append(values["codes"])
        return {"loss": values["loss"].mean().item(), "codes_used": values["codes"].unique().numel()}

    loop = make_loop(
        tmp_path,
        validation=DATA[:11],
        max_train_steps=1,
        loop_options={"evaluation_step": evaluation_step, "summarize_evaluation": summarize},
    )
    loop.run()
    assert torch.equal(seen[0], SENTENCES[:11])
    assert loop.final_validation["codes_used"] == SENTENCES[:11].unique().numel()


def test_two_accumulated_batches_equal_one_of_twice_the_size(tmp_path):
    # One after the other: Accelerate keeps the accumulation steps in a state that all loops of a process share.
    small = make_loop(tmp_path / "a", max_train_steps=3, per_device_train_batch_size=3, gradient_accumulation_steps=2)
    small.run()
    large = make_loop(tmp_path / "b", max_train_steps=3, per_device_train_batch_size=6)
    large.run()
    assert_same_head(small.unwrapped(), large.unwrapped())


def test_epochs_count_steps_and_each_has_its_own_order(tmp_path):
    orders = []

    def training_step(loop, batch):
        orders.append(batch["input_ids"])
        return recorder.training_step(loop, batch)

    recorder = Recorder()
    state = make_loop(tmp_path, num_train_epochs=2, loop_options={"training_step": training_step}).run()
    # 18 sentences are six batches of 3 and four of 4, where two are left out.
    assert (state.step, state.epoch) == (8, 2)
    first, second = torch.cat(orders[:4]), torch.cat(orders[4:])
    assert {len(batch) for batch in orders} == {4}
    assert not torch.equal(first, second)
    left_out = [
        {tuple(row) for row in SENTENCES.tolist()} - {tuple(row) for row in rows.tolist()} for rows in (first, second)
    ]
    assert [len(rows) for rows in left_out] == [2, 2]
    assert left_out[0] != left_out[1]


def test_time_limit_ends_the_run_and_the_learning_rate_with_it(tmp_path, monkeypatch):
    clock = itertools.count(0, 6)
    monkeypatch.setattr(loop_module.time, "monotonic", lambda: float(next(clock)))
    loop = make_loop(tmp_path, max_train_minutes=1, logging_steps=1)
    state = loop.run()
    assert (state.step, state.seconds) == (10, 60)
    assert loop.learning_rates.current() == {"model": pytest.approx(0, abs=1e-9)}


def test_two_optimizers_step_their_own_modules_and_resume(tmp_path):
    def training_step(loop, batch):
        outputs = loop.modules["model"](input_ids=batch["input_ids"], labels=batch["input_ids"])
        loop.optimize(outputs.loss)
        judge_loss = (loop.modules["judge"](outputs.logits[..., :8].detach().mean(1)) - 1).square().mean()
        loop.optimize(judge_loss, "judge")
        if loop.state.step == fail_at:
            raise KeyboardInterrupt
        return {"loss": outputs.loss, "judge_loss": judge_loss}

    def run(name, **settings):
        set_seed(0)
        model, judge = tiny_model(0.0), torch.nn.Linear(8, 1)
        options = {
            "modules": {"model": model, "judge": judge},
            "optimizers": {"model": build_adamw(model, 0.01, 0.0), "judge": build_adamw(judge, 0.02, 0.0)},
            "training_step": training_step,
        }
        loop = make_loop(
            tmp_path / name, model=model, max_train_steps=4, checkpointing_steps=2, loop_options=options, **settings
        )
        start = judge.weight.detach().clone()
        loop.run()
        return loop, start

    fail_at = None
    whole, start = run("whole")
    assert not torch.equal(whole.unwrapped("judge").weight, start)
    fail_at = 3
    with pytest.raises(KeyboardInterrupt):
        run("parts")
    fail_at = None
    parts, _ = run("parts", resume_from_checkpoint="latest")
    assert torch.equal(parts.unwrapped("judge").weight, whole.unwrapped("judge").weight)
    assert torch.equal(weights(parts), weights(whole))


def test_unknown_tracker_is_refused(tmp_path):
    with pytest.raises(ValueError, match="pigeon"):
        make_loop(tmp_path, max_train_steps=1, report_to="pigeon")


def test_empty_training_split_is_refused(tmp_path):
    with pytest.raises(ValueError, match="train split is empty"):
        make_loop(tmp_path, max_train_steps=1, loop_options={"train_dataset": []})


def _train_on_two_processes(output_dir):
    # 11 validation clips on two processes: one of them is a duplicate to be dropped.
    loop = make_loop(output_dir, validation=DATA[:11], max_train_steps=3, per_device_train_batch_size=3)
    assert loop.accelerator.num_processes == 2
    loop.run()
    loop.write_summary()


def test_two_processes_equal_one_with_twice_the_batch(tmp_path):
    loop = make_loop(tmp_path / "one", validation=DATA[:11], max_train_steps=3, per_device_train_batch_size=6)
    state = loop.run()
    run_on_two_processes(_train_on_two_processes, tmp_path / "two")
    assert_same_head(MelGPTForCausalLM.from_pretrained(tmp_path / "two"), loop.unwrapped())
    summary = json.loads((tmp_path / "two" / "training_summary.json").read_text())
    assert summary["num_processes"] == 2
    assert summary["validation"]["loss"] == pytest.approx(state.validation["loss"], abs=1e-5)
