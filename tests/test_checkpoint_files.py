"""Files of a run: whatever is interrupted or fails, what has a final name is complete."""

import json
import resource
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from tiny_loop import DATA, Recorder, make_loop, weights

from melspec_gpt.training import checkpoints
from melspec_gpt.training.checkpoints import (
    delete_folder,
    find_checkpoint,
    list_checkpoints,
    move_files,
    recover_checkpoints,
    recover_folder,
    replace_folder,
)


class Killed(BaseException):
    """Ends a function where it is, as `kill -9` would."""


def folder_with(path: Path, text: str) -> Path:
    path.mkdir(parents=True)
    (path / "file").write_text(text)
    return path


@pytest.mark.parametrize("number_of_calls", range(6))
def test_replaced_folder_is_the_old_or_the_new_one_wherever_it_is_killed(tmp_path, monkeypatch, number_of_calls):
    target = folder_with(tmp_path / "best", "old")
    source = folder_with(tmp_path / "incomplete-best", "new")
    calls = 0

    def counted(function):
        def call(*arguments, **keywords):
            nonlocal calls
            if calls == number_of_calls:
                raise Killed
            calls += 1
            return function(*arguments, **keywords)

        return call

    monkeypatch.setattr(checkpoints.shutil, "rmtree", counted(checkpoints.shutil.rmtree))
    monkeypatch.setattr(Path, "rename", counted(Path.rename))
    try:
        replace_folder(source, target)
    except Killed:
        pass
    monkeypatch.undo()
    recover_folder(target)
    assert (target / "file").read_text() == ("old" if number_of_calls < 3 else "new")
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_half_deleted_checkpoint_is_never_found(tmp_path, monkeypatch):
    checkpoint = folder_with(tmp_path / "checkpoints" / "checkpoint-5", "weights")
    monkeypatch.setattr(checkpoints.shutil, "rmtree", lambda path: None)  # killed before anything is gone
    delete_folder(checkpoint)
    monkeypatch.undo()
    assert list_checkpoints(str(tmp_path)) == {}
    recover_checkpoints(str(tmp_path))
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_next_checkpoint_takes_the_remains_of_killed_ones_away(tmp_path):
    folder_with(tmp_path / "checkpoints" / "incomplete-checkpoint-1", "half")
    make_loop(tmp_path, max_train_steps=2, checkpointing_steps=2, resume_from_checkpoint="latest").run()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["checkpoint-2"]


def test_outdated_checkpoint_without_successor_is_used(tmp_path):
    make_loop(tmp_path, max_train_steps=2, checkpointing_steps=2).run()
    (tmp_path / "checkpoints" / "checkpoint-2").rename(tmp_path / "checkpoints" / "outdated-checkpoint-2")
    recorder = Recorder()
    make_loop(tmp_path, recorder, max_train_steps=3, resume_from_checkpoint="latest").run()
    assert len(recorder.losses) == 1


def test_files_are_moved_over_older_ones(tmp_path):
    source = folder_with(tmp_path / "run" / "incomplete-final", "new")
    (tmp_path / "run" / "file").write_text("old")
    move_files(source, tmp_path / "run")
    assert (tmp_path / "run" / "file").read_text() == "new"
    assert not source.exists()


def test_full_disk_ends_the_run_with_a_sentence_and_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    """A limit on the size of files, while the second checkpoint is written, stands for the disk."""
    loop = make_loop(tmp_path, max_train_steps=4, checkpointing_steps=2)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    save_state = loop.accelerator.save_state

    def on_a_small_disk(folder):
        if "checkpoint-4" in folder:
            resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, resource.RLIM_INFINITY))
        save_state(folder)

    monkeypatch.setattr(loop.accelerator, "save_state", on_a_small_disk)
    try:
        with pytest.raises(OSError, match=r"checkpoint-4 could not be written .*checkpoint-2 is complete.*latest"):
            loop.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"checkpoint-2"}
    resumed = make_loop(tmp_path, max_train_steps=4, checkpointing_steps=2, resume_from_checkpoint="latest")
    resumed.run()
    whole = make_loop(tmp_path / "whole", max_train_steps=4)
    whole.run()
    assert torch.equal(weights(resumed), weights(whole))


@pytest.mark.parametrize("kind", [OSError, RuntimeError, SafetensorError])
def test_full_disk_at_the_first_checkpoint_has_a_remedy_too(tmp_path, monkeypatch, kind):
    """Python, PyTorch and safetensors each have an error of their own for it."""

    def flush(path):
        raise kind("No space left on device")

    monkeypatch.setattr(checkpoints, "flush", flush)
    with pytest.raises(OSError, match=r"checkpoint-1 could not be written \(.*No space left.*make room there"):
        make_loop(tmp_path, max_train_steps=2, checkpointing_steps=1).run()


@pytest.mark.parametrize("place", ["run", "run/checkpoints"])
def test_file_in_the_way_of_the_output_folder_is_found_at_the_start(tmp_path, place):
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("in the way")
    with pytest.raises(OSError, match="`output_dir` .*run' cannot be written"):
        make_loop(tmp_path / "run", max_train_steps=1).run()


def test_final_model_is_never_half_there(tmp_path, monkeypatch):
    def train(**settings):
        loop = make_loop(tmp_path, validation=DATA[:3], max_train_steps=2, checkpointing_steps=2, **settings)
        loop.run()
        return loop

    def killed(*arguments):
        raise Killed

    monkeypatch.setattr(checkpoints.os, "fsync", killed)
    with pytest.raises(Killed):
        train(eval_steps=0)
    monkeypatch.undo()
    assert not (tmp_path / "model.safetensors").exists()
    assert find_checkpoint("latest", str(tmp_path)) is None
    loop = train(resume_from_checkpoint="latest")
    loop.write_summary()
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"best", "checkpoints", "config.json", "generation_config.json", "model.safetensors"} | {
        "training_summary.json"
    }
    assert json.loads((tmp_path / "training_summary.json").read_text())["steps"] == 2
