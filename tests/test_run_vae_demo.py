"""The demo of the GPT-VAE: morph, repair and new sounds, from classes and from files, and sentences for errors."""

import json
import logging
import shutil
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

from melspec_gpt.configuration.configuration_mel_gpt import MelGPTConfig
from melspec_gpt.configuration.configuration_mel_gpt_vae import MelGPTVAEConfig
from melspec_gpt.configuration.configuration_mel_vq import MelVQConfig
from melspec_gpt.modeling.modeling_mel_gpt import MelGPTForCausalLM
from melspec_gpt.modeling.modeling_mel_gpt_vae import MelGPTVAEModel
from melspec_gpt.modeling.modeling_mel_vq import MelVQModel
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor
from melspec_gpt.tokenization.processing_mel_gpt import MelGPTProcessor
from melspec_gpt.tokenization.tokenization_mel_codes import MelCodeTokenizer
from melspec_gpt.training.loudness import measure_level
from melspec_gpt.training.model_presets import load_model_config
from melspec_gpt.training.run_sampling import SamplingSettings, write_samples
from melspec_gpt.training.run_vae_demo import main, read_sounds, write_vae_demo
from melspec_gpt.training.vae_demo_parts import VAEDemo, VAEDemoSettings

CLASS_NAMES = ["Baby cry", "Rain", "Rooster"]
RATE = 22050
# A clip of 1 s has 80 frames: five time steps of five codes. The gap touches the third and the fourth.
NUM_CODES, NUM_SAMPLES = 25, 80 * 256
GAP = (0.45, 0.65)
GAP_SAMPLES = slice(NUM_SAMPLES * 2 // 5, NUM_SAMPLES * 4 // 5)
QUICK = VAEDemoSettings(hidden_seconds=GAP, steps=4, num_samples=2, num_candidates=3)
QUICK_OPTIONS = ["--hidden_seconds", "0.45", "0.65", "--steps", "2", "--num_samples", "1", "--num_candidates", "1"]


def save_gpt(folder: Path, seed: int = 0) -> str:
    """A GPT of random weights with an audio tokenizer of its own."""
    torch.manual_seed(seed)
    extractor = MelFeatureExtractor.from_clip_seconds(1.0)
    audio_tokenizer = MelVQModel(load_model_config(MelVQConfig, "tiny", num_frames=extractor.num_frames))
    sizes = {"codebook_size": audio_tokenizer.config.codebook_size, "num_codes": NUM_CODES}
    config = load_model_config(
        MelGPTConfig, "tiny", {"initializer_range": 0.5}, **sizes, id2label=dict(enumerate(CLASS_NAMES))
    )
    MelGPTForCausalLM(config).save_pretrained(folder)
    tokenizer = MelCodeTokenizer(config.codebook_size, CLASS_NAMES)
    MelGPTProcessor(extractor, tokenizer, audio_tokenizer).save_pretrained(folder)
    return str(folder)


def save_vae(folder: Path, gpt: str, **overrides) -> str:
    """A GPT-VAE of random weights that shares the audio tokenizer of a GPT."""
    processor = MelGPTProcessor.from_pretrained(gpt)
    processor.class_token, processor.codec_reference = False, f"../{Path(gpt).name}/audio_tokenizer"
    torch.manual_seed(0)
    sizes = {"codebook_size": processor.tokenizer.codebook_size, "num_codes": NUM_CODES, "initializer_range": 0.5}
    labels = {"id2label": dict(enumerate(CLASS_NAMES))} if overrides else {}
    MelGPTVAEModel(
        load_model_config(MelGPTVAEConfig, "tiny", overrides, encoder=sizes, decoder=sizes | labels)
    ).save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """Folder with the checkpoints `gpt` and `vae`."""
    folder = tmp_path_factory.mktemp("models")
    save_vae(folder / "vae", save_gpt(folder / "gpt"))
    return folder


@pytest.fixture(scope="module")
def demo(models, tmp_path_factory) -> Path:
    output_dir = tmp_path_factory.mktemp("demo") / "out"
    assert write_vae_demo(models / "vae", output_dir, QUICK, gpt=models / "gpt") == output_dir / "index.html"
    return output_dir


@pytest.fixture(scope="module")
def checkpoint(models) -> tuple[MelGPTVAEModel, MelGPTProcessor]:
    vae = MelGPTVAEModel.from_pretrained(models / "vae").eval()
    return vae, MelGPTProcessor.from_pretrained(models / "vae")


@pytest.fixture
def codes() -> torch.LongTensor:
    return torch.randint(16, (2, NUM_CODES), generator=torch.Generator().manual_seed(0))


def read_summary(folder: Path) -> dict:
    return json.loads((folder / "vae_demo.json").read_text(encoding="utf-8"))


def read_wav(path: Path) -> torch.Tensor:
    audio, rate = soundfile.read(path, dtype="float32")
    assert rate == RATE
    return torch.from_numpy(audio)


def write_noise(path: Path, seconds: float, rate: int = RATE, channels: int = 1) -> str:
    noise = np.random.default_rng(0).standard_normal((round(seconds * rate), channels))
    soundfile.write(path, 0.1 * noise, rate)
    return str(path)


# The page


def test_page_plays_every_part(demo):
    text = (demo / "index.html").read_text(encoding="utf-8")
    links = [unquote(part.split('"')[0]) for part in text.split('src="')[1:]]
    assert [link for link in links if link.endswith(".wav")] == (
        [f"morph/{index:02d}.wav" for index in range(4 + 2)]
        + [f"repair/{index:02d}.wav" for index in range(2 * 3)]
        + [f"new_sounds/{index:02d}.wav" for index in range(2)]
    )
    assert all((demo / link).is_file() for link in links)
    for heading in ("<h2>Morph</h2>", "<h2>Repair</h2>", "<h2>New sounds</h2>", "<h3>33% of the way to Rain</h3>"):
        assert heading in text


def test_summary_holds_settings_levels_and_comparisons(demo):
    summary = read_summary(demo)
    assert (summary["sounds"], summary["seed"], summary["hidden_seconds"]) == (["Baby cry", "Rain"], 0, list(GAP))
    for clip in summary["clips"]:
        written = measure_level(read_wav(demo / clip["file"]))
        assert written["peak"] == pytest.approx(clip["peak"], abs=1e-3)
        assert written["rms_dbfs"] == pytest.approx(clip["rms_dbfs"], abs=0.1)
    assert len(summary["Morph"]["neighbours"]) == 4 - 1
    comparisons = [*summary["Morph"]["neighbours"], summary["Morph"]["ends"], *summary["Repair"]["gaps"]]
    assert all(0 <= each["code_agreement"] <= 1 and each["mel_distance"] >= 0 for each in comparisons)
    assert summary["Repair"]["hidden_codes"] == 2 * 5


def test_the_sounds_are_those_that_run_sampling_writes(demo, models, tmp_path):
    write_samples(models / "gpt", tmp_path, ["Baby cry", "Rain"], SamplingSettings(num_samples=1))
    for ours, theirs in (("00", "Baby cry"), ("05", "Rain")):
        assert (demo / "morph" / f"{ours}.wav").read_bytes() == (tmp_path / theirs / "00.wav").read_bytes()


def test_same_seed_same_sounds_and_another_seed_others(demo, models, tmp_path):
    for name, seed in (("again", 0), ("other", 1)):
        settings = VAEDemoSettings(hidden_seconds=GAP, steps=4, num_samples=2, num_candidates=3, seed=seed)
        write_vae_demo(models / "vae", tmp_path / name, settings, gpt=models / "gpt")
    for sound in sorted(path.relative_to(demo) for path in demo.rglob("*.wav")):
        assert (tmp_path / "again" / sound).read_bytes() == (demo / sound).read_bytes()
        assert (tmp_path / "other" / sound).read_bytes() != (demo / sound).read_bytes()


# The parts


def test_a_way_from_a_sound_to_itself_stands_still(checkpoint, codes):
    """All steps get the same random numbers: only the latents could make a difference."""
    part = VAEDemo(*checkpoint, QUICK, ["a", "a"], codes[:1].expand(2, -1)).morph()
    assert [each["code_agreement"] for each in part.numbers["neighbours"]] == [1.0] * 3
    part = VAEDemo(*checkpoint, QUICK, ["a", "b"], codes).morph()
    assert part.numbers["ends"]["code_agreement"] < 1


@pytest.mark.parametrize("change", [{"mode": "spherical"}, {"temperature": 0.3}])
def test_settings_reach_the_morph(checkpoint, codes, change):
    usual = VAEDemo(*checkpoint, QUICK, ["a", "b"], codes).morph()
    changed = VAEDemo(*checkpoint, VAEDemoSettings(steps=4, **change), ["a", "b"], codes).morph()
    assert not torch.equal(usual.input_features, changed.input_features)
    assert torch.equal(usual.input_features[0], changed.input_features[0])


def test_gap_is_silent_and_nothing_else(demo):
    summary = read_summary(demo)
    for clip in (0, 3):
        original, with_gap, filled = (read_wav(demo / "repair" / f"{clip + i:02d}.wav") for i in range(3))
        assert not with_gap[GAP_SAMPLES].any()
        assert filled[GAP_SAMPLES].any()
        original[GAP_SAMPLES] = 0
        assert torch.equal(original, with_gap)
    marked = [clip["marked"] for clip in summary["clips"] if clip["class_name"] == "Repair"]
    assert marked == [[pytest.approx(0.4), pytest.approx(0.8)]] * 6


def test_repair_changes_codes_in_the_gap_only(checkpoint, codes, monkeypatch):
    vae, processor = checkpoint
    mask = torch.zeros(NUM_CODES, dtype=torch.bool)
    mask[10:20] = True
    decoded, decode = [], processor.decode_features
    monkeypatch.setattr(processor, "decode_features", lambda ids: decoded.append(ids) or decode(ids))
    numbers = VAEDemo(vae, processor, QUICK, ["a", "b"], codes).repair(mask).numbers
    before, after = decoded[0].chunk(2)
    assert torch.equal(before, codes)
    assert torch.equal(after[:, ~mask], codes[:, ~mask])
    agreement = (after[:, mask] == codes[:, mask]).double().mean(1)
    assert [gap["code_agreement"] for gap in numbers["gaps"]] == pytest.approx(agreement.tolist())
    assert (agreement < 1).all()


def test_known_parts_are_as_loud_as_before(checkpoint, codes):
    mask = torch.zeros(NUM_CODES, dtype=torch.bool)
    mask[20:] = True
    part = VAEDemo(*checkpoint, QUICK, ["a", "b"], codes).repair(mask)
    bare = VAEDemo(*checkpoint, VAEDemoSettings(loudness=None, num_candidates=3), ["a", "b"], codes).repair(mask)
    pairs = zip(part.waveforms, bare.waveforms, strict=True)
    gains = [(levelled.norm() / as_made.norm()).item() for levelled, as_made in pairs]
    assert gains[0] == pytest.approx(gains[2], rel=1e-4)
    assert gains[0] != pytest.approx(1, abs=1e-2)


def test_a_new_sound_depends_on_its_number_alone(checkpoint, codes):
    few, many = (
        VAEDemo(*checkpoint, VAEDemoSettings(num_samples=number), ["a", "b"], codes).new_sounds() for number in (2, 5)
    )
    assert torch.allclose(few.input_features, many.input_features[:2], atol=1e-4)
    assert not torch.allclose(many.input_features[0], many.input_features[1], atol=1e-2)


# Files


def test_files_of_any_rate_and_length_are_read(models, tmp_path, caplog):
    files = [write_noise(tmp_path / "a <b>.wav", 3.0, 44100, channels=2), write_noise(tmp_path / "b.flac", 0.7)]
    with caplog.at_level(logging.INFO):
        main(
            ["--model", str(models / "vae"), "--audio", *files, "--output_dir", str(tmp_path / "out"), *QUICK_OPTIONS]
        )
    assert f"Open {tmp_path / 'out' / 'index.html'}" in caplog.text
    assert "a &lt;b&gt;.wav, the original" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert read_summary(tmp_path / "out")["sounds"] == ["a <b>.wav", "b.flac"]


def test_the_first_clip_of_a_file_is_encoded(checkpoint, tmp_path):
    _, processor = checkpoint
    file = write_noise(tmp_path / "a.wav", 4.0)
    names, codes = read_sounds([file, file], processor, needed_seconds=0.5)
    expected = processor(audio=read_wav(Path(file))[:RATE], sampling_rate=RATE).input_ids
    assert names == ["a.wav", "a.wav"]
    assert torch.equal(codes, expected.expand(2, -1))


# Refusals


def refusal(capsys, *argv: str) -> str:
    """What the program says when it ends with exit code 2."""
    with pytest.raises(SystemExit) as ending:
        main(list(argv))
    assert ending.value.code == 2
    return capsys.readouterr().err


@pytest.fixture
def refuse(models, tmp_path, capsys):
    """Calls the program with options beside the checkpoints, and makes sure that it wrote nothing."""

    def call(*argv: str) -> str:
        checkpoints = ["--model", str(models / "vae"), "--gpt", str(models / "gpt")]
        message = refusal(capsys, *checkpoints, "--output_dir", str(tmp_path / "out"), *QUICK_OPTIONS, *argv)
        assert not (tmp_path / "out").exists()
        return message

    return call


def test_absent_default_checkpoints_are_explained(models, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    message = refusal(capsys)
    assert "`model` 'checkpoints/esc10-vae-small', the checkpoint that comes with the repository, is not in" in message
    message = refusal(capsys, "--model", str(models / "vae"), *QUICK_OPTIONS)
    assert "`gpt` 'checkpoints/esc10-small', the checkpoint that comes with the repository, is not in" in message


def test_checkpoints_of_another_kind_are_refused(models, refuse):
    message = refuse("--model", str(models / "gpt"))
    assert "holds a model of type 'mel_gpt'; expected 'mel_gpt_vae', the output of train_gpt_vae" in message
    assert "`gpt` " in refuse("--gpt", str(models / "vae"))
    assert "neither a checkpoint folder nor on the Hub" in refuse("--model", str(models / "absent"))


def test_class_conditioning_is_refused(models, refuse):
    conditional = save_vae(models / "conditional", str(models / "gpt"), class_conditioning=True)
    assert "it wants to be told a class" in refuse("--model", conditional)


def test_codes_of_another_audio_tokenizer_are_refused(models, refuse):
    other = save_gpt(models / "other", seed=1)
    assert "has another audio tokenizer than the GPT-VAE" in refuse("--gpt", other)


def test_rounded_audio_tokenizer_is_the_same_one(models, tmp_path):
    gpt = shutil.copytree(models / "gpt", tmp_path / "gpt")
    weights = load_file(gpt / "audio_tokenizer" / "model.safetensors")
    halves = {name: weight.half() for name, weight in weights.items()}
    save_file(halves, gpt / "audio_tokenizer" / "model.safetensors", metadata={"format": "pt"})
    settings = VAEDemoSettings(hidden_seconds=GAP, steps=2, num_samples=1, num_candidates=1)
    assert write_vae_demo(models / "vae", tmp_path / "out", settings, gpt=gpt).is_file()


def test_classes_have_to_be_two_that_are_known(refuse):
    assert "Unknown class name 'Cat'" in refuse("--class_names", "Cat", "Rain")
    for names in (["Rain"], ["Rain", "rain"], CLASS_NAMES):
        assert "give 2 different classes" in refuse("--class_names", *names)


def test_files_have_to_be_two_long_enough_sounds(refuse, tmp_path):
    good, short = write_noise(tmp_path / "good.wav", 1.0), write_noise(tmp_path / "short.wav", 0.5)
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "bare.raw").write_bytes(b"\0" * 1000)
    for files in ([good], [good] * 3):
        assert f"`audio` holds {len(files)} files; give 2" in refuse("--audio", *files)
    assert "is not a file" in refuse("--audio", good, str(tmp_path / "absent.wav"))
    for name in ("text.wav", "bare.raw"):
        assert "cannot be read as sound" in refuse("--audio", good, str(tmp_path / name))
    message = refuse("--audio", good, short)
    assert "short.wav' lasts 0.50 s, but `hidden_seconds` ends at 0.65 s: choose an earlier span" in message


def test_files_and_classes_exclude_each_other(refuse):
    assert "not allowed with argument" in refuse("--audio", "a.wav", "b.wav", "--class_names", "Rain", "Rooster")


def test_the_gap_has_to_lie_in_the_clip(refuse):
    assert "`hidden_seconds` is (2.0, 3.0); it has to be a pair" in refuse("--hidden_seconds", "2", "3")


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 1},
        {"mode": "crooked"},
        {"num_candidates": 0},
        {"num_samples": 0},
        {"temperature": 0.0},
        {"temperature": float("nan")},
        {"loudness": 3.0},
    ],
)
def test_impossible_settings_are_refused(change):
    with pytest.raises(ValueError, match=f"`{next(iter(change))}` is .*; it has to be"):
        VAEDemoSettings(**change)
