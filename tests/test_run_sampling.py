"""Sampling from a checkpoint: files, page, seeds, and sentences instead of tracebacks."""

import json
import logging
from pathlib import Path
from urllib.parse import unquote

import pytest
import soundfile
import torch
from matplotlib import image

from melspec_gpt import (
    MelCodeTokenizer,
    MelFeatureExtractor,
    MelGPTConfig,
    MelGPTForCausalLM,
    MelGPTProcessor,
    MelVQConfig,
    MelVQModel,
)
from melspec_gpt.training.loudness import measure_level
from melspec_gpt.training.model_presets import load_model_config
from melspec_gpt.training.run_sampling import SamplingSettings, main, plan_clips, write_samples

CLASS_NAMES = ["Dog bark", "a/b <&> 🐕", "Rain"]
FOLDERS = ["Dog bark", "a_b _&_ 🐕", "Rain"]
QUICK = SamplingSettings(num_samples=1)


def write_checkpoint(folder: Path, class_names: list[str]) -> str:
    """A GPT of random weights with its processor, for clips of 0.4 s: 10 codes."""
    torch.manual_seed(0)
    extractor = MelFeatureExtractor.from_clip_seconds(0.4)
    audio_tokenizer = MelVQModel(load_model_config(MelVQConfig, "tiny", num_frames=extractor.num_frames))
    config = load_model_config(
        MelGPTConfig,
        "tiny",
        {"initializer_range": 0.5},
        codebook_size=audio_tokenizer.config.codebook_size,
        num_codes=audio_tokenizer.config.num_codes,
        id2label=dict(enumerate(class_names)),
    )
    tokenizer = MelCodeTokenizer(config.codebook_size, class_names)
    MelGPTForCausalLM(config).save_pretrained(folder)
    MelGPTProcessor(extractor, tokenizer, audio_tokenizer).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"), CLASS_NAMES)


@pytest.fixture(scope="module")
def samples(checkpoint, tmp_path_factory) -> Path:
    """Two clips of every class."""
    output_dir = tmp_path_factory.mktemp("samples")
    assert write_samples(checkpoint, output_dir) == output_dir / "index.html"
    return output_dir


def sounds(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.wav")}


def test_every_class_gets_its_clips_and_pictures(samples):
    expected = {
        f"{folder}/{number}.{kind}" for folder in FOLDERS for number in ("00", "01") for kind in ("wav", "png")
    }
    files = {path.relative_to(samples).as_posix() for path in samples.rglob("*") if path.is_file()}
    assert files == expected | {"index.html", "samples.json"}


def test_clips_sound_and_pictures_show_them(samples):
    for path in samples.rglob("*.wav"):
        audio, rate = soundfile.read(path)
        assert (audio.shape, rate) == ((32 * 256,), 22050)
        assert 0 < abs(audio).max() <= 1
        assert audio.std() > 0
        assert image.imread(path.with_suffix(".png")).shape[:2] == (80, 32)


def test_page_links_to_all_files(samples):
    text = (samples / "index.html").read_text(encoding="utf-8")
    links = [unquote(part.split('"')[0]) for part in text.split('src="')[1:]]
    assert len(links) == 12
    assert all((samples / link).is_file() for link in links)
    assert "a/b &lt;&amp;&gt; 🐕" in text


def test_summary_holds_settings_and_levels(samples, checkpoint):
    summary = json.loads((samples / "samples.json").read_text(encoding="utf-8"))
    assert summary["model"] == checkpoint
    assert (summary["seed"], summary["guidance_scale"], summary["sampling_rate"]) == (0, 3.0, 22050)
    for clip in summary["clips"]:
        audio, _ = soundfile.read(samples / clip["file"], dtype="float32")
        written = measure_level(torch.from_numpy(audio))
        assert written["peak"] == pytest.approx(clip["peak"], abs=1e-3)
        at_level = written["rms_dbfs"] == pytest.approx(summary["loudness"], abs=0.1)
        assert at_level or written["peak"] == pytest.approx(0.95, abs=1e-3)
        assert clip["seconds"] == pytest.approx(len(audio) / 22050)
    assert [clip["class_name"] for clip in summary["clips"][::2]] == CLASS_NAMES


def test_same_seed_same_files_and_another_seed_others(samples, checkpoint, tmp_path):
    write_samples(checkpoint, tmp_path / "again")
    assert sounds(tmp_path / "again") == sounds(samples)
    write_samples(checkpoint, tmp_path / "other", settings=SamplingSettings(seed=1))
    others = sounds(tmp_path / "other")
    assert others.keys() == sounds(samples).keys()
    assert all(others[name] != sound for name, sound in sounds(samples).items())


def test_clip_depends_neither_on_the_batch_nor_on_other_classes(samples, checkpoint, tmp_path):
    settings = SamplingSettings(num_samples=3, batch_size=2)
    write_samples(checkpoint, tmp_path, ["Rain"], settings)
    few = sounds(tmp_path)
    assert few.keys() == {"Rain/00.wav", "Rain/01.wav", "Rain/02.wav"}
    assert few["Rain/01.wav"] != few["Rain/00.wav"]
    for name in ("Rain/00.wav", "Rain/01.wav"):
        ours, _ = soundfile.read(tmp_path / name)
        theirs, _ = soundfile.read(samples / name)
        assert abs(ours - theirs).max() < 1e-3  # rounding in batches of another size


@pytest.mark.parametrize("change", [{"guidance_scale": 5.0}, {"temperature": 0.3}, {"top_k": 1}, {"top_p": 0.2}])
def test_settings_reach_the_sampling(samples, checkpoint, tmp_path, change):
    write_samples(checkpoint, tmp_path, ["Rain"], SamplingSettings(**change))
    assert sounds(tmp_path)["Rain/00.wav"] != sounds(samples)["Rain/00.wav"]


def test_other_files_in_the_folder_are_left_alone(checkpoint, tmp_path):
    other = tmp_path / "Rain" / "mine.wav"
    other.parent.mkdir()
    other.write_text("mine")
    write_samples(checkpoint, tmp_path, ["Rain"], QUICK)
    assert other.read_text() == "mine"


def test_clips_can_lie_in_a_folder_of_their_own(checkpoint, tmp_path):
    page = write_samples(checkpoint, tmp_path, ["Rain"], QUICK, clips_folder="clips")
    assert sounds(tmp_path).keys() == {"clips/Rain/00.wav"}
    assert 'src="clips/Rain/00.wav"' in page.read_text(encoding="utf-8")


def test_names_are_understood_in_any_case_and_once():
    tokenizer = MelCodeTokenizer(16, CLASS_NAMES)
    planned = plan_clips(tokenizer, ["rain", "Rain", " dog BARK"], num_samples=1)
    assert [clip.class_name for clip in planned] == ["Rain", "Dog bark"]
    assert plan_clips(tokenizer, ["<null>"], num_samples=1)[0].file == Path("_null_", "00.wav")


def test_many_clips_sort_by_name():
    files = [clip.file.name for clip in plan_clips(MelCodeTokenizer(16, ["a"]), None, num_samples=101)]
    assert files == sorted(files)
    assert files[-1] == "100.wav"


def test_model_without_classes_asks_for_the_null_class():
    with pytest.raises(ValueError, match="no classes; ask for '<null>'"):
        plan_clips(MelCodeTokenizer(16, []), None, num_samples=1)


def test_code_is_no_class():
    with pytest.raises(ValueError, match="'<3>', which is a code"):
        plan_clips(MelCodeTokenizer(16, ["a"]), ["<3>"], num_samples=1)


def test_levels_of_the_model_are_kept_on_request(checkpoint, tmp_path):
    for name, loudness in (("kept", None), ("changed", -30.0)):
        write_samples(checkpoint, tmp_path / name, settings=SamplingSettings(num_samples=1, loudness=loudness))
    kept, changed = (json.loads((tmp_path / name / "samples.json").read_text()) for name in ("kept", "changed"))
    assert all(clip["rms_dbfs"] == pytest.approx(-30, abs=0.1) for clip in changed["clips"])
    assert not any(clip["rms_dbfs"] == pytest.approx(-30, abs=0.1) for clip in kept["clips"])


@pytest.mark.parametrize(
    "change",
    [
        {"num_samples": 0},
        {"guidance_scale": -0.1},
        {"guidance_scale": float("nan")},
        {"temperature": 0.0},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"loudness": 3.0},
        {"batch_size": 0},
    ],
)
def test_impossible_settings_are_refused(change):
    with pytest.raises(ValueError, match=f"`{next(iter(change))}` is .*; it has to be"):
        SamplingSettings(**change)


def refusal(capsys, *argv: str) -> str:
    """What the program says when it ends with exit code 2."""
    with pytest.raises(SystemExit) as ending:
        main(list(argv))
    assert ending.value.code == 2
    return capsys.readouterr().err


def test_command_line_writes_clips_and_says_where(checkpoint, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        main(["--model", checkpoint, "--class_names", "Rain", "--num_samples", "1", "--output_dir", str(tmp_path)])
    assert sounds(tmp_path).keys() == {"Rain/00.wav"}
    assert f"Open {tmp_path / 'index.html'}" in caplog.text


def test_unknown_class_is_answered_with_the_known_ones(checkpoint, tmp_path, capsys):
    message = refusal(capsys, "--model", checkpoint, "--class_names", "Cat", "--output_dir", str(tmp_path / "out"))
    assert "Unknown class name 'Cat'. The known ones are 'Dog bark'" in message
    assert not (tmp_path / "out").exists()


def test_absent_default_checkpoint_is_explained(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    message = refusal(capsys, "--output_dir", "out")
    assert "comes with the repository, is not in the current folder" in message


def test_other_checkpoints_are_refused(checkpoint, tmp_path, capsys):
    message = refusal(capsys, "--model", f"{checkpoint}/audio_tokenizer", "--output_dir", str(tmp_path))
    assert "holds a model of type 'mel_vq'; expected 'mel_gpt'" in message
    message = refusal(capsys, "--model", str(tmp_path / "absent"), "--output_dir", str(tmp_path))
    assert "neither a checkpoint folder nor on the Hub" in message


def test_checkpoint_without_audio_tokenizer_is_refused(tmp_path, capsys):
    model = write_checkpoint(tmp_path / "model", ["a"])
    (tmp_path / "model" / "audio_tokenizer").rename(tmp_path / "elsewhere")
    message = refusal(capsys, "--model", model, "--output_dir", str(tmp_path / "out"))
    assert "has no folder audio_tokenizer" in message


def test_wrong_setting_is_refused_before_anything_is_loaded(tmp_path, capsys):
    message = refusal(capsys, "--model", "absent", "--temperature", "0", "--output_dir", str(tmp_path))
    assert "`temperature` is 0.0; it has to be above 0" in message
