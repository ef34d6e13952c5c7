"""The demo: the whole chain on a folder of clips, continuing it, and sentences instead of tracebacks."""

import json
import shutil
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile

from melspec_gpt.training import train_audio_tokenizer, train_gpt
from melspec_gpt.training.run_demo import MAXIMUM_VIEWS, main, views_per_clip

RATE = 22050
CLASSES = ["Dog bark", "samples & mels"]


@pytest.fixture(scope="module")
def recipes(tmp_path_factory) -> list[str]:
    """Options for trainings of a few steps of tiny models."""
    folder = tmp_path_factory.mktemp("recipes")
    recipe = {"model_config": "tiny", "max_train_steps": 3, "per_device_train_batch_size": 2, "report_to": "none"}
    recipe |= {"load_best_model_at_end": True, "early_stopping_patience": 2, "eval_steps": 1}
    (folder / "tokenizer.json").write_text(json.dumps(recipe))
    (folder / "gpt.json").write_text(json.dumps(recipe))
    paths = [str(folder / "tokenizer.json"), str(folder / "gpt.json")]
    return ["--audio_tokenizer_recipe", paths[0], "--gpt_recipe", paths[1]]


def write_clips(folder: Path, class_names: list[str], num_clips: int) -> Path:
    noise = np.random.default_rng(0)
    for name in class_names:
        (folder / name).mkdir(parents=True)
        for number in range(num_clips):
            soundfile.write(folder / name / f"{number}.wav", 0.1 * noise.standard_normal(RATE // 2), RATE)
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"), CLASSES, num_clips=3)


def command(data_dir: Path, output_dir: Path, *argv: str) -> list[str]:
    options = ["--data_dir", str(data_dir), "--output_dir", str(output_dir), "--minutes", "0.5"]
    return [*options, "--clip_seconds", "0.4", *argv]


@pytest.fixture(scope="module")
def finished(clips, recipes, tmp_path_factory) -> Path:
    """The output folder of a whole run."""
    output_dir = tmp_path_factory.mktemp("demo") / "out"
    main(command(clips, output_dir, *recipes))
    return output_dir


@pytest.fixture
def copy(finished, tmp_path) -> Path:
    """A copy of that folder that a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "out"))


@pytest.fixture
def trained(monkeypatch) -> list[str]:
    """Names of the trainings that run from now on."""
    names = []
    for module in (train_audio_tokenizer, train_gpt):

        def recorded(argv, module=module, run=module.main):
            names.append(module.__name__.rpartition(".")[2])
            run(argv)

        monkeypatch.setattr(module, "main", recorded)
    return names


def refusal(capsys, *argv: str) -> str:
    """What the program says when it ends with exit code 2."""
    with pytest.raises(SystemExit) as ending:
        main(list(argv))
    assert ending.value.code == 2
    return capsys.readouterr().err


def test_page_of_the_chain_plays_every_class(finished):
    text = (finished / "index.html").read_text(encoding="utf-8")
    links = [unquote(part.split('"')[0]) for part in text.split('src="')[1:]]
    assert [link for link in links if link.endswith(".wav")] == [
        f"samples/{name}/{number}.wav" for name in CLASSES for number in ("00", "01")
    ]
    for link in links:
        assert (finished / link).is_file()
    audio, rate = soundfile.read(finished / "samples" / "Dog bark" / "00.wav")
    assert (audio.shape, rate) == ((32 * 256,), RATE)


def test_stages_get_the_options(finished):
    summary = json.loads((finished / "audio_tokenizer" / "training_summary.json").read_text())
    assert summary["arguments"]["crop_frames"] == 0  # the recipe's crops are longer than these clips
    assert summary["arguments"]["max_train_minutes"] == pytest.approx(0.65 * 0.5)
    assert json.loads((finished / "tokens" / "build_report.json").read_text())["rows"]["train"] == 4 * MAXIMUM_VIEWS


def test_finished_run_only_makes_clips_again(copy, clips, recipes, trained):
    (copy / "index.html").unlink()
    shutil.rmtree(copy / "samples")
    main(command(clips, copy, *recipes, "--num_samples", "1"))
    assert trained == []
    assert (copy / "index.html").is_file()
    assert len(list(copy.glob("samples/*/*.wav"))) == len(CLASSES)


def test_interrupted_run_goes_on_where_it_was(copy, clips, recipes, trained):
    weights = (copy / "audio_tokenizer" / "model.safetensors").read_bytes()
    (copy / "model" / "training_summary.json").unlink()
    main(command(clips, copy, *recipes))
    assert trained == ["train_gpt"]
    assert (copy / "audio_tokenizer" / "model.safetensors").read_bytes() == weights


def test_other_settings_or_clips_do_not_continue_a_run(copy, clips, recipes, tmp_path, capsys):
    assert "other `minutes`" in refusal(capsys, *command(clips, copy, *recipes, "--minutes", "1"))
    more = Path(shutil.copytree(clips, tmp_path / "clips"))
    shutil.copy(more / CLASSES[0] / "0.wav", more / CLASSES[0] / "3.wav")
    assert "`data_dir`, `clips_in_data_dir`" in refusal(capsys, *command(more, copy, *recipes))


def test_chain_needs_no_validation_clips(tmp_path, recipes):
    data_dir = write_clips(tmp_path / "clips", CLASSES, num_clips=1)
    main(command(data_dir, tmp_path / "out", *recipes, "--num_samples", "1"))
    summary = json.loads((tmp_path / "out" / "model" / "training_summary.json").read_text())
    assert summary["validation"] == {}
    assert (tmp_path / "out" / "index.html").is_file()


def test_views_fill_up_small_data_sets():
    assert views_per_clip(minutes=10, num_clips=500) == 2
    assert views_per_clip(minutes=10, num_clips=5000) == 1
    assert views_per_clip(minutes=10, num_clips=4) == MAXIMUM_VIEWS


def test_shipped_demo_samples_every_class(finished, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(finished))
    main(["--model", "~/model", "--output_dir", str(tmp_path), "--num_samples", "1"])
    assert {path.parent.name for path in tmp_path.rglob("*.wav")} == set(CLASSES)


def test_shipped_demo_spares_a_chain(finished, capsys):
    page = (finished / "index.html").read_bytes()
    message = refusal(capsys, "--model", str(finished / "model"), "--output_dir", str(finished))
    assert "holds a run with --data_dir" in message
    assert (finished / "index.html").read_bytes() == page


def test_absent_shipped_checkpoint_is_explained(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert "comes with the repository, is not in the current folder" in refusal(capsys)


def test_unusable_folders_are_explained(tmp_path, capsys):
    output_dir = tmp_path / "out"
    assert "is not a folder" in refusal(capsys, *command(tmp_path / "absent", output_dir))
    (tmp_path / "empty").mkdir()
    assert "one folder per class" in refusal(capsys, *command(tmp_path / "empty", output_dir))
    one = write_clips(tmp_path / "one", ["a"], num_clips=1)
    assert "only one clip; at least 2" in refusal(capsys, *command(one, output_dir))
    assert not output_dir.exists()


@pytest.mark.parametrize(
    ("name", "explanation"), [("0.wav", "Only one of the 2 clips"), ("1.wav", "No clip is left for training")]
)
def test_unreadable_clips_are_explained(tmp_path, capsys, name, explanation):
    data_dir = write_clips(tmp_path / "clips", ["a"], num_clips=2)
    (data_dir / "a" / name).write_text("no sound")
    assert explanation in refusal(capsys, *command(data_dir, tmp_path / "out"))


def test_output_folder_of_something_else_is_left_alone(clips, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert "is not empty and holds no run" in refusal(capsys, *command(clips, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_output_folder_inside_the_clips_is_refused(clips, capsys, monkeypatch):
    assert "lies in `data_dir`" in refusal(capsys, *command(clips, clips / "out"))
    monkeypatch.setenv("HOME", str(clips))
    assert "lies in `data_dir`" in refusal(capsys, *command("~", "~/out"))
    assert not (clips / "out").exists()


def test_options_that_do_not_go_together_are_refused(clips, tmp_path, capsys):
    assert "--minutes needs --data_dir" in refusal(capsys, "--minutes", "3")
    assert "needs --output_dir" in refusal(capsys, "--data_dir", str(clips))
    assert "takes no --model" in refusal(capsys, *command(clips, tmp_path / "out", "--model", "x"))
    assert "`minutes` is 0.0" in refusal(capsys, *command(clips, tmp_path / "out", "--minutes", "0"))
    assert "`temperature` is -1.0" in refusal(capsys, *command(clips, tmp_path / "out", "--temperature", "-1"))


def test_wrong_recipe_and_clip_length_are_noticed_before_the_work(clips, tmp_path, capsys):
    output_dir = tmp_path / "out"
    assert "the recipe 'absent'" in refusal(capsys, *command(clips, output_dir, "--gpt_recipe", "absent"))
    assert "`clip_seconds` is 0.01" in refusal(capsys, *command(clips, output_dir, "--clip_seconds", "0.01"))
    assert not output_dir.exists()
