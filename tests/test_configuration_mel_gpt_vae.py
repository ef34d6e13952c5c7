"""Does MelGPTVAEConfig fill in its parts, keep them consistent, and survive JSON?"""

import json

import pytest
from transformers import AutoConfig

from melspec_gpt.configuration.configuration_mel_gpt import MelGPTConfig
from melspec_gpt.configuration.configuration_mel_gpt_vae import MelGPTVAEConfig

CLASS_NAMES = {0: "Dog bark", 1: "Rain"}


def dropouts(config: MelGPTConfig) -> tuple[float, float, float]:
    return config.embedding_dropout, config.residual_dropout, config.attention_dropout


def test_defaults_are_those_of_the_original():
    config = MelGPTVAEConfig()
    for part in (config.encoder, config.decoder):
        assert (part.hidden_size, part.num_hidden_layers, part.num_attention_heads) == (1024, 24, 16)
        assert (part.codebook_size, part.num_codes, part.num_labels) == (128, 265, 0)
    assert (config.encoder.is_causal, config.decoder.is_causal) == (False, True)
    assert (config.encoder.max_position_embeddings, config.decoder.max_position_embeddings) == (265, 266)
    assert dropouts(config.encoder) == (0.0, 0.0, 0.0)
    assert dropouts(config.decoder) == (0.3, 0.3, 0.3)
    assert (config.latent_size, config.fixed_variance) == (1024, None)


def test_a_dict_wins_over_the_defaults():
    config = MelGPTVAEConfig(encoder={"attention_dropout": 0.1}, decoder={"residual_dropout": 0.2})
    assert dropouts(config.encoder) == (0.0, 0.0, 0.1)
    assert dropouts(config.decoder) == (0.3, 0.2, 0.3)


def test_the_callers_dict_is_left_alone():
    given = {"hidden_size": 32}
    MelGPTVAEConfig(encoder=given, decoder=given)
    assert given == {"hidden_size": 32}


@pytest.mark.parametrize("name", ["encoder", "decoder"])
@pytest.mark.parametrize("part_class", [dict, MelGPTConfig])
def test_what_one_part_says_of_the_codes_counts_for_the_other(name, part_class):
    values = {"codebook_size": 16, "num_codes": 20, "num_labels": 0, "is_causal": name == "decoder"}
    config = MelGPTVAEConfig(**{name: part_class(**values)})
    for part in (config.encoder, config.decoder):
        assert (part.codebook_size, part.num_codes) == (16, 20)
    assert (config.codebook_size, config.num_codes, config.vocab_size) == (16, 20, 17)


def test_the_hidden_code_and_the_placeholder_of_the_latent_are_the_null_classes():
    config = MelGPTVAEConfig(decoder={"codebook_size": 16, "id2label": CLASS_NAMES}, class_conditioning=True)
    assert config.hidden_code_id == 16
    assert config.bos_token_id == 16 + len(CLASS_NAMES)


def test_class_conditioning_takes_a_position_and_the_labels_of_the_decoder():
    config = MelGPTVAEConfig(decoder={"num_codes": 20, "id2label": CLASS_NAMES}, class_conditioning=True)
    assert config.num_prefix_positions == 2
    assert config.decoder.max_position_embeddings == 22
    assert config.encoder.max_position_embeddings == 20
    assert config.encoder.num_labels == 0
    assert config.id2label == CLASS_NAMES
    assert config.label2id == {"Dog bark": 0, "Rain": 1}
    assert MelGPTVAEConfig().num_prefix_positions == 1
    assert MelGPTVAEConfig(class_conditioning=True).num_labels == MelGPTConfig().num_labels


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"latent_size": 7, "fixed_variance": 0.5},
        {"class_conditioning": True, "decoder": {"num_labels": 2}},
        {"class_conditioning": True, "decoder": {"id2label": CLASS_NAMES, "num_codes": 20}},
        {"encoder": {"hidden_size": 32, "num_attention_heads": 4, "codebook_size": 16}},
    ],
)
def test_json_round_trip(tmp_path, values):
    config = MelGPTVAEConfig(**values)
    config.save_pretrained(tmp_path)
    reloaded = AutoConfig.from_pretrained(tmp_path)
    assert type(reloaded) is MelGPTVAEConfig
    assert reloaded.to_diff_dict() == config.to_diff_dict()
    assert (reloaded.num_labels, reloaded.vocab_size) == (config.num_labels, config.vocab_size)


def test_what_the_parts_hold_is_not_stored_twice():
    config = MelGPTVAEConfig(decoder={"id2label": CLASS_NAMES}, class_conditioning=True)
    stored = json.loads(config.to_json_string())
    assert not {"id2label", "label2id", "num_codes", "codebook_size", "vocab_size", "sampling_rate"} & set(stored)
    assert stored["decoder"]["id2label"] == {"0": "Dog bark", "1": "Rain"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"latent_size": 0}, "latent_size"),
        ({"fixed_variance": 0.0}, "fixed_variance"),
        ({"encoder": {"is_causal": True}}, "encoder.is_causal"),
        ({"decoder": {"is_causal": False}}, "decoder.is_causal"),
        ({"encoder": {"num_labels": 2}}, "encoder"),
        ({"decoder": {"num_labels": 2}}, "class_conditioning"),
        ({"decoder": {"num_labels": 0}, "class_conditioning": True}, "class_conditioning"),
        ({"encoder": {"num_codes": 10}, "decoder": {"num_codes": 20}}, "num_codes"),
        ({"encoder": {"codebook_size": 10}, "decoder": {"codebook_size": 20}}, "codebook_size"),
        ({"decoder": {"max_position_embeddings": 265}}, "decoder.max_position_embeddings"),
        ({"decoder": MelGPTConfig(), "class_conditioning": True}, "decoder.max_position_embeddings"),
        ({"decoder": {"hidden_size": 30, "num_attention_heads": 4}}, "hidden_size"),
        ({"id2label": CLASS_NAMES}, "id2label"),
        ({"num_labels": 3}, "num_labels"),
    ],
)
def test_a_contradiction_is_an_error_that_names_the_field(values, message):
    with pytest.raises(ValueError, match=f"`{message}`"):
        MelGPTVAEConfig(**values)
