"""Pictures, sounds and codes that the GPT-VAE training logs."""

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_tokens import CODEBOOK_SIZE, NAMES, NUM_CODES, save_audio_tokenizer, write_dataset

from melspec_gpt.configuration.configuration_mel_gpt_vae import MelGPTVAEConfig
from melspec_gpt.modeling.modeling_mel_gpt_vae import MelGPTVAEModel
from melspec_gpt.training.built_dataset import load_built_dataset
from melspec_gpt.training.model_presets import load_model_config
from melspec_gpt.training.train_gpt_vae import main
from melspec_gpt.training.vae_media import INTERPOLATION_STEPS, attention_pictures


@pytest.mark.parametrize("overrides", ["{}", '{"class_conditioning": true}'])
def test_a_training_shows_codes_pictures_and_sounds(tmp_path, overrides):
    tokens = write_dataset(tmp_path / "tokens")
    audio_tokenizer = save_audio_tokenizer(tmp_path / "tokenizer")
    output_dir = tmp_path / "out"
    argv = ["--stage", "vae", "--dataset_path", tokens, "--audio_tokenizer", audio_tokenizer, "--model_config", "tiny"]
    argv += ["--output_dir", str(output_dir), "--max_train_steps", "1", "--num_importance_samples", "0"]
    main([*argv, "--model_overrides", overrides])
    events = EventAccumulator(str(output_dir / "logs"))
    events.Reload()
    names = ["originals_and_reconstructions", "encoder_attention", "decoder_attention", "interpolation"]
    assert set(events.Tags()["images"]) == {f"validation/{name}" for name in names}
    sounds = [f"{name}_{index}" for name in ("original", "reconstruction") for index in range(2)]
    sounds += [f"interpolation_{index}" for index in range(INTERPOLATION_STEPS)]
    assert set(events.Tags()["audio"]) == {f"validation/{name}" for name in sounds}
    (event,) = events.Tensors("validation/original_codes_0/text_summary")
    codes = load_built_dataset(tokens, ["codes"])["validation"][0]["codes"].tolist()
    assert event.tensor_proto.string_val[0].decode() == " ".join(map(str, codes))
    (picture,) = events.Images("validation/originals_and_reconstructions")
    assert (picture.width, picture.height) == (2 * 32, 2 * 80)


@pytest.mark.parametrize("classes", [[], NAMES])
def test_attention_shows_who_sees_whom(classes):
    torch.manual_seed(0)
    shared = {"codebook_size": CODEBOOK_SIZE, "num_codes": NUM_CODES}
    labels = {"id2label": dict(enumerate(classes))}
    config = load_model_config(
        MelGPTVAEConfig, "tiny", {"class_conditioning": bool(classes)}, encoder=shared, decoder=shared | labels
    )
    model = MelGPTVAEModel(config).eval()
    implementation = model.config._attn_implementation
    codes = torch.randint(CODEBOOK_SIZE, (1, NUM_CODES))
    with torch.no_grad():
        pictures = attention_pictures(model, codes, torch.tensor([1]) if classes else None)
    encoder, decoder = pictures["encoder_attention"], pictures["decoder_attention"]
    assert encoder.shape == (NUM_CODES, NUM_CODES)
    assert decoder.shape == (NUM_CODES - 1 + config.num_prefix_positions,) * 2
    assert (encoder > 0).all()
    assert torch.equal(decoder > 0, torch.ones_like(decoder).tril().bool())
    assert encoder.amax(1).tolist() == [1] * NUM_CODES
    parts = (model, model.encoder, model.decoder)
    assert {part.config._attn_implementation for part in parts} == {implementation} != {"eager"}
