"""Does every part of the GPT-VAE see what it should and nothing else, and are its losses what they are called?"""

import pytest
import torch
from transformers import AutoModel

from melspec_gpt.configuration.configuration_mel_gpt_vae import MelGPTVAEConfig
from melspec_gpt.modeling.modeling_mel_gpt_vae import MelGPTVAEModel

CODEBOOK_SIZE = 12
NUM_CODES = 10
LATENT_SIZE = 6
NUM_LABELS = 3


def make_model(encoder=None, decoder=None, **kwargs) -> MelGPTVAEModel:
    """A model whose matrices are large enough for every input to matter, without dropout."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= dict.fromkeys(("embedding_dropout", "residual_dropout", "attention_dropout"), 0.0)
    sizes |= {"codebook_size": CODEBOOK_SIZE, "num_codes": NUM_CODES}
    labels = {"num_labels": NUM_LABELS if kwargs.get("class_conditioning") else 0}
    config = MelGPTVAEConfig(
        encoder=sizes | (encoder or {}),
        decoder=sizes | labels | (decoder or {}),
        **({"latent_size": LATENT_SIZE} | kwargs),
    )
    torch.manual_seed(0)
    model = MelGPTVAEModel(config).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.4)
    return model


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def conditional_model():
    return make_model(class_conditioning=True)


@pytest.fixture(scope="module")
def codes():
    torch.manual_seed(1)
    return torch.randint(CODEBOOK_SIZE, (3, NUM_CODES))


@pytest.fixture(scope="module")
def noise():
    torch.manual_seed(2)
    return torch.randn(3, LATENT_SIZE)


def with_another_code(codes: torch.Tensor, position: int) -> torch.Tensor:
    changed = codes.clone()
    changed[:, position] = (changed[:, position] + 1) % CODEBOOK_SIZE
    return changed


# Encoder


@torch.no_grad()
@pytest.mark.parametrize("position", [0, 4, NUM_CODES - 1])
def test_every_code_reaches_the_posterior(model, codes, position):
    before, after = model.encode(codes), model.encode(with_another_code(codes, position))
    assert not torch.allclose(before.mean, after.mean)
    assert not torch.allclose(before.log_variance, after.log_variance)


@torch.no_grad()
def test_only_the_last_position_goes_through_the_head(model, codes):
    inputs = []
    hook = model.encoder_head.register_forward_hook(lambda module, args, output: inputs.append(args[0]))
    model(codes)
    hook.remove()
    assert len(inputs) == 1
    assert torch.equal(inputs[0], model.encoder(codes).last_hidden_state[:, -1])


@torch.no_grad()
def test_latents_are_mean_plus_noise_times_standard_deviation(model, codes, noise):
    posterior = model.encode(codes, noise=noise)
    expected = posterior.mean + noise * (posterior.log_variance / 2).exp()
    torch.testing.assert_close(posterior.latents, expected)
    torch.testing.assert_close(model(codes, noise=noise).latents, expected)


@torch.no_grad()
def test_latents_are_drawn_in_evaluation_mode_too(model, codes):
    first, second = model(codes), model(codes)
    assert torch.equal(first.mean, second.mean)
    assert not torch.allclose(first.latents, second.latents)
    assert not torch.allclose(first.loss, second.loss)


@torch.no_grad()
def test_a_fixed_variance_is_the_variance(codes, noise):
    model = make_model(fixed_variance=0.25)
    posterior = model.encode(codes, noise=noise)
    assert model.encoder_head.out_features == LATENT_SIZE
    torch.testing.assert_close(posterior.log_variance.exp(), torch.full_like(posterior.mean, 0.25))
    torch.testing.assert_close(posterior.latents, posterior.mean + 0.5 * noise)


@torch.no_grad()
def test_the_encoder_reads_hidden_codes_while_the_decoder_predicts_all(model, codes, noise):
    hidden = codes.clone()
    hidden[:, 2:5] = model.config.hidden_code_id
    outputs = model(codes, encoder_input_ids=hidden, noise=noise)
    assert torch.equal(outputs.mean, model.encode(hidden).mean)
    assert not torch.allclose(outputs.mean, model.encode(codes).mean)
    expected = model(codes, latents=outputs.latents)
    torch.testing.assert_close(outputs.reconstruction_nats, expected.reconstruction_nats)


# Decoder


@torch.no_grad()
def test_each_row_of_logits_predicts_its_code_from_earlier_ones(model, codes, noise):
    position = 4
    before = model(codes, latents=noise).logits[..., :CODEBOOK_SIZE]
    after = model(with_another_code(codes, position), latents=noise).logits[..., :CODEBOOK_SIZE]
    assert before.shape[1] == NUM_CODES
    torch.testing.assert_close(before[:, : position + 1], after[:, : position + 1])
    for row in range(position + 1, NUM_CODES):
        assert not torch.allclose(before[:, row], after[:, row])


@torch.no_grad()
@pytest.mark.parametrize("latent_size", [LATENT_SIZE, 32])
def test_every_prediction_depends_on_the_latent(codes, latent_size):
    model = make_model(latent_size=latent_size)
    latents = torch.randn(3, latent_size)
    before, after = (model(codes, latents=values).logits[..., :CODEBOOK_SIZE] for values in (latents, -latents))
    assert isinstance(model.latent_projection, torch.nn.Identity) == (latent_size == 32)
    for row in range(NUM_CODES):
        assert not torch.allclose(before[:, row], after[:, row])


@torch.no_grad()
def test_logits_are_minus_infinity_outside_the_codebook(model, codes):
    logits = model(codes).logits
    assert logits.shape[-1] == model.config.vocab_size
    assert logits[..., :CODEBOOK_SIZE].isfinite().all()
    assert logits[..., CODEBOOK_SIZE:].isneginf().all()


@torch.no_grad()
def test_the_class_changes_every_prediction(conditional_model, codes, noise):
    labels = torch.tensor([0, 1, 2])
    before = conditional_model(codes, latents=noise, class_labels=labels).logits[..., :CODEBOOK_SIZE]
    after = conditional_model(codes, latents=noise, class_labels=(labels + 1) % NUM_LABELS).logits
    assert before.shape[1] == NUM_CODES
    for row in range(NUM_CODES):
        assert not torch.allclose(before[:, row], after[:, row, :CODEBOOK_SIZE])


# Loss


@torch.no_grad()
def test_reconstruction_is_the_sum_over_codes_and_the_mean_over_clips(model, codes, noise):
    outputs = model(codes, noise=noise)
    log_probabilities = outputs.logits.log_softmax(dim=-1).gather(2, codes[..., None]).squeeze(2)
    torch.testing.assert_close(outputs.reconstruction_nats, -log_probabilities.sum(dim=1))
    torch.testing.assert_close(outputs.reconstruction_loss, -log_probabilities.sum() / len(codes))
    torch.testing.assert_close(outputs.kl_loss, outputs.kl_nats.mean())


@torch.no_grad()
@pytest.mark.parametrize("kl_weight", [0.0, 0.3, 1.0])
def test_the_loss_weighs_the_divergence(model, codes, noise, kl_weight):
    outputs = model(codes, noise=noise, kl_weight=kl_weight)
    torch.testing.assert_close(outputs.loss, outputs.reconstruction_loss + kl_weight * outputs.kl_loss)


@torch.no_grad()
def test_given_latents_take_the_place_of_the_encoder(model, codes, noise):
    latents = model.encode(codes, noise=noise).latents
    calls = []
    hook = model.encoder.register_forward_hook(lambda *args: calls.append(args))
    outputs = model(codes, latents=latents)
    hook.remove()
    assert not calls
    assert outputs.mean is outputs.log_variance is outputs.kl_loss is outputs.kl_nats is None
    assert outputs.loss == outputs.reconstruction_loss
    torch.testing.assert_close(outputs.loss, model(codes, noise=noise).reconstruction_loss)


def gradients(model, codes, noise) -> dict[str, torch.Tensor]:
    model.zero_grad()
    torch.manual_seed(3)
    hidden = codes.clone()
    hidden[:, 0] = model.config.hidden_code_id
    model(codes, noise=noise, encoder_input_ids=hidden, kl_weight=0.5).loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def test_every_parameter_is_trained(model, codes, noise):
    for name, gradient in gradients(model, codes, noise).items():
        assert gradient.any(), name


def test_gradient_checkpointing_gives_the_same_gradients(codes, noise):
    model = make_model(decoder={"residual_dropout": 0.2, "attention_dropout": 0.2}).train()
    expected = gradients(model, codes, noise)
    model.activation_checkpointing_enable()
    assert all(part.gradient_checkpointing for part in (model.encoder, model.decoder))
    for name, gradient in gradients(model, codes, noise).items():
        torch.testing.assert_close(gradient, expected[name])


def test_initial_weights():
    config = MelGPTVAEConfig(
        encoder={"hidden_size": 64, "num_hidden_layers": 1}, decoder={"hidden_size": 64, "num_hidden_layers": 1}
    )
    torch.manual_seed(0)
    model = MelGPTVAEModel(config)
    for part in (model.encoder, model.decoder):
        assert not part.embed_positions.weight.any()
        assert 0.015 < part.embed_tokens.weight.std() < 0.025
    for layer in (model.encoder_head, model.latent_projection, model.lm_head):
        assert 0.015 < layer.weight.std() < 0.025


# Attention, saving, precision


@torch.no_grad()
def test_eager_attention_equals_sdpa(codes, noise):
    model = make_model()
    expected = model(codes, noise=noise)
    model.set_attn_implementation("eager")
    outputs = model(codes, noise=noise)
    torch.testing.assert_close(outputs.mean, expected.mean, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(outputs.logits, expected.logits, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("class_conditioning", [False, True])
def test_attentions_and_hidden_states_of_both_parts(codes, class_conditioning):
    model = make_model(class_conditioning=class_conditioning)
    model.set_attn_implementation("eager")
    labels = torch.tensor([0, 1, 2]) if class_conditioning else None
    outputs = model(codes, class_labels=labels, output_attentions=True, output_hidden_states=True)
    num_positions = NUM_CODES - 1 + model.config.num_prefix_positions
    assert len(outputs.encoder_attentions) == len(outputs.decoder_attentions) == 2
    assert outputs.encoder_attentions[0].shape == (3, 4, NUM_CODES, NUM_CODES)
    assert outputs.decoder_attentions[0].shape == (3, 4, num_positions, num_positions)
    assert (outputs.encoder_attentions[0] > 0).all()
    assert not outputs.decoder_attentions[0].triu(1).any()
    assert len(outputs.encoder_hidden_states) == len(outputs.decoder_hidden_states) == 3
    assert outputs.decoder_hidden_states[-1].shape == (3, num_positions, 32)
    assert model(codes, class_labels=labels).encoder_attentions is None


@torch.no_grad()
def test_outputs_as_a_tuple(model, codes, noise):
    outputs = model(codes, noise=noise, return_dict=False)
    assert isinstance(outputs, tuple)
    assert torch.equal(outputs[0], model(codes, noise=noise).loss)


@pytest.mark.parametrize("class_conditioning", [False, True])
def test_save_and_load_are_bit_exact(tmp_path, codes, noise, class_conditioning):
    model = make_model(class_conditioning=class_conditioning)
    labels = torch.tensor([0, 1, 2]) if class_conditioning else None
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    reloaded = AutoModel.from_pretrained(tmp_path)
    assert type(reloaded) is MelGPTVAEModel
    for name, parameter in reloaded.state_dict().items():
        assert torch.equal(parameter, model.state_dict()[name]), name
    with torch.no_grad():
        expected = model(codes, noise=noise, class_labels=labels).logits
        assert torch.equal(reloaded(codes, noise=noise, class_labels=labels).logits, expected)


@torch.no_grad()
def test_in_half_precision_posterior_and_losses_are_float32(tmp_path, model, codes, noise):
    model.save_pretrained(tmp_path)
    reloaded = AutoModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    outputs = reloaded(codes, noise=noise)
    for name in ("loss", "reconstruction_nats", "kl_nats", "mean", "log_variance", "latents"):
        assert outputs[name].dtype == torch.float32
    torch.testing.assert_close(outputs.loss, model(codes, noise=noise).loss, atol=0, rtol=0.05)
    assert reloaded.generate(num_samples=2).shape == (2, NUM_CODES)


# What is refused


@pytest.mark.parametrize("name", ["input_ids", "encoder_input_ids"])
@pytest.mark.parametrize("value", ["short", "flat", "negative", "too large"])
def test_what_is_no_whole_clip_is_an_error(model, codes, name, value):
    broken = {
        "short": codes[:, 1:],
        "flat": codes.flatten(),
        "negative": codes - CODEBOOK_SIZE,
        "too large": codes + model.config.hidden_code_id + 1,
    }[value]
    with pytest.raises(ValueError, match=f"`{name}`"):
        model(**({"input_ids": codes} | {name: broken}))


def test_a_hidden_code_cannot_be_predicted(model, codes):
    hidden = codes.clone()
    hidden[0, 0] = model.config.hidden_code_id
    with pytest.raises(ValueError, match="`input_ids`"):
        model(hidden)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise": torch.zeros(3, LATENT_SIZE + 1)}, "noise"),
        ({"latents": torch.zeros(2, LATENT_SIZE)}, "latents"),
        ({"latents": torch.zeros(3, LATENT_SIZE), "noise": torch.zeros(3, LATENT_SIZE)}, "latents"),
        ({"class_labels": torch.zeros(3, dtype=torch.long)}, "class_labels"),
        ({"decoder_input_ids": torch.zeros(3, 1, dtype=torch.long)}, "decoder_input_ids"),
        ({"input_ids": None}, "decoder_input_ids"),
        ({"input_ids": None, "decoder_input_ids": torch.zeros(3, 1, dtype=torch.long)}, "latents"),
    ],
)
def test_contradictory_arguments_are_an_error(model, codes, arguments, message):
    with pytest.raises(ValueError, match=f"`{message}`"):
        model(**({"input_ids": codes} | arguments))


@pytest.mark.parametrize("labels", [None, [0, 1], [0, 1, NUM_LABELS], [0, 1, -1]])
def test_labels_that_do_not_suit_are_an_error(conditional_model, codes, labels):
    with pytest.raises(ValueError, match="`class_labels`"):
        conditional_model(codes, class_labels=None if labels is None else torch.tensor(labels))
