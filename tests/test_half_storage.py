"""Weights stored as float16 that load as float32."""

import json

import pytest
import torch
from safetensors.torch import load_file

from melspec_gpt import MelGPTConfig, MelGPTForCausalLM
from melspec_gpt.training.half_storage import main, store_in_half


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    config = MelGPTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, codebook_size=8, num_codes=6)
    MelGPTForCausalLM(config).save_pretrained(tmp_path / "gpt")
    return tmp_path / "gpt"


def test_file_is_half_as_large_and_loads_as_float32(checkpoint):
    before = MelGPTForCausalLM.from_pretrained(checkpoint)
    size = (checkpoint / "model.safetensors").stat().st_size
    store_in_half(checkpoint)
    after = MelGPTForCausalLM.from_pretrained(checkpoint)
    assert (checkpoint / "model.safetensors").stat().st_size < 0.6 * size
    assert after.dtype == torch.float32
    for name, value in after.state_dict().items():
        torch.testing.assert_close(value, before.state_dict()[name].half().float(), atol=0, rtol=0)


def test_parts_in_subfolders_are_stored_too(checkpoint):
    MelGPTForCausalLM.from_pretrained(checkpoint).save_pretrained(checkpoint / "part")
    assert len(store_in_half(checkpoint)) == 2
    assert load_file(checkpoint / "part" / "model.safetensors")["lm_head.weight"].dtype == torch.float16


def test_too_large_a_weight_changes_nothing(checkpoint):
    model = MelGPTForCausalLM.from_pretrained(checkpoint)
    with torch.no_grad():
        model.lm_head.weight[0, 0] = 1e6
    model.save_pretrained(checkpoint)
    content = (checkpoint / "model.safetensors").read_bytes()
    with pytest.raises(ValueError, match="lm_head.weight"):
        store_in_half(checkpoint)
    assert (checkpoint / "model.safetensors").read_bytes() == content


def test_config_has_to_say_float32(checkpoint):
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    with pytest.raises(ValueError, match="bfloat16"):
        store_in_half(checkpoint)


def test_folder_without_weights_is_a_sentence(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(tmp_path)])
    assert "no .safetensors file" in capsys.readouterr().err
