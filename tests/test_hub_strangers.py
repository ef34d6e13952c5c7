"""Whoever has only PyTorch and Transformers loads what was published and hears the same."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import stranger
import torch
from loopback_hub import TOKEN, LoopbackHub
from tiny_hub import CLASS_NAMES, export, make_vae, push
from transformers import AutoModel, AutoModelForCausalLM, AutoProcessor

from melspec_gpt import MelGPTForCausalLM, MelGPTProcessor, MelGPTVAEModel, MelVQModel

SHIPPED = Path(__file__).resolve().parent.parent / "checkpoints" / "esc10-small"


@pytest.fixture(scope="module")
def class_vae_export(hub_folder, hub_processor, gpt) -> Path:
    return export(make_vae(hub_folder / "class vae", hub_processor, CLASS_NAMES), "class-vae")


@pytest.fixture(scope="module")
def shipped_repository(hub, hub_folder):
    """The shipped checkpoint as `user/esc10-small` on the stand-in."""
    push(SHIPPED, "user/esc10-small", "--dataset_name", "ESC-10", "--output_dir", str(hub_folder / "shipped"))
    return hub.repositories["model", "user/esc10-small"]


def code_blocks(card: str) -> list[tuple[str, str]]:
    """Code blocks of a card: language and text."""
    blocks = re.findall(r"```(\w*)\n(.*?)```", card, flags=re.DOTALL)
    assert {language for language, _ in blocks} == {"bash", "python"}
    return blocks


def blocks_for_strangers(card: str) -> list[str]:
    return [text for language, text in code_blocks(card) if language == "python" and "import melspec_gpt" not in text]


@pytest.fixture(scope="module")
def shipped_card(shipped_repository) -> str:
    return shipped_repository.branches["main"]["README.md"].decode()


def environment(hub: LoopbackHub, folder: Path) -> dict[str, str]:
    """Of a process that knows the stand-in only, and nothing from before."""
    binaries = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "PATH": binaries}
    return {**os.environ, **settings, "HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


@pytest.fixture(scope="module")
def heard_by_stranger(
    hub_folder, hub, gpt_export, vae_export, class_vae_export, tokenizer_export, gpt_model, hub_processor, shipped_card
):
    """What a process hears that does not have this package; it also runs the code in the cards that is for it."""
    gpt_model.push_to_hub("user/by-hand", token=TOKEN)
    hub_processor.push_to_hub("user/by-hand", token=TOKEN)
    work = hub_folder / "stranger"
    work.mkdir()
    cards = {"shipped": blocks_for_strangers(shipped_card)}
    for target, name in ((vae_export, "vae"), (class_vae_export, "class-vae"), (tokenizer_export, "tokenizer")):
        card = (target / "README.md").read_text()
        # These are not on the Hub: the folder stands in for the name. The later blocks build on the first one.
        cards[name] = ["\n".join(blocks_for_strangers(card)).replace(f"user/{name}", str(target))]
    job = {
        "gpt": {
            "gpt folder": [str(gpt_export), "gun"],
            "by hand": ["user/by-hand", "gun"],
        },
        "vae": {"vae folder": str(vae_export)},
        "tokenizer": {"tokenizer folder": str(tokenizer_export)},
        "cards": cards,
    }
    (work / "job.json").write_text(json.dumps(job))
    command = [sys.executable, "-I", stranger.__file__]
    result = subprocess.run(command, cwd=work, env=environment(hub, work), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return torch.load(work / "results.pt") | {"files": sorted((work / "shipped").glob("*.wav"))}


# What a stranger hears


def test_stranger_hears_the_same_gpt(heard_by_stranger, gpt):
    assert torch.equal(heard_by_stranger["gpt folder"], stranger.gpt_sounds(str(gpt), "gun"))


def test_stranger_gets_the_same_from_the_hub_by_the_card(heard_by_stranger):
    """The first code of the card of the shipped checkpoint, run with and without the package."""
    torch.manual_seed(0)
    model, processor = AutoModelForCausalLM.from_pretrained(SHIPPED), AutoProcessor.from_pretrained(SHIPPED)
    ids = model.generate(**processor(text=["Dog bark"] * 2), guidance_scale=3.0)
    written = [soundfile.read(path, dtype="float32")[0] for path in heard_by_stranger["files"]]
    assert torch.equal(heard_by_stranger["ids"], ids)
    torch.testing.assert_close(torch.tensor(np.stack(written)), processor.batch_decode(ids), atol=1e-4, rtol=0)


def test_stranger_hears_the_same_vae(heard_by_stranger, vae):
    assert torch.equal(heard_by_stranger["vae folder"], stranger.vae_sounds(str(vae)))


def test_stranger_gets_the_same_codes(heard_by_stranger, gpt):
    expected = stranger.tokenizer_sound(str(gpt / "audio_tokenizer"))
    for ours, theirs in zip(expected, heard_by_stranger["tokenizer folder"], strict=True):
        assert torch.equal(ours, theirs)


def test_stranger_loads_what_was_pushed_by_hand(heard_by_stranger, gpt):
    assert torch.equal(heard_by_stranger["by hand"], stranger.gpt_sounds(str(gpt), "gun"))


def test_with_the_package_nothing_has_to_be_trusted(gpt_export, vae_export, tokenizer_export):
    assert type(AutoModelForCausalLM.from_pretrained(gpt_export)) is MelGPTForCausalLM
    assert type(AutoProcessor.from_pretrained(gpt_export)) is MelGPTProcessor
    assert type(AutoModel.from_pretrained(vae_export)) is MelGPTVAEModel
    assert type(AutoModel.from_pretrained(gpt_export, subfolder="audio_tokenizer")) is MelVQModel
    assert type(AutoModel.from_pretrained(tokenizer_export, trust_remote_code=True)) is MelVQModel


# The card of the shipped checkpoint


def test_commands_in_the_card_run(shipped_card, hub, hub_folder, heard_by_stranger):
    """Those that need the package; the others were run by the stranger."""
    work = hub_folder / "with the package"
    work.mkdir()
    commands = "".join(text for language, text in code_blocks(shipped_card) if language == "bash")
    result = subprocess.run(
        ["bash", "-e", "-c", commands], cwd=work, env=environment(hub, work), capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert (work / "sounds" / "index.html").is_file()
    assert len(list(work.glob("sounds/Dog bark/*.wav"))) == 2


def test_python_in_the_card_for_those_with_the_package_runs(shipped_card):
    (block,) = [text for _, text in code_blocks(shipped_card) if "import melspec_gpt" in text]
    names = {}
    exec(compile(block, "card", "exec"), names)
    assert type(names["model"]) is MelGPTForCausalLM
    assert type(names["processor"]) is MelGPTProcessor


def test_weights_are_published_as_they_are_stored(shipped_repository):
    for name in ("model.safetensors", "audio_tokenizer/model.safetensors"):
        assert shipped_repository.branches["main"][name] == (SHIPPED / name).read_bytes()


def test_card_of_the_shipped_checkpoint_keeps_what_was_written(shipped_card):
    for text in ("Freesound recordings lean towards", "## Numbers on fold 4", "folds 1 to 3 of [ESC-10]"):
        assert shipped_card.count(text) == 1
    assert "checkpoints/esc10-small" not in shipped_card
