"""Does the GPT see only what it may see, learn from what it should learn from, and survive saving?"""

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.cache_utils import DynamicCache, StaticCache

from melspec_gpt.configuration.configuration_mel_gpt import MelGPTConfig
from melspec_gpt.modeling.modeling_mel_gpt import MelGPTForCausalLM
from melspec_gpt.modeling.modeling_mel_transformer import MelGPTModel

CODEBOOK_SIZE = 12
NUM_CODES = 10


def make_config(**kwargs) -> MelGPTConfig:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    dropouts = {"embedding_dropout": 0.0, "residual_dropout": 0.0, "attention_dropout": 0.0}
    vocabulary = {"codebook_size": CODEBOOK_SIZE, "num_codes": NUM_CODES, "num_labels": 3}
    return MelGPTConfig(**(sizes | dropouts | vocabulary | kwargs))


def make_model(model_class=MelGPTForCausalLM, **kwargs):
    """A model with weights large enough for every position to matter."""
    torch.manual_seed(0)
    model = model_class(make_config(**kwargs)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def sentences():
    torch.manual_seed(1)
    classes = torch.tensor([[CODEBOOK_SIZE], [CODEBOOK_SIZE + 2]])
    return torch.cat([classes, torch.randint(CODEBOOK_SIZE, (2, NUM_CODES))], dim=1)


def test_the_original_size_has_the_original_number_of_parameters():
    with torch.device("meta"):
        model = MelGPTForCausalLM(MelGPTConfig())
    null_class = model.config.hidden_size
    assert sum(parameter.numel() for parameter in model.parameters()) == 302_854_144 + null_class


def test_initial_weights():
    torch.manual_seed(0)
    model = MelGPTForCausalLM(make_config(hidden_size=64))
    assert not model.model.embed_positions.weight.any()
    assert not model.model.layers[0].self_attn.q_proj.bias.any()
    for weight in (model.model.embed_tokens.weight, model.model.layers[1].mlp.fc2.weight, model.lm_head.weight):
        assert 0.015 < weight.std() < 0.025


@torch.no_grad()
def test_the_future_is_masked(model, sentences):
    position = 5
    changed = sentences.clone()
    changed[:, position] = (changed[:, position] + 1) % CODEBOOK_SIZE
    before, after = model(sentences).logits, model(changed).logits
    assert torch.equal(before[:, :position], after[:, :position])
    assert not torch.allclose(before[:, position:, :CODEBOOK_SIZE], after[:, position:, :CODEBOOK_SIZE])


@torch.no_grad()
def test_a_bidirectional_trunk_sees_the_future(sentences):
    encoder = make_model(MelGPTModel, is_causal=False, num_labels=0)
    codes = sentences[:, 1:]
    changed = codes.clone()
    changed[:, -1] = (changed[:, -1] + 1) % CODEBOOK_SIZE
    before, after = encoder(codes), encoder(changed)
    assert not torch.allclose(before.last_hidden_state[:, 0], after.last_hidden_state[:, 0])
    assert before.past_key_values is None


@torch.no_grad()
@pytest.mark.parametrize("is_causal", [True, False])
@pytest.mark.parametrize("is_padded", [True, False])
def test_eager_attention_equals_sdpa(sentences, is_causal, is_padded):
    attention_mask = torch.ones_like(sentences)
    attention_mask[0, -4:] = 1 - int(is_padded)
    outputs = {}
    for implementation in ("eager", "sdpa"):
        trunk = make_model(MelGPTModel, is_causal=is_causal, max_position_embeddings=1 + NUM_CODES)
        trunk.set_attn_implementation(implementation)
        outputs[implementation] = trunk(sentences, attention_mask=attention_mask).last_hidden_state
    torch.testing.assert_close(outputs["eager"], outputs["sdpa"], atol=1e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("cache_class", [DynamicCache, StaticCache])
def test_steps_with_a_cache_equal_one_forward(model, sentences, cache_class):
    size = {"max_cache_len": sentences.shape[1]} if cache_class is StaticCache else {}
    cache = cache_class(config=model.config, **size)
    steps = [model(sentences[:, :4], past_key_values=cache).logits]
    steps += [model(sentences[:, [index]], past_key_values=cache).logits for index in range(4, sentences.shape[1])]
    torch.testing.assert_close(torch.cat(steps, dim=1), model(sentences).logits, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_logits_are_minus_infinity_outside_the_codebook(model, sentences):
    logits = model(sentences).logits
    assert logits.shape[-1] == model.config.vocab_size
    assert logits[..., :CODEBOOK_SIZE].isfinite().all()
    assert logits[..., CODEBOOK_SIZE:].isneginf().all()


@torch.no_grad()
def test_logits_to_keep(model, sentences):
    torch.testing.assert_close(model(sentences, logits_to_keep=2).logits, model(sentences).logits[:, -2:])


@torch.no_grad()
def test_the_class_token_is_never_a_target(model, sentences):
    labels = sentences.clone()
    labels[:, 0] = -100
    loss = model(sentences, labels=sentences).loss
    assert torch.equal(loss, model(sentences, labels=labels).loss)
    log_probabilities = model(sentences).logits[:, :-1].log_softmax(dim=-1)
    expected = -log_probabilities.gather(2, sentences[:, 1:, None]).mean()
    torch.testing.assert_close(loss, expected)


@torch.no_grad()
def test_ignored_labels_do_not_count(model, sentences):
    labels = sentences.clone()
    labels[1] = -100
    torch.testing.assert_close(model(sentences, labels=labels).loss, model(sentences[:1], labels=sentences[:1]).loss)


@pytest.mark.parametrize("label", [CODEBOOK_SIZE, -1])
def test_a_label_that_is_no_code_is_an_error(model, sentences, label):
    labels = sentences.clone()
    labels[0, 3] = label
    with pytest.raises(ValueError, match="`labels`"):
        model(sentences, labels=labels)


def test_a_sequence_beyond_the_positions_is_an_error(model, sentences):
    with pytest.raises(ValueError, match="max_position_embeddings"):
        model(torch.cat([sentences, sentences[:, :1]], dim=1))


def test_ids_and_embeddings_exclude_each_other(model, sentences):
    embeddings = model.get_input_embeddings()(sentences)
    with torch.no_grad():
        torch.testing.assert_close(model(inputs_embeds=embeddings).logits, model(sentences).logits)
    with pytest.raises(ValueError, match="inputs_embeds"):
        model(sentences, inputs_embeds=embeddings)


def test_a_bidirectional_model_cannot_generate():
    with pytest.raises(ValueError, match="`config.is_causal` is False.*GPT-VAE.*MelGPTVAEModel"):
        MelGPTForCausalLM(make_config(is_causal=False))


def gradients(model, sentences) -> list[torch.Tensor]:
    model.zero_grad()
    torch.manual_seed(2)
    model(sentences, labels=sentences).loss.backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


def test_gradient_checkpointing_gives_the_same_gradients(sentences):
    model = make_model(residual_dropout=0.2, attention_dropout=0.2).train()
    expected = gradients(model, sentences)
    model.activation_checkpointing_enable()
    for gradient, expected_gradient in zip(gradients(model, sentences), expected, strict=True):
        torch.testing.assert_close(gradient, expected_gradient)


@torch.no_grad()
@pytest.mark.parametrize("name", ["embedding_dropout", "residual_dropout", "attention_dropout"])
def test_each_dropout_acts_in_training_only(sentences, name):
    model = make_model(**{name: 0.5})
    expected = model(sentences).logits
    assert torch.equal(model(sentences).logits, expected)
    assert not torch.equal(model.train()(sentences).logits, expected)


@torch.no_grad()
def test_residual_dropout_covers_attention_and_feed_forward(sentences):
    model = make_model(residual_dropout=1 - 1e-9).train()
    trunk = model.model
    positions = torch.arange(sentences.shape[1])
    without_blocks = trunk.norm(trunk.embed_tokens(sentences) + trunk.embed_positions(positions))
    torch.testing.assert_close(trunk(sentences).last_hidden_state, without_blocks)


def test_save_and_load_are_bit_exact(tmp_path, model, sentences):
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    reloaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(reloaded) is MelGPTForCausalLM
    for name, parameter in reloaded.state_dict().items():
        assert torch.equal(parameter, model.state_dict()[name]), name
    with torch.no_grad():
        assert torch.equal(reloaded(sentences).logits, model(sentences).logits)


def test_the_trunk_loads_from_the_checkpoint_of_the_whole_model(tmp_path, model, sentences):
    model.save_pretrained(tmp_path)
    trunk = MelGPTModel.from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(trunk(sentences).last_hidden_state, model.model(sentences).last_hidden_state)


def test_loading_in_half_precision(tmp_path, model, sentences):
    model.save_pretrained(tmp_path)
    reloaded = MelGPTForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in reloaded.parameters()} == {torch.bfloat16}
    with torch.no_grad():
        loss = reloaded(sentences, labels=sentences).loss
        torch.testing.assert_close(loss, model(sentences, labels=sentences).loss, atol=0.1, rtol=0)
    assert reloaded.generate(sentences[:, :1], guidance_scale=2.0).shape == sentences.shape
