"""The GPT-VAE training: both stages end to end, the encoder of the first, noise, resuming, two processes."""

import json

import pytest
import torch
from clean_processes import run_on_two_processes
from tiny_tokens import CODEBOOK_SIZE, NAMES, NUM_CODES, save_audio_tokenizer, write_dataset

from melspec_gpt.configuration.configuration_mel_gpt_vae import MelGPTVAEConfig
from melspec_gpt.modeling.modeling_mel_gpt_vae import MelGPTVAEModel
from melspec_gpt.tokenization.processing_mel_gpt import MelGPTProcessor
from melspec_gpt.training import train_gpt_vae
from melspec_gpt.training.arguments import RECIPES_FOLDER, parse_arguments
from melspec_gpt.training.built_dataset import load_built_dataset
from melspec_gpt.training.encoder_weights import copy_encoder
from melspec_gpt.training.model_presets import load_model_config
from melspec_gpt.training.train_gpt_vae import GPTVAEArguments, main

RECIPES = [file.stem for file in sorted(RECIPES_FOLDER.glob("gpt_vae_*.json"))]


@pytest.fixture(scope="module")
def required(tmp_path_factory):
    """Arguments that every run needs, for a tiny model."""
    tokens = write_dataset(tmp_path_factory.mktemp("tokens"))
    audio_tokenizer = save_audio_tokenizer(tmp_path_factory.mktemp("tokenizer"))
    argv = ["--dataset_path", tokens, "--audio_tokenizer", audio_tokenizer, "--model_config", "tiny"]
    return [*argv, "--report_to", "none", "--num_importance_samples", "2", "--per_device_train_batch_size", "6"]


def run(required, output_dir, *argv):
    main([*required, "--output_dir", str(output_dir), *argv])
    return json.loads((output_dir / "training_summary.json").read_text())


@pytest.fixture(scope="module")
def autoencoder(required, tmp_path_factory):
    """Output folder of the first stage, and its summary."""
    output_dir = tmp_path_factory.mktemp("autoencoder")
    argv = ["--stage", "autoencoder", "--max_train_steps", "60", "--learning_rate", "0.01"]
    return output_dir, run(required, output_dir, *argv, "--checkpointing_steps", "60")


@pytest.fixture(scope="module")
def trained(required, autoencoder, tmp_path_factory):
    """Output folder of the second stage, and its summary."""
    output_dir = tmp_path_factory.mktemp("vae")
    argv = ["--stage", "vae", "--init_encoder_from", str(autoencoder[0]), "--max_train_steps", "40"]
    argv += ["--kl_start", "0", "--warm_up", "10", "--free_bits", "2", "--target_kl", "4", "--learning_rate", "0.01"]
    return output_dir, run(required, output_dir, *argv)


def test_autoencoder_learns_to_reconstruct_from_the_latent(autoencoder):
    validation = autoencoder[1]["validation"]
    assert validation["loss"] == validation["reconstruction_loss"]
    assert validation["reconstruction_nats_per_code"] < 0.1
    assert validation["random_latent_nats_per_code"] > 2 * validation["reconstruction_nats_per_code"]


def test_loss_of_a_vae_is_the_negative_elbo_whatever_the_weight_is(trained):
    validation = trained[1]["validation"]
    assert validation["loss"] == pytest.approx(validation["reconstruction_loss"] + validation["kl_loss"])
    assert validation["loss"] == pytest.approx(-validation["elbo"])
    assert validation["nats_per_code"] == pytest.approx(validation["loss"] / NUM_CODES)
    assert validation["nats_per_code"] < 0.5 * trained[1]["unigram_nats_per_code"]


def test_final_evaluation_repeats_the_validation_and_adds_the_likelihood(trained):
    _, summary = trained
    for name, value in summary["validation"].items():
        if name != "loss":
            assert summary["evaluation"][name] == pytest.approx(value, abs=1e-4), name
    assert summary["evaluation"]["importance_weighted_nll"] > 0


def test_final_folder_reconstructs_and_makes_sounds(required, autoencoder):
    folder, _ = autoencoder
    model = MelGPTVAEModel.from_pretrained(folder).eval()
    processor = MelGPTProcessor.from_pretrained(folder)
    assert processor.class_token is False
    assert processor.tokenizer.class_names == NAMES
    codes = load_built_dataset(required[1], ["codes"])["train"][: len(NAMES)]["codes"]
    reconstructed = model.reconstruct(codes)
    assert (reconstructed == codes).float().mean() > 0.8
    assert processor.batch_decode(reconstructed).shape == (3, 32 * 256)


def test_second_stage_starts_with_the_encoder_of_the_first_only(required, autoencoder, tmp_path):
    source, _ = autoencoder
    argv = ["--stage", "vae", "--max_train_steps", "1", "--learning_rate", "0"]
    first = MelGPTVAEModel.from_pretrained(source).state_dict()
    for checkpoint in (source, source / "checkpoints" / "checkpoint-60"):
        run(required, tmp_path / checkpoint.name, *argv, "--init_encoder_from", str(checkpoint))
        second = MelGPTVAEModel.from_pretrained(tmp_path / checkpoint.name).state_dict()
        same = {name for name in first if torch.equal(first[name], second[name])}
        assert {name for name in first if name.startswith("encoder")} <= same
        assert not any(name in same for name in ("decoder.embed_tokens.weight", "lm_head.weight"))


def test_second_stage_can_start_with_everything_of_the_first(required, autoencoder, tmp_path):
    argv = ["--stage", "vae", "--max_train_steps", "1", "--learning_rate", "0", "--keep_decoder", "true"]
    run(required, tmp_path / "vae", *argv, "--init_encoder_from", str(autoencoder[0]))
    first, second = (MelGPTVAEModel.from_pretrained(path).state_dict() for path in (autoencoder[0], tmp_path / "vae"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"encoder": {"hidden_size": 16}}, r"encoder\.embed_positions.weight is \(10, 32\).*makes it \(10, 16\)"),
        ({"encoder": {"num_hidden_layers": 1}}, "is .* there, but `model_config` makes it missing"),
        ({"encoder": {"num_hidden_layers": 3}}, "is missing there, but"),
        ({"encoder": {"num_attention_heads": 4}}, "2 attention heads, but `model_config` asks for 4"),
        ({"latent_size": 8}, r"encoder_head\.weight is \(32, 32\)"),
    ],
)
def test_encoder_of_other_sizes_is_refused(autoencoder, overrides, words):
    shared = {"codebook_size": CODEBOOK_SIZE, "num_codes": NUM_CODES}
    config = load_model_config(MelGPTVAEConfig, "tiny", overrides, encoder=shared, decoder=shared)
    with pytest.raises(ValueError, match=words):
        copy_encoder(MelGPTVAEModel(config), str(autoencoder[0]))


def test_folder_without_weights_is_refused(tmp_path):
    model = MelGPTVAEModel(load_model_config(MelGPTVAEConfig, "tiny"))
    with pytest.raises(ValueError, match="holds no model.safetensors"):
        copy_encoder(model, str(tmp_path))


def test_resumed_training_repeats_gaps_noise_and_latents(required, tmp_path):
    argv = ["--stage", "vae", "--max_train_steps", "4", "--encoder_mask_probability", "0.5", "--code_noise", "0.2"]
    argv += ["--kl_start", "0", "--warm_up", "3", "--checkpointing_steps", "2"]
    argv += ["--model_overrides", '{"decoder": {"residual_dropout": 0.1}}']
    run(required, tmp_path / "whole", *argv)
    checkpoint = str(tmp_path / "whole" / "checkpoints" / "checkpoint-2")
    run(required, tmp_path / "resumed", *argv, "--resume_from_checkpoint", checkpoint)
    whole, resumed = (MelGPTVAEModel.from_pretrained(tmp_path / name).state_dict() for name in ("whole", "resumed"))
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def spy_on_steps(monkeypatch):
    """Collects what training steps give to the model and what they report."""
    seen = []
    forward, step = MelGPTVAEModel.forward, train_gpt_vae.training_step

    def spying_forward(self, *args, **kwargs):
        if self.training:
            seen.append(kwargs)
        return forward(self, *args, **kwargs)

    def spying_step(loop, batch, **kwargs):
        metrics = step(loop, batch, **kwargs)
        seen[-1] |= {
            "batch": batch,
            "metrics": {name: torch.as_tensor(value).item() for name, value in metrics.items()},
        }
        return metrics

    monkeypatch.setattr(MelGPTVAEModel, "forward", spying_forward)
    monkeypatch.setattr(train_gpt_vae, "training_step", spying_step)
    return seen


def test_targets_are_the_true_codes_whatever_the_model_reads(required, tmp_path, monkeypatch):
    seen = spy_on_steps(monkeypatch)
    argv = ["--stage", "autoencoder", "--encoder_mask_probability", "1", "--code_noise", "1", "--learning_rate", "0"]
    run(required, tmp_path, *argv, "--max_train_steps", "2")
    model = MelGPTVAEModel.from_pretrained(tmp_path)
    for step in seen:
        codes = step["batch"]["codes"]
        hidden = step["encoder_input_ids"] != codes
        assert hidden.any(1).all()
        assert (step["encoder_input_ids"][hidden] == CODEBOOK_SIZE).all()
        assert (step["input_ids"] != codes).any(1).all()
        outputs = model(step["input_ids"], encoder_input_ids=step["encoder_input_ids"], noise=step["noise"])
        picked = outputs.logits.log_softmax(-1).gather(-1, codes.unsqueeze(-1))
        assert step["metrics"]["loss"] == pytest.approx(-picked.sum().item() / len(codes), abs=1e-4)
    assert not torch.equal(seen[0]["noise"], seen[1]["noise"])


def test_objective_has_the_free_bits_and_the_weight_of_the_step(required, tmp_path, monkeypatch):
    seen = spy_on_steps(monkeypatch)
    # Two steps in an epoch, so that the weight rises in steps of 1/8; none of the KL is above the target.
    argv = ["--stage", "vae", "--kl_start", "0", "--warm_up", "4", "--beta", "0.5", "--max_train_steps", "9"]
    run(required, tmp_path / "free", *argv, "--free_bits", "1", "--target_kl", "1000")
    for step, entry in enumerate(seen):
        metrics = entry["metrics"]
        assert metrics["kl_weight"] == pytest.approx(0.5 * min(1, (step + 1) / 8))
        assert metrics["counted_kl_loss"] == 0 < metrics["kl_loss"]
        assert metrics["loss"] == metrics["reconstruction_loss"]
    seen.clear()
    run(required, tmp_path / "full", *argv)
    for entry in seen:
        metrics = entry["metrics"]
        expected = metrics["reconstruction_loss"] + metrics["kl_weight"] * metrics["kl_loss"]
        assert metrics["loss"] == pytest.approx(expected, abs=1e-4)


def test_decoder_can_know_the_class(required, tmp_path):
    argv = ["--stage", "vae", "--max_train_steps", "2", "--model_overrides", '{"class_conditioning": true}']
    run(required, tmp_path, *argv)
    model = MelGPTVAEModel.from_pretrained(tmp_path).eval()
    assert list(model.config.decoder.id2label.values()) == NAMES
    assert model.generate(num_samples=2, class_labels=torch.tensor([0, 2])).shape == (2, NUM_CODES)


def test_fixed_variance_trains(required, tmp_path):
    argv = ["--stage", "vae", "--max_train_steps", "1", "--model_overrides", '{"fixed_variance": 0.25}']
    run(required, tmp_path, *argv)
    model = MelGPTVAEModel.from_pretrained(tmp_path).eval()
    log_variance = model.encode(torch.zeros(1, NUM_CODES, dtype=torch.long)).log_variance
    assert torch.allclose(log_variance.exp(), torch.tensor(0.25))


def test_training_without_validation_split(required, tmp_path):
    tokens = write_dataset(tmp_path / "tokens", splits=("train",))
    argv = ["--stage", "vae", "--max_train_steps", "1", "--dataset_path", tokens]
    summary = run(required, tmp_path / "out", *argv)
    assert summary["evaluation"] is None
    assert summary["validation"] == {}


TWO_PROCESSES = ["--stage", "vae", "--max_train_steps", "4", "--encoder_mask_probability", "0.5"]
TWO_PROCESSES += ["--code_noise", "0.2", "--free_bits", "3", "--target_kl", "0.05", "--checkpointing_steps", "0"]


def _train_on_two_processes(required, output_dir):
    main([*required, *TWO_PROCESSES, "--output_dir", str(output_dir), "--per_device_train_batch_size", "3"])


def test_two_processes_equal_one_with_twice_the_batch(required, tmp_path):
    one = run(required, tmp_path / "one", *TWO_PROCESSES, "--per_device_train_batch_size", "6")
    run_on_two_processes(_train_on_two_processes, required, tmp_path / "two")
    two = json.loads((tmp_path / "two" / "training_summary.json").read_text())
    assert (one["num_processes"], two["num_processes"]) == (1, 2)
    for name, value in one["validation"].items():
        assert two["validation"][name] == pytest.approx(value, abs=1e-3), name
    head, other_head = (MelGPTVAEModel.from_pretrained(tmp_path / name).lm_head.weight for name in ("one", "two"))
    torch.testing.assert_close(head, other_head, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--stage", "gan"], "`stage` is 'gan'"),
        (["--stage", "vae", "--beta", "0"], "give `stage` autoencoder"),
        (["--stage", "autoencoder", "--init_encoder_from", "x"], "`init_encoder_from` is for `stage` vae"),
        (["--stage", "vae", "--free_bits", "4"], "`free_bits` is 4"),
        (["--stage", "vae", "--free_bits", "2"], "`target_kl` is 0"),
        (["--stage", "vae", "--kl_start", "2"], "`kl_start` is 2.0"),
        ([], "--stage missing"),
    ],
)
def test_contradicting_arguments_are_refused(required, argv, words, capsys):
    with pytest.raises(SystemExit):
        parse_arguments(GPTVAEArguments, [*required, "--output_dir", "out", "--max_train_steps", "1", *argv])
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("stage", train_gpt_vae.STAGES)
def test_shipped_recipes_are_complete(name, stage):
    argv = [name, "--dataset_path", "tokens", "--audio_tokenizer", "tokenizer", "--output_dir", "out"]
    arguments = parse_arguments(GPTVAEArguments, [*argv, "--stage", stage])
    load_model_config(MelGPTVAEConfig, arguments.model_config, arguments.model_overrides)
