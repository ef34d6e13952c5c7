"""Recipes, overrides and model presets: what is accepted, what is refused, and in which words."""

import json

import pytest
import torch

from melspec_gpt.configuration.configuration_mel_gpt import MelGPTConfig
from melspec_gpt.configuration.configuration_mel_gpt_vae import MelGPTVAEConfig
from melspec_gpt.configuration.configuration_mel_vq import MelVQConfig
from melspec_gpt.configuration.configuration_melgan import MelGANConfig
from melspec_gpt.modeling.modeling_mel_gpt_vae import MelGPTVAEModel
from melspec_gpt.training.arguments import RunArguments, parse_arguments
from melspec_gpt.training.model_presets import PRESETS_FOLDER, load_model_config

REQUIRED = {"dataset_path": "data", "output_dir": "out", "model_config": "tiny", "max_train_steps": 10}
CONFIG_CLASSES = {config.model_type: config for config in (MelVQConfig, MelGPTConfig, MelGPTVAEConfig, MelGANConfig)}


@pytest.fixture
def recipe(tmp_path):
    def write(**settings):
        path = tmp_path / "recipe.json"
        path.write_text(json.dumps(REQUIRED | settings))
        return str(path)

    return write


def test_command_line_wins_over_recipe_and_recipe_over_defaults(recipe):
    path = recipe(learning_rate=0.5, seed=3)
    arguments = parse_arguments(RunArguments, [path, "--seed", "7", "--load_best_model_at_end"])
    assert (arguments.learning_rate, arguments.seed, arguments.load_best_model_at_end) == (0.5, 7, True)
    assert arguments.weight_decay == RunArguments(**REQUIRED).weight_decay


def test_command_line_suffices_without_a_recipe():
    argv = [text for name, value in REQUIRED.items() for text in (f"--{name}", str(value))]
    arguments = parse_arguments(RunArguments, [*argv, "--model_overrides", '{"hidden_size": 8}'])
    assert arguments == RunArguments(**REQUIRED, model_overrides={"hidden_size": 8})


@pytest.mark.parametrize(("name", "value"), [("max_train_minutes", 40), ("model_overrides", {"hidden_size": 8})])
def test_null_takes_back_what_a_recipe_sets(recipe, name, value):
    assert getattr(parse_arguments(RunArguments, [recipe(**{name: value}), f"--{name}", "null"]), name) is None


@pytest.mark.parametrize(
    ("settings", "argv", "words"),
    [
        ({"learning_rat": 1.0}, [], ["'learning_rat'", "did you mean learning_rate?"]),
        ({}, ["--warmup_step", "5"], ["--warmup_step", "did you mean --warmup_steps?"]),
        ({"max_train_steps": 10.5}, [], ["`max_train_steps` is 10.5", "int"]),
        ({"learning_rate": "fast"}, [], ["`learning_rate` is 'fast'", "float"]),
        ({"seed": True}, [], ["`seed` is True", "int"]),
        ({"output_dir": None}, [], ["`output_dir` is None", "str"]),
        ({}, ["--seed", "one"], ["--seed", "one"]),
        ({}, ["--seed", "null"], ["--seed", "null"]),
        ({}, ["--max_train_minutes", "long"], ["--max_train_minutes", "invalid float value: 'long'"]),
        ({}, ["--load_best_model_at_end", "maybe"], ["--load_best_model_at_end", "maybe"]),
        ({"per_device_train_batch_size": 0}, [], ["`per_device_train_batch_size` is 0", "1 or more"]),
        ({"lr_scheduler_type": "step"}, [], ["`lr_scheduler_type` is 'step'", "cosine"]),
        ({"lr_scheduler_type": "constant", "warmup_steps": 5}, [], ["constant_with_warmup"]),
        ({"learning_rate": float("inf")}, [], ["`learning_rate` is inf", "finite"]),
        ({"max_train_steps": None}, [], ["`num_train_epochs`", "`max_train_steps`", "`max_train_minutes`"]),
    ],
)
def test_wrong_settings_end_the_program_with_a_message(recipe, capsys, settings, argv, words):
    with pytest.raises(SystemExit) as stopped:
        parse_arguments(RunArguments, [recipe(**settings), *argv])
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert all(word in message for word in words), message


def test_home_is_found_in_recipes_and_options(recipe, monkeypatch):
    monkeypatch.setenv("HOME", "/somebody")
    arguments = parse_arguments(RunArguments, [recipe(output_dir="~/out"), "--dataset_path", "~/data"])
    assert (arguments.output_dir, arguments.dataset_path) == ("/somebody/out", "/somebody/data")


def test_recipe_may_begin_with_a_byte_order_mark_but_has_to_be_utf_8(tmp_path, capsys):
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(REQUIRED), encoding="utf-8-sig")
    assert parse_arguments(RunArguments, [str(path)]).output_dir == "out"
    path.write_bytes('{"output_dir": "drau\u00dfen"}'.encode("latin-1"))
    with pytest.raises(SystemExit):
        parse_arguments(RunArguments, [str(path)])
    assert f"{path} is not valid JSON" in capsys.readouterr().err


def test_missing_settings_are_named(capsys):
    with pytest.raises(SystemExit):
        parse_arguments(RunArguments, ["--output_dir", "out"])
    assert "--dataset_path, --model_config missing" in capsys.readouterr().err


def test_unknown_recipe_lists_the_known_ones(capsys):
    with pytest.raises(SystemExit):
        parse_arguments(RunArguments, ["gpt_mars"])
    assert "gpt_vas" in capsys.readouterr().err


def test_help_is_complete(capsys):
    with pytest.raises(SystemExit):
        parse_arguments(RunArguments, ["--help"])
    assert "--max_train_minutes" in capsys.readouterr().out


@pytest.mark.parametrize("file", sorted(PRESETS_FOLDER.glob("*.json")), ids=lambda file: file.stem)
def test_every_preset_is_a_valid_config(file):
    model_type, name = file.stem.split("-", 1)
    values = load_model_config(CONFIG_CLASSES[model_type], name).to_dict()
    for field, value in json.loads(file.read_text()).items():
        assert (values[field] | value if isinstance(value, dict) else value) == values[field]


def test_vas_presets_are_the_defaults_of_the_original():
    for config_class in CONFIG_CLASSES.values():
        assert load_model_config(config_class, "vas").to_dict() == config_class().to_dict()


@pytest.mark.parametrize(
    ("preset", "codebook_size", "parameters"),
    [
        ("vas", 128, 607_656_960),
        ("vggsound-medium", 1024, 610_409_472),
        ("vggsound-large", 1024, 1_424_669_440),
        ("vggsound-xl", 1024, 2_091_286_592),
    ],
)
def test_gpt_vae_presets_have_the_sizes_of_the_original(preset, codebook_size, parameters):
    shared = {"codebook_size": codebook_size}
    config = load_model_config(MelGPTVAEConfig, preset, encoder=shared, decoder=shared)
    with torch.device("meta"):
        model = MelGPTVAEModel(config)
    # Encoder and decoder have one embedding more, that of the null class.
    assert model.num_parameters() == parameters + 2 * config.decoder.hidden_size


def test_sub_configs_are_overridden_field_by_field():
    overrides = {"decoder": {"residual_dropout": 0.1}, "latent_size": 8}
    shared = {"codebook_size": 16, "num_codes": 10}
    config = load_model_config(MelGPTVAEConfig, "tiny", overrides, encoder=shared, decoder=shared)
    tiny = load_model_config(MelGPTVAEConfig, "tiny")
    assert (config.latent_size, config.decoder.residual_dropout, config.encoder.residual_dropout) == (8, 0.1, 0)
    assert config.decoder.hidden_size == tiny.decoder.hidden_size
    assert (config.encoder.num_codes, config.decoder.codebook_size) == (10, 16)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"decoder": {"hiden_size": 8}}, "MelGPTConfig has no field 'hiden_size'; did you mean hidden_size"),
        ({"decoder": {"num_codes": 8}}, r"\['decoder.num_codes'\].*follow from the data"),
    ],
)
def test_wrong_settings_of_sub_configs_are_refused(overrides, words):
    with pytest.raises(ValueError, match=words):
        load_model_config(MelGPTVAEConfig, "tiny", overrides, decoder={"num_codes": 10})


def test_saved_config_with_sub_configs_serves_as_model_config(tmp_path):
    load_model_config(MelGPTVAEConfig, "tiny", {"latent_size": 5}).save_pretrained(tmp_path)
    shared = {"num_codes": 10}
    config = load_model_config(MelGPTVAEConfig, str(tmp_path / "config.json"), encoder=shared, decoder=shared)
    assert (config.latent_size, config.num_codes, config.encoder.num_codes) == (5, 10, 10)


def test_overrides_and_facts_of_the_data_reach_the_config():
    id2label = {0: "dog", 1: "gun"}
    config = load_model_config(MelGPTConfig, "tiny", {"hidden_size": 64}, num_codes=130, id2label=id2label)
    assert (config.hidden_size, config.num_codes, config.id2label) == (64, 130, id2label)


def test_saved_config_serves_as_model_config(tmp_path):
    saved = MelGPTConfig(hidden_size=48, num_attention_heads=3, id2label={0: "a"})
    saved.save_pretrained(tmp_path)
    config = load_model_config(MelGPTConfig, str(tmp_path / "config.json"), num_codes=20, id2label={0: "b", 1: "c"})
    assert (config.hidden_size, config.num_codes, config.num_labels) == (48, 20, 2)


@pytest.mark.parametrize(
    ("name", "overrides", "words"),
    [
        ("huge", None, "huge.*esc10-small.*tiny.*vas"),
        ("tiny", {"hiden_size": 8}, "hiden_size.*did you mean hidden_size"),
        ("tiny", {"num_codes": 8}, "num_codes.*follow from the data"),
        ("tiny", {"hidden_size": 33}, "hidden_size"),
    ],
)
def test_wrong_model_settings_are_refused(name, overrides, words):
    with pytest.raises(ValueError, match=words):
        load_model_config(MelGPTConfig, name, overrides, num_codes=10)


def test_config_of_another_model_is_refused(tmp_path):
    MelVQConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="mel_vq.*expected 'mel_gpt'"):
        load_model_config(MelGPTConfig, str(tmp_path / "config.json"))


@pytest.mark.parametrize("overrides", [{"residual_dropout": "0.2"}, {"num_codes": "many"}, {"hidden_size": None}])
def test_overrides_of_a_wrong_type_are_named(overrides):
    with pytest.raises(ValueError, match=f"`model_overrides` .*{next(iter(overrides))}"):
        load_model_config(MelGPTConfig, "tiny", overrides)
