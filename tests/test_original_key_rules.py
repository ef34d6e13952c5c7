"""Does every tensor of the original have its place, or a reason to be left behind?"""

import json
import re

import pytest
import torch

from melspec_gpt import MelVQConfig, MelVQModel
from melspec_gpt.modeling.original_key_rules import (
    DROP_RULES,
    gpt_name,
    melgan_name,
    transformer_name,
    vae_name,
    vq_name,
)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("model.embed_tokens.weight", "transformer.tok_emb.weight"),
        ("model.embed_positions.weight", "transformer.pos_emb"),
        ("model.layers.11.self_attn.o_proj.bias", "transformer.blocks.11.attn.proj.bias"),
        ("model.layers.0.mlp.fc2.weight", "transformer.blocks.0.mlp.2.weight"),
        ("model.norm.bias", "transformer.ln_f.bias"),
        ("lm_head.weight", "transformer.head.weight"),
    ],
)
def test_names_of_the_gpt(ours, theirs):
    assert gpt_name(ours) == theirs


def test_names_of_the_vae():
    assert vae_name("encoder_head.weight") == "encoder.transformer.head.weight"
    assert vae_name("lm_head.weight") == "decoder.transformer.head.weight"
    assert vae_name("encoder.embed_positions.weight") == "encoder.transformer.pos_emb"
    assert vae_name("decoder.layers.3.input_layernorm.weight") == "decoder.transformer.blocks.3.ln1.weight"


def test_numbers_of_layers_are_not_renamed():
    assert transformer_name("layers.2.mlp.fc1.bias") == "blocks.2.mlp.0.bias"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("conv_in.bias", "model.1.bias"),
        ("stages.0.upsample.parametrizations.weight.original0", "model.3.weight_g"),
        ("stages.3.upsample.parametrizations.weight.original1", "model.18.weight_v"),
        ("stages.1.blocks.2.dilated_conv.bias", "model.11.block.2.bias"),
        ("stages.2.blocks.0.pointwise_conv.parametrizations.weight.original1", "model.14.block.4.weight_v"),
        ("stages.3.blocks.2.shortcut.bias", "model.21.shortcut.bias"),
        ("conv_out.parametrizations.weight.original0", "model.24.weight_g"),
    ],
)
def test_names_of_the_vocoder(ours, theirs):
    assert melgan_name(ours, num_stages=4, num_residual_layers=3) == theirs


@pytest.mark.parametrize(("listing", "is_specvqgan"), [("seed_litvqvae_keys", False), ("specvqgan_keys", True)])
def test_every_tensor_of_the_full_size_audio_tokenizer_is_used_or_dropped(shared_data, listing, is_specvqgan):
    listings = json.loads((shared_data / "golden" / "specvqgan_keys.json").read_text())
    keys = set(listings[listing]) | (set(listings["specvqgan_lpaps_keys_to_drop"]) if is_specvqgan else set())
    with torch.device("meta"):
        model = MelVQModel(MelVQConfig())
    shapes = {vq_name(name, 5, is_specvqgan): list(weight.shape) for name, weight in model.state_dict().items()}
    dropped = {key for key in keys if any(re.fullmatch(rule.pattern, key) for rule in DROP_RULES["vq"])}
    assert shapes.keys() | dropped == keys
    assert not shapes.keys() & dropped
    assert all(listings[listing][name] == shape for name, shape in shapes.items())
