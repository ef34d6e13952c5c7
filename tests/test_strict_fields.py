"""Is a misspelled name of a config's field noticed, and are files of other versions still read?"""

import json
import logging

import pytest
from transformers import AutoConfig, PreTrainedConfig
from transformers.utils.logging import get_logger

from melspec_gpt.configuration import MelGANConfig, MelGPTConfig, MelGPTVAEConfig, MelVQConfig

CONFIG_CLASSES = [MelGANConfig, MelGPTConfig, MelGPTVAEConfig, MelVQConfig]
MISSPELLED = {
    MelGANConfig: ("base_chanels", "base_channels"),
    MelGPTConfig: ("hiden_size", "hidden_size"),
    MelGPTVAEConfig: ("latent_sise", "latent_size"),
    MelVQConfig: ("codebok_size", "codebook_size"),
}


def saved_config(folder, config: PreTrainedConfig, changes: dict | None = None, removed: tuple[str, ...] = ()) -> dict:
    """Saves a config, changes the file, and returns what it holds."""
    config.save_pretrained(folder)
    path = folder / "config.json"
    fields = json.loads(path.read_text()) | (changes or {})
    path.write_text(json.dumps({name: value for name, value in fields.items() if name not in removed}))
    return fields


@pytest.mark.parametrize("config_class", CONFIG_CLASSES)
def test_a_misspelled_field_is_an_error_that_names_the_nearest(config_class):
    wrong, right = MISSPELLED[config_class]
    with pytest.raises(ValueError, match=f"no field '{wrong}'; did you mean '{right}'"):
        config_class(**{wrong: 64})


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_misspelled_field_of_a_sub_config_is_an_error(part):
    with pytest.raises(ValueError, match="hiden_size"):
        MelGPTVAEConfig(**{part: {"hiden_size": 64}})


def test_a_name_unlike_any_field_is_an_error_that_lists_them():
    with pytest.raises(ValueError, match="known are .*attention_dropout.*sampling_rate"):
        MelGPTConfig(zzz=1)


def test_generation_settings_are_sent_to_the_generation_config():
    with pytest.raises(ValueError, match="'top_k'.*generation config"):
        MelGPTConfig(top_k=10)


@pytest.mark.parametrize("config_class", CONFIG_CLASSES)
def test_names_of_the_library_are_taken(config_class):
    names = {"attn_implementation": "eager", "auto_map": {}, "torch_dtype": "float16", "tie_word_embeddings": False}
    config = config_class(architectures=["Any"], transformers_version="4.0.0", _name_or_path="here", **names)
    assert config._attn_implementation == "eager"
    assert str(config.dtype) == "torch.float16"


@pytest.mark.parametrize("config_class", CONFIG_CLASSES)
def test_a_config_can_be_made_of_its_dictionary(config_class):
    fields = config_class().to_dict()
    assert config_class(**fields).to_dict() == fields


@pytest.mark.parametrize("config_class", CONFIG_CLASSES)
def test_a_file_of_another_version_is_read_with_a_warning(tmp_path, caplog, config_class):
    saved_config(tmp_path, config_class(), {"field_of_the_future": 1})
    logger = get_logger("melspec_gpt.configuration.strict_fields")
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.WARNING):
        config = AutoConfig.from_pretrained(tmp_path)
    logger.removeHandler(caplog.handler)
    assert isinstance(config, config_class)
    assert "field_of_the_future" in caplog.text


def test_a_sub_config_in_a_file_of_another_version_is_read(tmp_path):
    fields = saved_config(tmp_path, MelGPTVAEConfig())
    fields["decoder"]["field_of_the_future"] = 1
    (tmp_path / "config.json").write_text(json.dumps(fields))
    assert AutoConfig.from_pretrained(tmp_path).decoder.hidden_size == fields["decoder"]["hidden_size"]


def test_a_file_written_by_hand_is_held_to_the_fields(tmp_path):
    saved_config(tmp_path, MelGPTConfig(), {"hiden_size": 64}, removed=("transformers_version",))
    with pytest.raises(ValueError, match="did you mean 'hidden_size'"):
        AutoConfig.from_pretrained(tmp_path)


def test_a_misspelled_override_of_a_saved_config_is_an_error(tmp_path):
    saved_config(tmp_path, MelGPTConfig())
    assert MelGPTConfig.from_pretrained(tmp_path, embedding_dropout=0.1).embedding_dropout == 0.1
    with pytest.raises(ValueError, match="did you mean 'embedding_dropout'"):
        MelGPTConfig.from_pretrained(tmp_path, embeding_dropout=0.1)


def test_arguments_for_others_are_left_alone(tmp_path):
    saved_config(tmp_path, MelGPTConfig())
    config, unused = AutoConfig.from_pretrained(tmp_path, use_fast=False, return_unused_kwargs=True)
    assert unused == {"use_fast": False}
    assert AutoConfig.from_pretrained(tmp_path, use_fast=False).to_dict() == config.to_dict()


@pytest.mark.parametrize("config_class", CONFIG_CLASSES)
def test_a_config_of_another_type_is_an_error_that_names_both(tmp_path, config_class):
    other = MelGANConfig if config_class is MelGPTConfig else MelGPTConfig
    saved_config(tmp_path, other())
    message = f"'{other.model_type}', but {config_class.__name__} is for '{config_class.model_type}'.*audio_tokenizer"
    with pytest.raises(ValueError, match=message):
        config_class.from_pretrained(tmp_path)


def test_a_part_of_a_config_is_found_in_the_whole(tmp_path):
    saved_config(tmp_path, MelGPTVAEConfig(encoder={"hidden_size": 64}))
    assert MelGPTConfig.from_pretrained(tmp_path).hidden_size == 64


def test_tuples_are_stored_as_lists(tmp_path):
    config = MelVQConfig(channel_multipliers=(1, 2), attention_levels=(1,), vocoder={"upsample_ratios": (16, 16)})
    config.save_pretrained(tmp_path)
    loaded = MelVQConfig.from_pretrained(tmp_path, attention_levels=(0, 1))
    assert config.channel_multipliers == [1, 2]
    assert config.attention_levels == [1]
    assert config.vocoder.upsample_ratios == [16, 16]
    assert loaded.attention_levels == [0, 1]
    assert loaded.to_dict() == config.to_dict() | {"attention_levels": [0, 1]}
