"""The vocoder training: results, resuming, two processes, when the discriminators act, what is refused."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from clean_processes import run_on_two_processes
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_tokens import save_audio_tokenizer
from tiny_waveforms import write_waveforms
from training_runs import logged_scalars

from melspec_gpt.configuration.configuration_melgan import MelGANConfig
from melspec_gpt.modeling.modeling_melgan import MelGANVocoder
from melspec_gpt.modeling.modeling_melgan_discriminator import MelGANDiscriminator
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor
from melspec_gpt.training.arguments import RECIPES_FOLDER, parse_arguments
from melspec_gpt.training.model_presets import load_model_config
from melspec_gpt.training.train_vocoder import VocoderArguments, main, play
from melspec_gpt.training.vocoder_losses import adversarial_loss, discriminator_loss, feature_matching_loss

SETTINGS = {
    "model_config": "tiny",
    "learning_rate": 0.003,
    "per_device_train_batch_size": 4,
    "segment_frames": 16,
    "discriminator_start": 3,
    "discriminator_config": {"base_channels": 4, "max_channels": 8, "num_layers": 2},
    "max_train_steps": 8,
    "logging_steps": 2,
    "eval_steps": 0,
    "checkpointing_steps": 4,
    "report_to": "none",
}


@pytest.fixture(scope="module")
def dataset_path(tmp_path_factory) -> str:
    return write_waveforms(tmp_path_factory.mktemp("waveforms"))


def run(dataset_path: str, folder: Path, **changes) -> Path:
    folder.mkdir(exist_ok=True)
    recipe, output_dir = folder / "recipe.json", folder / "output"
    recipe.write_text(json.dumps(SETTINGS | {"dataset_path": dataset_path, "output_dir": str(output_dir)} | changes))
    main([str(recipe)])
    return output_dir


@pytest.fixture(scope="module")
def trained(dataset_path, tmp_path_factory) -> Path:
    """With mels that went through an audio tokenizer, and TensorBoard."""
    folder = tmp_path_factory.mktemp("trained")
    tokenizer = save_audio_tokenizer(folder / "tokenizer")
    return run(dataset_path, folder, audio_tokenizer=tokenizer, report_to="tensorboard")


def summary(folder: Path) -> dict:
    return json.loads((folder / "training_summary.json").read_text())


def assert_same_weights(folder: Path, other: Path, name: str = "model.safetensors", **tolerance) -> None:
    first, second = (load_file(path / name) for path in (folder, other))
    assert first.keys() == second.keys()
    for key, value in first.items():
        torch.testing.assert_close(value, second[key], **({"atol": 0, "rtol": 0} | tolerance), msg=key)


def test_final_folder_makes_waveforms_of_features(trained):
    feature_extractor = MelFeatureExtractor.from_pretrained(trained)
    vocoder = MelGANVocoder.from_pretrained(trained)
    features = feature_extractor(torch.randn(1, 8820), sampling_rate=22050, return_tensors="pt")["input_features"]
    assert vocoder(features).shape == (1, 256 * features.shape[-1])
    assert vocoder.config.weight_norm  # so that the training can go on


def test_it_comes_nearer_to_the_recordings(dataset_path, trained, tmp_path):
    untrained = run(dataset_path, tmp_path, max_train_steps=1, learning_rate=0.0)
    longer = run(dataset_path, tmp_path / "longer", max_train_steps=40, discriminator_start=40, learning_rate=0.01)
    distances = [summary(folder)["validation"]["stft_distance"] for folder in (untrained, longer)]
    assert distances[1] < 0.9 * distances[0]


def test_summary_tells_what_is_to_beat(trained):
    found = summary(trained)
    for name in ("stft_distance", "mel_error", "level_error"):
        for prefix in ("", "reconstructed_"):
            assert found["validation"][f"{prefix}{name}"] >= 0
            assert found[f"griffin_lim_{prefix}{name}"] >= 0
    assert "reconstructed_stft_distance" in found["validation"]


def test_validation_loss_is_that_of_the_inputs_of_the_training(trained):
    values = summary(trained)["validation"]
    mean = (values["stft_distance"] + values["reconstructed_stft_distance"]) / 2
    assert values["loss"] == pytest.approx(mean, rel=1e-5)


def test_curves_pictures_and_sounds_are_logged(trained):
    tags = {"scalars": set(), "images": set(), "audio": set()}
    for path in trained.rglob("events.out*"):
        events = EventAccumulator(str(path.parent)).Reload()
        for kind in tags:
            tags[kind] |= set(events.Tags()[kind])
    assert {"train/stft_distance", "train/discriminator_loss", "train/feature_matching_loss"} <= tags["scalars"]
    assert "validation/features_and_resynthesis" in tags["images"]
    assert {"validation/vocoder_0", "validation/recording_0"} <= tags["audio"]


def test_loss_before_the_discriminators_is_made_of_the_weighted_distances(dataset_path, tmp_path):
    settings = {"stft_weight": 0.5, "mel_weight": 3.0, "discriminator_start": 9, "report_to": "tensorboard"}
    folder = run(dataset_path, tmp_path, max_train_steps=2, logging_steps=1, checkpointing_steps=0, **settings)
    values = logged_scalars(folder)
    assert values["train/mel_distance"].keys() == {1, 2}
    for step, loss in values["train/loss"].items():
        stft, mel = (values[f"train/{name}"][step] for name in ("stft_distance", "mel_distance"))
        assert loss == pytest.approx(0.5 * stft + 3 * mel, rel=1e-5)


def test_resumed_run_equals_the_uninterrupted_one(trained, dataset_path, tmp_path):
    """With the discriminators, their optimizer, and the stretches of each clip."""
    settings = {"audio_tokenizer": summary(trained)["arguments"]["audio_tokenizer"]}
    checkpoint = str(trained / "checkpoints" / "checkpoint-4")
    again = run(dataset_path, tmp_path, resume_from_checkpoint=checkpoint, **settings)
    for name in ("model.safetensors", "model_1.safetensors"):
        assert_same_weights(*(folder / "checkpoints" / "checkpoint-8" for folder in (again, trained)), name)
    assert summary(again)["validation"] == summary(trained)["validation"]


def _train_on_two_processes(dataset_path: str, folder: Path, settings: dict) -> None:
    run(dataset_path, folder, **settings)


def test_two_processes_equal_one_with_twice_the_batch(dataset_path, trained, tmp_path):
    settings = {"max_train_steps": 6, "checkpointing_steps": 6, "learning_rate": 1e-3}
    settings["audio_tokenizer"] = summary(trained)["arguments"]["audio_tokenizer"]
    one = run(dataset_path, tmp_path / "one", **settings)
    arguments = (dataset_path, tmp_path / "two", settings | {"per_device_train_batch_size": 2})
    run_on_two_processes(_train_on_two_processes, *arguments)
    two = tmp_path / "two" / "output"
    assert summary(two)["validation"] == pytest.approx(summary(one)["validation"], rel=1e-4, abs=1e-4)
    for name in ("model.safetensors", "model_1.safetensors"):
        checkpoints = (folder / "checkpoints" / "checkpoint-6" for folder in (one, two))
        assert_same_weights(*checkpoints, name, atol=1e-3, rtol=1e-3)


def test_two_accumulated_batches_equal_one_of_twice_the_size(dataset_path, tmp_path):
    settings = {"max_train_steps": 4, "checkpointing_steps": 0, "learning_rate": 1e-3, "discriminator_start": 0}
    parts = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    whole = run(dataset_path, tmp_path / "whole", **settings)
    accumulated = run(dataset_path, tmp_path / "parts", **settings, **parts)
    assert summary(accumulated)["validation"] == pytest.approx(summary(whole)["validation"], rel=1e-4, abs=1e-4)


def test_discriminators_act_from_their_start_on(dataset_path, tmp_path):
    settings = {"max_train_steps": 4, "checkpointing_steps": 0}
    late, never = (
        run(dataset_path, tmp_path / name, discriminator_start=start, **settings)
        for name, start in (("late", 4), ("never", None))
    )
    assert_same_weights(late, never)
    early = run(dataset_path, tmp_path / "early", discriminator_start=2, **settings)
    assert summary(early)["validation"]["stft_distance"] != summary(late)["validation"]["stft_distance"]


class OneStep:
    """A loop for [`play`]: it only passes backwards."""

    def __init__(self, discriminator: MelGANDiscriminator, **weights):
        self.modules = {"discriminator": discriminator}
        self.arguments = SimpleNamespace(**weights)

    def optimize(self, loss: torch.Tensor, name: str) -> None:
        assert name == "discriminator"
        loss.backward()


def test_each_side_gets_its_own_gradient():
    torch.manual_seed(0)
    discriminator = MelGANDiscriminator(4, 8, 2, 2)
    recorded, made = torch.randn(2, 512), torch.randn(2, 512, requires_grad=True)
    real, fake = discriminator(recorded), discriminator(made)
    expected = 2 * adversarial_loss(fake) + 3 * feature_matching_loss(real, fake)
    [for_vocoder] = torch.autograd.grad(expected, made)
    weights = list(discriminator.parameters())
    for_weights = torch.autograd.grad(
        discriminator_loss(discriminator(recorded), discriminator(made.detach())), weights
    )

    term, _ = play(OneStep(discriminator, adversarial_weight=2.0, feature_matching_weight=3.0), recorded, made)
    torch.testing.assert_close(term, expected.detach())
    torch.testing.assert_close(torch.autograd.grad(term, made)[0], for_vocoder)
    for weight, gradient in zip(weights, for_weights, strict=True):
        torch.testing.assert_close(weight.grad, gradient)


def test_training_goes_on_from_a_vocoder(dataset_path, trained, tmp_path):
    settings = {"initial_vocoder": str(trained), "learning_rate": 0.0, "max_train_steps": 1}
    assert_same_weights(run(dataset_path, tmp_path, **settings), trained)


def test_vocoder_of_other_sizes_is_no_start(dataset_path, trained, tmp_path):
    with pytest.raises(SystemExit, match="`initial_vocoder`.*`base_channels` 4; expected 8"):
        run(dataset_path, tmp_path, initial_vocoder=str(trained), model_overrides={"base_channels": 8})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"segment_frames": 4}, "`segment_frames` is 4; it has to be from 5 to 32"),
        ({"segment_frames": 33}, "`segment_frames` is 33"),
        ({"model_overrides": {"upsample_ratios": [8, 8]}}, "64 samples of a frame.*256"),
        ({"discriminator_config": {"base_channels": 5}}, "`base_channels` is 5"),
        ({"discriminator_config": {"channels": 4}}, "`discriminator_config`.*channels"),
    ],
)
def test_settings_that_do_not_fit_the_data_are_refused(dataset_path, tmp_path, changes, words):
    with pytest.raises(SystemExit, match=words):
        run(dataset_path, tmp_path, **changes)


def test_audio_tokenizer_of_other_features_is_refused(dataset_path, trained, tmp_path):
    tokenizer = summary(trained)["arguments"]["audio_tokenizer"]
    longer = write_waveforms(tmp_path / "longer", clip_seconds=0.6)
    with pytest.raises(SystemExit, match="`audio_tokenizer`.*'num_frames': 32.*'num_frames': 48"):
        run(longer, tmp_path, audio_tokenizer=tokenizer)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--push_to_hub", "true"], "attach_vocoder"),
        (["--reconstruction_share", "2"], "`reconstruction_share` is 2.0"),
        (["--streaming", "true", "--audio_tokenizer", "x"], "`streaming` is True"),
    ],
)
def test_contradicting_arguments_are_refused(argv, words, capsys):
    required = ["--dataset_path", "x", "--output_dir", "y", "--model_config", "tiny", "--max_train_steps", "1"]
    with pytest.raises(SystemExit):
        parse_arguments(VocoderArguments, [*required, *argv])
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("name", [file.stem for file in sorted(RECIPES_FOLDER.glob("vocoder_*.json"))])
def test_shipped_recipes_are_complete(name):
    arguments = parse_arguments(VocoderArguments, [name, "--dataset_path", "mels", "--output_dir", "out"])
    config = load_model_config(MelGANConfig, arguments.model_config, arguments.model_overrides)
    assert config.hop_length == 256
    MelGANDiscriminator(**(arguments.discriminator_config or {}))


def test_shipped_sizes():
    small, original = (MelGANVocoder(load_model_config(MelGANConfig, name)) for name in ("small", "vas"))
    for vocoder in (small, original):
        vocoder.remove_weight_norm()
    assert small.num_parameters() < 1.15e6
    assert original.num_parameters() > 4e6
