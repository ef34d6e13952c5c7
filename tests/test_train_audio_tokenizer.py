"""The audio tokenizer training, with and without a discriminator: results, resuming, two processes, baseline."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from clean_processes import run_on_two_processes
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_mels import write_mels

from melspec_gpt.modeling.modeling_mel_classifier import ClassifierEnsemble, save_classifier
from melspec_gpt.modeling.modeling_mel_vq import MelVQModel
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor
from melspec_gpt.training.train_audio_tokenizer import main, mean_mel_error

SETTINGS = {
    "model_config": "tiny",
    "learning_rate": 0.003,
    "per_device_train_batch_size": 4,
    "crop_frames": 32,
    "logging_steps": 5,
    "eval_steps": 10,
    "checkpointing_steps": 10,
    "checkpoints_total_limit": None,
}
ADVERSARIAL = {
    "discriminator_weight": 1.0,
    "discriminator_start": 3,
    "discriminator_channels": 4,
    "report_to": "none",
    "eval_steps": 0,
    "checkpointing_steps": 4,
}


@pytest.fixture(scope="module")
def mels(tmp_path_factory) -> str:
    return write_mels(tmp_path_factory.mktemp("mels"))


def run(mels: str, folder, **changes) -> str:
    recipe = folder / "recipe.json"
    output_dir = str(folder / "output")
    recipe.write_text(json.dumps(SETTINGS | {"dataset_path": mels, "output_dir": output_dir} | changes))
    main([str(recipe)])
    return output_dir


@pytest.fixture(scope="module")
def trained(mels, tmp_path_factory) -> str:
    return run(mels, tmp_path_factory.mktemp("trained"), max_train_steps=40)


def test_final_folder_encodes_and_decodes(trained):
    feature_extractor = MelFeatureExtractor.from_pretrained(trained)
    model = MelVQModel.from_pretrained(trained)
    noise = np.random.default_rng(0).standard_normal(feature_extractor.num_samples)
    features = feature_extractor(0.1 * noise, sampling_rate=22050, return_tensors="pt")["input_features"]
    codes = model.encode(features).audio_codes
    assert codes.shape == (1, 1, model.config.num_codes)
    assert model.decode(codes).input_features.shape == features.shape


def test_it_learns_more_than_the_mean_spectrum(trained):
    with open(f"{trained}/training_summary.json") as file:
        summary = json.load(file)
    assert summary["validation"]["reconstruction_loss"] < summary["mean_mel_error"]
    assert summary["validation"]["codes_used"] > 1


def test_pictures_and_sounds_are_logged(trained):
    tags = {"images": set(), "audio": set()}
    for path in Path(trained).rglob("events.out*"):
        events = EventAccumulator(str(path.parent)).Reload()
        for kind in tags:
            tags[kind] |= set(events.Tags()[kind])
    assert "validation/clips_and_reconstructions" in tags["images"]
    assert "validation/reconstruction_0" in tags["audio"]


def test_resumed_run_equals_the_uninterrupted_one(trained, mels, tmp_path):
    """The codebook's averages are part of the checkpoint."""
    again = run(mels, tmp_path, max_train_steps=40, resume_from_checkpoint=f"{trained}/checkpoints/checkpoint-20")
    first, second = (load_file(f"{folder}/model.safetensors") for folder in (trained, again))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_baseline_is_the_error_of_the_mean_spectrum():
    feature_extractor = MelFeatureExtractor.from_clip_seconds(0.3)
    quiet, loud = (torch.full((80, feature_extractor.num_mel_frames), level) for level in (0.2, 0.6))
    error = mean_mel_error([{"mel": quiet}, {"mel": loud}], [{"mel": loud}], feature_extractor)
    assert error == pytest.approx(2 * 0.2)


@pytest.fixture(scope="module")
def adversarial(mels, tmp_path_factory) -> str:
    return run(mels, tmp_path_factory.mktemp("adversarial"), max_train_steps=8, **ADVERSARIAL)


def validation(folder: str) -> dict[str, float]:
    with open(f"{folder}/training_summary.json") as file:
        return json.load(file)["validation"]


def assert_same_weights(folder: str, other: str, name: str, **tolerance) -> None:
    first, second = (load_file(f"{path}/{name}") for path in (folder, other))
    assert first.keys() == second.keys()
    for key, value in first.items():
        torch.testing.assert_close(value, second[key], **({"atol": 0, "rtol": 0} | tolerance), msg=key)


def test_validation_says_what_the_discriminator_thinks(adversarial, trained):
    names = {"logits_real", "logits_fake", "discriminator_loss"}
    assert names <= validation(adversarial).keys()
    assert not names & validation(trained).keys()
    assert "spectral_convergence" in validation(trained)


def test_resumed_adversarial_run_equals_the_uninterrupted_one(adversarial, mels, tmp_path):
    """Discriminator, its optimizer and the codebook's averages are part of the checkpoint."""
    checkpoint = f"{adversarial}/checkpoints/checkpoint-4"
    again = run(mels, tmp_path, max_train_steps=8, resume_from_checkpoint=checkpoint, **ADVERSARIAL)
    for name in ("model.safetensors", "model_1.safetensors"):
        assert_same_weights(*(f"{folder}/checkpoints/checkpoint-8" for folder in (again, adversarial)), name)
    assert validation(again) == validation(adversarial)


def test_the_discriminator_changes_nothing_before_its_start(mels, tmp_path):
    plain = run(mels, tmp_path, max_train_steps=3, report_to="none", eval_steps=0)
    (tmp_path / "adversarial").mkdir()
    other = run(mels, tmp_path / "adversarial", max_train_steps=3, **ADVERSARIAL)
    assert_same_weights(plain, other, "model.safetensors")


def test_the_discriminator_changes_the_tokenizer(adversarial, mels, tmp_path):
    plain = run(mels, tmp_path, max_train_steps=8, report_to="none", eval_steps=0)
    assert validation(plain)["reconstruction_loss"] != validation(adversarial)["reconstruction_loss"]


def _train_on_two_processes(mels: str, folder: Path, settings: dict) -> None:
    run(mels, folder, **settings)


def test_two_processes_equal_one_with_twice_the_batch(mels, tmp_path):
    """The discriminator's norms, the adaptive weight, the codebook and the crops are those of the whole batch."""
    settings = ADVERSARIAL | {"max_train_steps": 6, "checkpointing_steps": 6, "learning_rate": 1e-3}
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    one = run(mels, folders[0], per_device_train_batch_size=4, **settings)
    arguments = (mels, folders[1], settings | {"per_device_train_batch_size": 2})
    run_on_two_processes(_train_on_two_processes, *arguments)
    two = f"{folders[1]}/output"
    assert validation(two) == pytest.approx(validation(one), rel=1e-4, abs=1e-4)
    assert_same_weights(one, two, "model.safetensors", atol=1e-3, rtol=0)
    checkpoints = (f"{folder}/checkpoints/checkpoint-6" for folder in (one, two))
    assert_same_weights(*checkpoints, "model_1.safetensors", atol=1e-3, rtol=1e-3)


def test_two_accumulated_batches_equal_one_of_twice_the_size(mels, tmp_path):
    settings = {"max_train_steps": 4, "report_to": "none", "eval_steps": 0, "learning_rate": 1e-3}
    (tmp_path / "parts").mkdir()
    parts = run(mels, tmp_path / "parts", per_device_train_batch_size=2, gradient_accumulation_steps=2, **settings)
    whole = run(mels, tmp_path, per_device_train_batch_size=4, **settings)
    assert validation(parts) == pytest.approx(validation(whole), rel=1e-4, abs=1e-4)


def test_codebook_can_learn_by_its_gradient(mels, tmp_path):
    settings = {"report_to": "none", "eval_steps": 0, "codebook_learning": "gradient"}
    start = run(mels, tmp_path, max_train_steps=1, learning_rate=0, **settings)
    (tmp_path / "trained").mkdir()
    trained = run(mels, tmp_path / "trained", max_train_steps=2, **settings)
    first, second = (MelVQModel.from_pretrained(folder).quantizer.codebook.weight for folder in (start, trained))
    assert first.abs().max() <= 1 / len(first)  # no k-means start
    assert not torch.equal(first, second)


def test_training_goes_on_from_given_weights(trained, mels, tmp_path):
    settings = {"learning_rate": 0, "codebook_decay": 1.0, "report_to": "none", "eval_steps": 0}
    same = run(mels, tmp_path, max_train_steps=1, init_from=trained, **settings)
    assert_same_weights(same, trained, "model.safetensors")


def test_frozen_encoder_keeps_the_codes_while_the_decoder_learns(trained, mels, tmp_path):
    output = run(mels, tmp_path, max_train_steps=2, init_from=trained, freeze_encoder=True, report_to="none")
    before, after = (MelVQModel.from_pretrained(folder).state_dict() for folder in (trained, output))
    changed = {name.split(".")[0] for name, weight in before.items() if not torch.equal(weight, after[name])}
    assert changed == {"post_quantization", "decoder"}


def test_frozen_encoder_needs_one_to_keep(mels, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(mels, tmp_path, max_train_steps=1, freeze_encoder=True)
    assert "init_from" in capsys.readouterr().err


def test_unknown_codebook_learning_is_refused(mels, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(mels, tmp_path, max_train_steps=1, codebook_learning="magic")
    assert "codebook_learning" in capsys.readouterr().err


def test_crops_too_small_for_the_discriminator_are_refused(mels, tmp_path):
    with pytest.raises(SystemExit, match="discriminator_weight.*crop_frames"):
        run(mels, tmp_path, max_train_steps=1, crop_frames=16, discriminator_weight=1.0)


@pytest.mark.parametrize("crop_frames", [30, 64])
def test_crops_that_do_not_fit_are_refused(mels, tmp_path, crop_frames):
    with pytest.raises(SystemExit, match="crop_frames"):
        run(mels, tmp_path, max_train_steps=1, crop_frames=crop_frames)


def test_compiling_and_adaptive_weight_are_refused_together(mels, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(mels, tmp_path, max_train_steps=1, torch_compile=True, discriminator_weight=1.0)
    assert "adaptive_weight" in capsys.readouterr().err


def test_perceptual_loss_takes_part(mels, tmp_path):
    torch.manual_seed(0)
    save_classifier(ClassifierEnsemble(["a"], 1), tmp_path / "classifier.safetensors")
    settings = {"max_train_steps": 2, "report_to": "none", "eval_steps": 0}
    (tmp_path / "plain").mkdir()
    plain = run(mels, tmp_path / "plain", **settings)
    other = run(mels, tmp_path, perceptual_model=str(tmp_path / "classifier.safetensors"), **settings)
    first, second = (MelVQModel.from_pretrained(folder).decoder.conv_out.weight for folder in (plain, other))
    assert not torch.equal(first, second)
