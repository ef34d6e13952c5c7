"""Fixtures of the tests of publishing: tiny checkpoints as trainings leave them, their exports, and a Hub."""

import json
from pathlib import Path

import pytest
import torch
from loopback_hub import TOKEN, loopback_hub

from melspec_gpt import (
    MelCodeTokenizer,
    MelFeatureExtractor,
    MelGPTConfig,
    MelGPTForCausalLM,
    MelGPTProcessor,
    MelGPTVAEConfig,
    MelGPTVAEModel,
    MelVQConfig,
    MelVQModel,
)
from melspec_gpt.push_to_hub import main

CLASS_NAMES = ["Dog bark", "gun"]
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "initializer_range": 0.5}
OWN_CARD = """---
license: cc-by-4.0
tags:
- my-tag
---

# Barks and guns

Made of my own recordings.

## Data and licence

Recorded in my garden.

## Evaluation

An old table.

## History

Second version.
"""
SUMMARY = {
    "steps": 1234,
    "epochs": 5.0,
    "seconds": 660.0,
    "num_processes": 1,
    "device": "cpu",
    "mixed_precision": "no",
    "validation_nats_per_code": 2.718,
    "unigram_nats_per_code": 4.321,
    "arguments": {"learning_rate": 0.003, "dataset_path": "/home/me/tokens", "model_config": "tiny", "seed": 7},
}


@pytest.fixture(scope="module")
def hub_folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("hub")


@pytest.fixture(scope="module")
def hub_processor() -> MelGPTProcessor:
    """For clips of half a second."""
    torch.manual_seed(0)
    extractor = MelFeatureExtractor.from_clip_seconds(0.5)
    config = MelVQConfig(
        num_frames=extractor.num_frames,
        base_channels=8,
        norm_num_groups=8,
        latent_channels=8,
        codebook_dim=8,
        num_res_blocks=1,
        codebook_size=32,
    )
    tokenizer = MelCodeTokenizer(config.codebook_size, CLASS_NAMES)
    return MelGPTProcessor(extractor, tokenizer, MelVQModel(config).eval())


@pytest.fixture(scope="module")
def gpt_model(hub_processor) -> MelGPTForCausalLM:
    torch.manual_seed(0)
    codec = hub_processor.audio_tokenizer.config
    sizes = {"codebook_size": codec.codebook_size, "num_codes": codec.num_codes, **SIZES}
    return MelGPTForCausalLM(MelGPTConfig(id2label=dict(enumerate(CLASS_NAMES)), **sizes)).eval()


@pytest.fixture(scope="module")
def gpt(hub_folder, hub_processor, gpt_model) -> Path:
    """As a training leaves it, with a card of its author."""
    checkpoint = hub_folder / "gpt"
    gpt_model.save_pretrained(checkpoint, save_code=False)
    hub_processor.save_pretrained(checkpoint, save_code=False)
    (checkpoint / "training_summary.json").write_text(json.dumps(SUMMARY))
    (checkpoint / "README.md").write_text(OWN_CARD)
    return checkpoint


def make_vae(checkpoint: Path, processor: MelGPTProcessor, class_names: list[str]) -> Path:
    """Shares the audio tokenizer of the GPT by reference."""
    torch.manual_seed(0)
    codec = processor.audio_tokenizer.config
    sizes = {"codebook_size": codec.codebook_size, "num_codes": codec.num_codes, **SIZES}
    labels = {"id2label": dict(enumerate(class_names))} if class_names else {}
    config = MelGPTVAEConfig(
        encoder=sizes, decoder=sizes | labels, latent_size=16, class_conditioning=bool(class_names)
    )
    MelGPTVAEModel(config).save_pretrained(checkpoint, save_code=False)
    MelGPTProcessor(
        processor.feature_extractor,
        MelCodeTokenizer(codec.codebook_size, class_names),
        processor.audio_tokenizer,
        class_token=False,
        codec_reference="../gpt/audio_tokenizer",
    ).save_pretrained(checkpoint, save_code=False)
    return checkpoint


@pytest.fixture(scope="module")
def vae(hub_folder, hub_processor, gpt) -> Path:
    return make_vae(hub_folder / "vae", hub_processor, class_names=[])


def export(checkpoint: Path, name: str, *options: str) -> Path:
    """The folder of a dry run."""
    target = checkpoint.parent / f"export of {name}"
    main([str(checkpoint), "--repo_id", f"user/{name}", "--output_dir", str(target), "--dry_run", *options])
    return target


@pytest.fixture(scope="module")
def gpt_export(gpt, hub) -> Path:
    num_requests = len(hub.requests)
    target = export(gpt, "gpt")
    assert len(hub.requests) == num_requests, "a dry run asked the Hub"
    return target


@pytest.fixture(scope="module")
def vae_export(vae) -> Path:
    return export(vae, "vae", "--license", "mit", "--dataset_name", "garden sounds")


@pytest.fixture(scope="module")
def tokenizer_export(gpt) -> Path:
    return export(gpt / "audio_tokenizer", "tokenizer")


@pytest.fixture(scope="module")
def hub(hub_folder):
    """A stand-in for the Hub, which this process talks to instead of the real one."""
    with loopback_hub(hub_folder / "cache") as server:
        yield server


def push(checkpoint: Path, repo_id: str, *options: str) -> None:
    main([str(checkpoint), "--repo_id", repo_id, "--token", TOKEN, *options])
