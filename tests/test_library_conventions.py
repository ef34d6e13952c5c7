"""Do our models do what users of Transformers take for granted: shards, devices, precisions, export, streaming?"""

import copy
import json

import pytest
import torch
from transformers import AutoConfig, AutoModel, ContinuousBatchingConfig, StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from melspec_gpt.configuration import MelGANConfig, MelGPTConfig, MelGPTVAEConfig, MelVQConfig
from melspec_gpt.modeling.modeling_mel_gpt import MelGPTForCausalLM
from melspec_gpt.modeling.modeling_mel_gpt_vae import MelGPTVAEModel
from melspec_gpt.modeling.modeling_mel_transformer import MelGPTModel
from melspec_gpt.modeling.modeling_mel_vq import MelVQModel
from melspec_gpt.modeling.modeling_melgan import MelGANVocoder

CODEBOOK_SIZE = 12
NUM_CODES = 10
NUM_LAYERS = 2
GPT_SIZES = {
    "codebook_size": CODEBOOK_SIZE,
    "num_codes": NUM_CODES,
    "hidden_size": 32,
    "num_hidden_layers": NUM_LAYERS,
    "num_attention_heads": 4,
    "embedding_dropout": 0.0,
    "residual_dropout": 0.0,
    "attention_dropout": 0.0,
}
VQ_SIZES = {
    "num_mel_bins": 8,
    "num_frames": 16,
    "base_channels": 8,
    "channel_multipliers": [1, 2],
    "num_res_blocks": 1,
    "attention_levels": [1],
    "latent_channels": 8,
    "codebook_dim": 8,
    "codebook_size": CODEBOOK_SIZE,
    "norm_num_groups": 4,
}
VOCODER_SIZES = {"num_mel_bins": 8, "base_channels": 4, "upsample_ratios": [4, 2], "num_residual_layers": 2}


def make_config(model_class):
    configs = {
        MelGPTForCausalLM: lambda: MelGPTConfig(num_labels=3, **GPT_SIZES),
        MelGPTVAEModel: lambda: MelGPTVAEConfig(encoder=dict(GPT_SIZES), decoder=dict(GPT_SIZES), latent_size=16),
        MelVQModel: lambda: MelVQConfig(**VQ_SIZES),
        MelGANVocoder: lambda: MelGANConfig(**VOCODER_SIZES),
    }
    return configs[model_class]()


def make_inputs(model_class) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(CODEBOOK_SIZE, (2, NUM_CODES), generator=generator)
    if model_class is MelGPTForCausalLM:
        sentences = torch.cat([torch.tensor([[CODEBOOK_SIZE], [CODEBOOK_SIZE + 1]]), codes], dim=1)
        return {"input_ids": sentences, "labels": sentences}
    if model_class is MelGPTVAEModel:
        return {"input_ids": codes, "noise": torch.randn(2, 16, generator=generator)}
    return {"input_features": 2 * torch.rand(2, 8, 16, generator=generator) - 1}


def first_output(output) -> torch.Tensor:
    return output if isinstance(output, torch.Tensor) else output[0]


MODELS = [MelGPTForCausalLM, MelGPTVAEModel, MelVQModel, MelGANVocoder]
MODELS_WITH_ATTENTION = MODELS[:3]


@pytest.fixture(scope="module")
def models() -> dict:
    torch.manual_seed(0)
    return {model_class: model_class(make_config(model_class)).eval() for model_class in MODELS}


@pytest.fixture(scope="module")
def folders(models, tmp_path_factory) -> dict:
    """Every model, saved in shards."""
    saved = {}
    for model_class, model in models.items():
        saved[model_class] = tmp_path_factory.mktemp(model_class.__name__)
        model.save_pretrained(saved[model_class], max_shard_size="4KB")
    return saved


def assert_same_weights(model, expected):
    weights = model.state_dict()
    assert weights.keys() == expected.state_dict().keys()
    assert all(torch.equal(weights[name], value) for name, value in expected.state_dict().items())


@pytest.mark.parametrize("model_class", MODELS)
def test_shards_hold_the_whole_model(models, folders, model_class):
    assert len(list(folders[model_class].glob("model-*.safetensors"))) > 1
    assert_same_weights(model_class.from_pretrained(folders[model_class]), models[model_class])


@pytest.mark.parametrize("model_class", MODELS)
@pytest.mark.parametrize("device_map", ["cpu", "auto", {"": "cpu"}])
def test_a_device_map_is_followed(models, folders, model_class, device_map):
    model = model_class.from_pretrained(folders[model_class], device_map=device_map)
    assert_same_weights(model, models[model_class])
    inputs = make_inputs(model_class)
    torch.testing.assert_close(first_output(model(**inputs)), first_output(models[model_class](**inputs)))


@pytest.mark.parametrize("model_class", MODELS)
def test_a_precision_is_followed(folders, model_class):
    model = model_class.from_pretrained(folders[model_class], dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    inputs = make_inputs(model_class)
    inputs = {name: value.bfloat16() if value.is_floating_point() else value for name, value in inputs.items()}
    assert first_output(model(**inputs)).isfinite().all()


@pytest.mark.parametrize("model_class", MODELS)
def test_a_model_is_made_without_memory_for_its_weights(model_class):
    with torch.device("meta"):
        model = model_class(make_config(model_class))
    assert {value.device.type for value in model.state_dict().values()} == {"meta"}


@pytest.mark.parametrize("model_class", MODELS_WITH_ATTENTION)
def test_the_implementation_of_attention_can_be_chosen(models, folders, model_class):
    model = model_class.from_pretrained(folders[model_class], attn_implementation="eager")
    configs = {module.config._attn_implementation for module in model.modules() if hasattr(module, "config")}
    assert configs == {"eager"}
    inputs = make_inputs(model_class)
    torch.testing.assert_close(first_output(model(**inputs)), first_output(models[model_class](**inputs)))


def recorded(model_class, output) -> list[tuple[torch.Tensor, ...]]:
    """Pairs of hidden states and attentions of an output."""
    if model_class is MelGPTVAEModel:
        encoder = (output.encoder_hidden_states, output.encoder_attentions)
        return [encoder, (output.decoder_hidden_states, output.decoder_attentions)]
    return [(output.hidden_states, output.attentions)]


@pytest.mark.parametrize("model_class", MODELS_WITH_ATTENTION)
def test_hidden_states_and_attentions_come_on_request(folders, model_class):
    model = model_class.from_pretrained(folders[model_class], attn_implementation="eager").eval()
    inputs = make_inputs(model_class)
    for hidden_states, attentions in recorded(model_class, model(**inputs)):
        assert hidden_states is None
        assert attentions is None
    output = model(**inputs, output_hidden_states=True, output_attentions=True)
    for hidden_states, attentions in recorded(model_class, output):
        if model_class is not MelVQModel:
            assert len(hidden_states) == len(attentions) + 1 == NUM_LAYERS + 1
        for weights in attentions:
            torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:-1]))


def test_the_audio_tokenizer_records_every_level_and_every_attention(folders):
    model = MelVQModel.from_pretrained(folders[MelVQModel], attn_implementation="eager")
    output = model(**make_inputs(MelVQModel), output_hidden_states=True, output_attentions=True)
    # What enters the first level, and what leaves the two levels of the encoder and those of the decoder.
    assert [tuple(states.shape[-2:]) for states in output.hidden_states] == [(8, 16), (4, 8), (4, 8), (8, 16), (8, 16)]
    # One block with attention in the encoder, two in the decoder, and both middles.
    assert len(output.attentions) == 5


def gradients(model, inputs) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(**inputs).loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("model_class", MODELS_WITH_ATTENTION)
def test_gradient_checkpointing_gives_the_same_gradients(models, model_class):
    model, inputs = copy.deepcopy(models[model_class]).train(), make_inputs(model_class)
    expected = gradients(model, inputs)
    model.gradient_checkpointing_enable()
    for name, gradient in gradients(model, inputs).items():
        torch.testing.assert_close(gradient, expected[name], msg=name)


def make_trunk() -> MelGPTModel:
    return MelGPTModel(MelGPTConfig(num_labels=3, **GPT_SIZES))


@pytest.mark.parametrize("model_class", [MelGPTModel, MelGPTForCausalLM, MelGPTVAEModel])
def test_resizing_is_refused_with_the_reason(models, model_class):
    model = make_trunk() if model_class is MelGPTModel else models[model_class]
    weights = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match="`new_num_tokens`.*`codebook_size`"):
        model.resize_token_embeddings(100)
    with pytest.raises(ValueError, match="`pad_to_multiple_of`.*`codebook_size`"):
        model.resize_token_embeddings(pad_to_multiple_of=64)
    with pytest.raises(ValueError, match="`num_codes`"):
        model.resize_position_embeddings(100)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("model_class", [MelGPTModel, MelGPTForCausalLM, MelGPTVAEModel])
def test_resizing_to_the_size_there_is_does_nothing(models, model_class):
    model = make_trunk() if model_class is MelGPTModel else models[model_class]
    for size in (None, model.config.vocab_size):
        assert model.resize_token_embeddings(size) is model.get_input_embeddings()


@pytest.mark.parametrize("model_class", MODELS)
def test_the_forward_pass_can_be_exported(models, model_class):
    model, inputs = copy.deepcopy(models[model_class]).requires_grad_(False), make_inputs(model_class)
    program = torch.export.export(model, (), inputs, strict=False)
    torch.testing.assert_close(first_output(program.module()(**inputs)), first_output(model(**inputs)))


@pytest.mark.parametrize("model_class", MODELS)
def test_forward_and_backward_pass_compile_as_one_graph(models, model_class):
    model, inputs = copy.deepcopy(models[model_class]), make_inputs(model_class)
    results = []
    for forward in (model, torch.compile(model, fullgraph=True, backend="aot_eager")):
        output = first_output(forward(**inputs))
        gradients = torch.autograd.grad(output.square().mean(), list(model.parameters()), allow_unused=True)
        results.append((output, gradients))
    torch.testing.assert_close(*results)


class RecordingStreamer(BaseStreamer):
    """Keeps what it is sent."""

    def __init__(self):
        self.values = []
        self.has_ended = False

    def put(self, value):
        self.values.append(value)

    def end(self):
        self.has_ended = True


def test_a_streamer_gets_the_prompt_and_every_code(models):
    streamer = RecordingStreamer()
    prompts = make_inputs(MelGPTForCausalLM)["input_ids"][:, :3]
    sentences = models[MelGPTForCausalLM].generate(prompts, streamer=streamer, do_sample=False)
    assert torch.equal(streamer.values[0], prompts)
    assert torch.equal(torch.stack(streamer.values[1:], dim=1), sentences[:, 3:])
    assert streamer.has_ended


class StopAtLength(StoppingCriteria):
    def __call__(self, input_ids, scores, **kwargs):
        return torch.full(input_ids.shape[:1], input_ids.shape[1] >= 5)


def test_stopping_criteria_stop(models):
    criteria = StoppingCriteriaList([StopAtLength()])
    prompts = make_inputs(MelGPTForCausalLM)["input_ids"][:, :1]
    assert models[MelGPTForCausalLM].generate(prompts, stopping_criteria=criteria).shape == (2, 5)


def generate_batch(model, prompts: list[list[int]], **settings) -> list[list[int]]:
    """Codes that continuous batching writes, with a cache of a few pages instead of all memory there is."""
    generation_config = copy.deepcopy(model.generation_config)
    generation_config.update(do_sample=False, max_new_tokens=5, max_length=None, **settings)
    cache = ContinuousBatchingConfig(page_size=16, num_blocks=8, max_batch_tokens=32, max_requests_per_batch=4)
    outputs = model.generate_batch(
        inputs=prompts, generation_config=generation_config, continuous_batching_config=cache, progress_bar=False
    )
    return [output.generated_tokens for output in outputs.values()]


def test_continuous_batching_writes_what_generate_does(models):
    model = copy.deepcopy(models[MelGPTForCausalLM])
    prompts = [[CODEBOOK_SIZE], [CODEBOOK_SIZE + 1, 3]]
    expected = [model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=5)[0] for prompt in prompts]
    expected = [ids[len(prompt) :].tolist() for ids, prompt in zip(expected, prompts, strict=True)]
    assert generate_batch(model, prompts) == expected


def test_continuous_batching_refuses_guidance(models):
    with pytest.raises(ValueError, match="`guidance_scale`.*`generate_batch`"):
        generate_batch(copy.deepcopy(models[MelGPTForCausalLM]), [[CODEBOOK_SIZE]], guidance_scale=2.0)


@pytest.mark.parametrize("model_class", MODELS)
def test_a_config_survives_json(tmp_path, model_class):
    config = make_config(model_class)
    config.save_pretrained(tmp_path)
    reloaded = AutoConfig.from_pretrained(tmp_path)
    assert type(reloaded) is type(config)
    assert reloaded.to_dict() | {"_name_or_path": ""} == config.to_dict()
    assert type(config)(**json.loads(json.dumps(config.to_dict()))).to_dict() == config.to_dict()


@pytest.mark.parametrize(
    ("config_class", "numbers"),
    [
        (MelGPTConfig, {"embedding_dropout": 0, "residual_dropout": 0, "layer_norm_eps": 1, "initializer_range": 1}),
        (MelGPTVAEConfig, {"fixed_variance": 1}),
        (MelVQConfig, {"commitment_cost": 1, "dropout": 0, "min_frequency": 125, "max_frequency": 7600}),
    ],
)
def test_whole_numbers_do_for_floats(tmp_path, config_class, numbers):
    config_class(**numbers).save_pretrained(tmp_path)
    reloaded = AutoConfig.from_pretrained(tmp_path)
    assert {name: getattr(reloaded, name) for name in numbers} == numbers


@pytest.mark.parametrize("model_class", MODELS)
def test_every_model_is_loaded_by_its_config(models, folders, model_class):
    model = AutoModel.from_pretrained(folders[model_class])
    trunk = models[model_class].model if model_class is MelGPTForCausalLM else models[model_class]
    assert_same_weights(model, trunk)
