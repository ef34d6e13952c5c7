"""The shipped configurations of `accelerate launch`: what each of them starts."""

from pathlib import Path

import pytest
from accelerate.commands import launch

from melspec_gpt.modeling.modeling_mel_gpt import MelGPTForCausalLM
from melspec_gpt.modeling.modeling_mel_gpt_vae import MelGPTVAEModel
from melspec_gpt.training.arguments import RECIPES_FOLDER

FILES = sorted((RECIPES_FOLDER / "accelerate").glob("*.yaml"))


@pytest.fixture
def launched(monkeypatch):
    """What `accelerate launch` would start with a configuration: its launcher and its arguments."""
    found = {}
    for name in ("multi_gpu_launcher", "simple_launcher", "deepspeed_launcher", "tpu_launcher"):
        monkeypatch.setattr(
            launch, name, lambda arguments, name=name: found.update(launcher=name, arguments=arguments)
        )

    def launch_with(file: Path, *options: str):
        parser = launch.launch_command_parser()
        launch.launch_command(parser.parse_args(["--config_file", str(file), *options, "script.py"]))
        return found["launcher"], found["arguments"]

    return launch_with


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_configuration_starts_several_processes(launched, file):
    launcher, arguments = launched(file, "--num_processes", "4")
    assert launcher == "multi_gpu_launcher"
    assert arguments.num_processes == 4
    assert arguments.use_fsdp == (file.stem == "fsdp2")
    assert arguments.num_machines == (2 if file.stem == "multi_node" else 1)
    assert arguments.mixed_precision == ("no" if file.stem.startswith("cpu") else "bf16")


def test_sharded_blocks_are_those_of_the_models(launched):
    _, arguments = launched(RECIPES_FOLDER / "accelerate" / "fsdp2.yaml")
    assert int(arguments.fsdp_version) == 2
    for model_class in (MelGPTForCausalLM, MelGPTVAEModel):
        assert arguments.fsdp_transformer_layer_cls_to_wrap in model_class._no_split_modules


def test_all_configurations_are_there():
    assert {file.stem for file in FILES} == {"cpu_two_processes", "ddp_single_node", "fsdp2", "multi_node"}
