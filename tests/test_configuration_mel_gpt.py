"""Does MelGPTConfig keep its sizes, labels and token ids consistent, also through JSON?"""

import json

import pytest

from melspec_gpt.configuration.configuration_mel_gpt import MelGPTConfig

CLASS_NAMES = {0: "Dog bark", 1: "Rain"}


def test_defaults_are_those_of_the_original():
    config = MelGPTConfig()
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (1024, 24, 16)
    assert (config.codebook_size, config.num_codes, config.num_labels) == (128, 265, 8)
    assert config.intermediate_size == 4 * 1024
    assert config.max_position_embeddings == 1 + 265
    assert (config.embedding_dropout, config.residual_dropout, config.attention_dropout) == (0.5, 0.5, 0.5)


def test_a_bidirectional_model_has_no_prefix_position():
    assert MelGPTConfig(is_causal=False).max_position_embeddings == 265


@pytest.mark.parametrize("num_labels", [0, 1, 2, 8])
def test_the_vocabulary_is_codes_labels_and_the_null_class(num_labels):
    config = MelGPTConfig(codebook_size=16, num_labels=num_labels)
    assert config.vocab_size == 16 + num_labels + 1
    assert config.bos_token_id == config.vocab_size - 1
    assert len(config.label2id) == num_labels


@pytest.mark.parametrize("num_labels", [0, 2, 8])
def test_json_round_trip_keeps_the_number_of_labels(tmp_path, num_labels):
    config = MelGPTConfig(codebook_size=16, num_labels=num_labels)
    config.save_pretrained(tmp_path)
    reloaded = MelGPTConfig.from_pretrained(tmp_path)
    assert reloaded.vocab_size == config.vocab_size
    assert reloaded.to_dict() == config.to_dict()


def test_class_names_come_back_with_integer_keys(tmp_path):
    MelGPTConfig(id2label=CLASS_NAMES).save_pretrained(tmp_path)
    reloaded = MelGPTConfig.from_pretrained(tmp_path)
    assert reloaded.id2label == CLASS_NAMES
    assert reloaded.label2id == {"Dog bark": 0, "Rain": 1}


def test_derived_ids_are_not_stored_twice():
    assert not {"vocab_size", "bos_token_id", "num_labels"} & set(json.loads(MelGPTConfig().to_json_string()))


@pytest.mark.parametrize("name", ["vocab_size", "bos_token_id"])
def test_a_derived_id_accepts_only_its_own_value(name):
    config = MelGPTConfig()
    config.update({name: getattr(config, name)})
    assert MelGPTConfig(**{name: getattr(config, name)}).to_dict() == config.to_dict()
    with pytest.raises(ValueError, match=name):
        config.update({name: 3})
    with pytest.raises(ValueError, match=name):
        MelGPTConfig(**{name: 3})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hidden_size": 30, "num_attention_heads": 4}, "hidden_size"),
        ({"num_codes": 0}, "num_codes"),
        ({"attention_dropout": 1.0}, "attention_dropout"),
        ({"embedding_dropout": -0.1}, "embedding_dropout"),
        ({"max_position_embeddings": 10}, "max_position_embeddings"),
        ({"initializer_range": 0.0}, "initializer_range"),
        ({"num_labels": -1}, "num_labels"),
        ({"num_labels": 3, "id2label": CLASS_NAMES}, "num_labels"),
        ({"id2label": {1: "Rain"}}, "id2label"),
        ({"id2label": {0: "Rain", 1: "Rain"}}, "id2label"),
        ({"id2label": {0: ""}}, "id2label"),
        ({"id2label": {0: "Rain"}, "label2id": {"Dog bark": 0}}, "label2id"),
    ],
)
def test_a_contradiction_is_an_error_that_names_the_field(values, message):
    with pytest.raises(ValueError, match=f"`{message}`"):
        MelGPTConfig(**values)
