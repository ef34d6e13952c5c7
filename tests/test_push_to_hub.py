"""A checkpoint is exported and published; whoever has only PyTorch and Transformers loads it and hears the same."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import stranger
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value, load_dataset
from huggingface_hub import ModelCard, constants
from loopback_hub import TOKEN, LoopbackHub, loopback_hub
from transformers import AutoModel, AutoModelForCausalLM, AutoProcessor
from transformers.dynamic_module_utils import get_imports

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

SHIPPED = Path(__file__).resolve().parent.parent / "checkpoints" / "esc10-small"
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


# Checkpoints


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("hub")


@pytest.fixture(scope="module")
def processor() -> MelGPTProcessor:
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
def gpt_model(processor) -> MelGPTForCausalLM:
    torch.manual_seed(0)
    codec = processor.audio_tokenizer.config
    sizes = {"codebook_size": codec.codebook_size, "num_codes": codec.num_codes, **SIZES}
    return MelGPTForCausalLM(MelGPTConfig(id2label=dict(enumerate(CLASS_NAMES)), **sizes)).eval()


@pytest.fixture(scope="module")
def gpt(folder, processor, gpt_model) -> Path:
    """As a training leaves it, with a card of its author."""
    checkpoint = folder / "gpt"
    gpt_model.save_pretrained(checkpoint, save_code=False)
    processor.save_pretrained(checkpoint, save_code=False)
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
def vae(folder, processor, gpt) -> Path:
    return make_vae(folder / "vae", processor, class_names=[])


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
def class_vae_export(folder, processor, gpt) -> Path:
    return export(make_vae(folder / "class vae", processor, CLASS_NAMES), "class-vae")


@pytest.fixture(scope="module")
def tokenizer_export(gpt) -> Path:
    return export(gpt / "audio_tokenizer", "tokenizer")


# The Hub


@pytest.fixture(scope="module")
def hub(folder):
    """A stand-in for the Hub, which this process talks to instead of the real one."""
    with loopback_hub(folder / "cache") as server:
        yield server


def push(checkpoint: Path, repo_id: str, *options: str) -> None:
    main([str(checkpoint), "--repo_id", repo_id, "--token", TOKEN, *options])


@pytest.fixture(scope="module")
def shipped_repository(hub, folder):
    """The shipped checkpoint as `user/esc10-small` on the stand-in."""
    push(SHIPPED, "user/esc10-small", "--dataset_name", "ESC-10", "--output_dir", str(folder / "shipped"))
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
    folder, hub, gpt_export, vae_export, class_vae_export, tokenizer_export, gpt_model, processor, shipped_card
):
    """What a process hears that does not have this package; it also runs the code in the cards that is for it."""
    gpt_model.push_to_hub("user/by-hand", token=TOKEN)
    processor.push_to_hub("user/by-hand", token=TOKEN)
    work = folder / "stranger"
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


# What the export holds


def test_code_is_flat_and_whole(gpt_export, vae_export, tokenizer_export):
    for target in (gpt_export, vae_export, tokenizer_export):
        modules = {path.stem for path in target.glob("*.py")}
        for path in target.glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and node.level:
                    assert (node.level, node.module in modules) == (1, True), f"{path}, line {node.lineno}"


def test_code_needs_nothing_but_torch_and_transformers(gpt_export, vae_export):
    """What `from_pretrained` asks for before it runs the code; torch and transformers need the others themselves."""
    needed = {name for path in [*gpt_export.glob("*.py"), *vae_export.glob("*.py")] for name in get_imports(path)}
    assert needed - set(sys.stdlib_module_names) == {"huggingface_hub", "numpy", "torch", "transformers"}


def test_every_auto_class_is_named(gpt_export, vae_export, tokenizer_export):
    def auto_map(path: Path) -> set[str]:
        return set(json.loads(path.read_text())["auto_map"])

    gpt_classes = {"AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForTextToWaveform"}
    tokenizer_classes = {"AutoConfig", "AutoModel", "AutoModelForAudioTokenization"}
    assert auto_map(gpt_export / "config.json") == gpt_classes
    assert auto_map(vae_export / "config.json") == {"AutoConfig", "AutoModel"}
    assert auto_map(tokenizer_export / "config.json") == tokenizer_classes
    for target in (gpt_export, vae_export):
        assert auto_map(target / "audio_tokenizer" / "config.json") == tokenizer_classes
        assert auto_map(target / "processor_config.json") == {"AutoProcessor"}
        assert auto_map(target / "tokenizer_config.json") == {"AutoTokenizer"}
        nested = json.loads((target / "processor_config.json").read_text())["feature_extractor"]
        assert set(nested["auto_map"]) == {"AutoFeatureExtractor"}


def test_samples_can_be_heard_and_seen(gpt_export, vae_export, tokenizer_export):
    for target, num_clips in ((gpt_export, 2), (vae_export, 4), (tokenizer_export, 2)):
        paths = sorted((target / "samples").glob("*.wav"))
        assert len(paths) == num_clips
        assert all(soundfile.read(path)[0].std() > 1e-3 for path in paths)
        assert (target / "samples" / "mel_spectrograms.png").stat().st_size > 0
        assert " " not in "".join(path.name for path in paths)


def test_samples_are_linked_in_the_card(gpt_export):
    card = (gpt_export / "README.md").read_text()
    for link in re.findall(r'src="([^"]+)"', card) + re.findall(r"!\[.*?\]\((.+?)\)", card):
        assert (gpt_export / link).is_file()


def test_export_of_an_export_is_the_same(gpt_export, folder):
    again = folder / "again"
    main([str(gpt_export), "--repo_id", "user/gpt", "--output_dir", str(again), "--dry_run"])
    names = {path.relative_to(again) for path in again.rglob("*") if path.is_file()}
    assert names == {path.relative_to(gpt_export) for path in gpt_export.rglob("*") if path.is_file()}
    for name in names:
        assert (again / name).read_bytes() == (gpt_export / name).read_bytes(), name


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


def test_commands_in_the_card_run(shipped_card, hub, folder, heard_by_stranger):
    """Those that need the package; the others were run by the stranger."""
    work = folder / "with the package"
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


# Cards


def test_card_tells_the_truth_about_training_and_results(gpt_export):
    card = ModelCard.load(gpt_export / "README.md")
    assert "1234 steps (5.0 epochs) in 11 minutes on 1 process (cpu), float32" in card.text
    assert "| `learning_rate` | 0.003 |" in card.text
    assert "| nats per code, given the class | 2.718 |" in card.text
    assert "4.321" in card.text
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value) == ("nats_per_code", 2.718)
    assert card.data.pipeline_tag == "text-to-audio"


def test_card_says_nothing_of_the_machine(gpt_export):
    assert "/home/me" not in (gpt_export / "README.md").read_text()


def test_author_keeps_the_prose_and_the_files_give_the_facts(gpt_export):
    card = ModelCard.load(gpt_export / "README.md")
    for text in ("Made of my own recordings.", "Recorded in my garden.", "## History\n\nSecond version."):
        assert card.text.count(text) == 1
    assert "An old table." not in card.text
    assert "No licence is given" not in card.text
    assert "## Limits and bias" in card.text
    assert card.data.license == "cc-by-4.0"
    assert "my-tag" in card.data.tags
    assert "melspec_gpt" in card.data.tags


def test_card_without_an_author_has_every_section(vae_export):
    card = ModelCard.load(vae_export / "README.md")
    assert card.data.license == "mit"
    assert "Trained on garden sounds." in card.text
    assert "How it was trained is not recorded" in card.text
    assert "There are no measured numbers" in card.text
    assert "encoder.hidden_size" in card.text


def test_evaluation_file_is_what_the_card_quotes(gpt, folder):
    evaluated = folder / "evaluated"
    shutil.copytree(gpt, evaluated)
    metrics = {"nats_per_code": 1.25, "perplexity": 3.5, "something_new": 0.125}
    result = {"clips": 17, "split": "test", "metrics": metrics}
    (evaluated / "evaluation.json").write_text(json.dumps(result))
    card = ModelCard.load(export(evaluated, "evaluated") / "README.md")
    assert "| nats per code, given the class | 1.25 | 17 clips, split test |" in card.text
    assert "| something new | 0.125 |" in card.text
    assert "2.718" not in card.text
    assert {result.metric_type: result.metric_value for result in card.data.eval_results} == metrics


def test_broken_records_are_a_sentence(gpt, tmp_path):
    shutil.copytree(gpt, tmp_path / "gpt")
    arguments = [str(tmp_path / "gpt"), "--repo_id", "user/x", "--dry_run", "--output_dir", str(tmp_path / "out")]
    (tmp_path / "gpt" / "evaluation.json").write_text('{"metrics": {}}')
    with pytest.raises(SystemExit, match="evaluation.json has no clips, split"):
        main(arguments)
    (tmp_path / "gpt" / "evaluation.json").write_text("not JSON")
    with pytest.raises(SystemExit, match="evaluation.json is not valid JSON"):
        main(arguments)
    assert not (tmp_path / "out").exists()


# Uploads


def test_upload_that_was_cut_off_is_completed_by_another_call(gpt, hub):
    hub.uploads_left = 2
    with pytest.raises(SystemExit) as failure:
        push(gpt, "user/cut-off")
    assert "user/cut-off could not be uploaded: the connection to http://127.0.0.1" in str(failure.value.code)
    assert "Publish again when it is back" in str(failure.value.code)
    arrived = set(hub.large_files)
    assert hub.repositories["model", "user/cut-off"].branches["main"] == {}

    hub.uploads_left = None
    hub.start()
    hub.requests.clear()
    push(gpt, "user/cut-off")
    sent = {path.rpartition("/")[2] for method, path in hub.requests if method == "PUT"}
    assert not sent & arrived
    assert sent
    names = set(hub.repositories["model", "user/cut-off"].branches["main"])
    assert {"README.md", "model.safetensors", "audio_tokenizer/model.safetensors", "modeling_mel_gpt.py"} <= names

    hub.requests.clear()
    push(gpt, "user/cut-off")
    assert hub.count("PUT", ".") == hub.count("POST", "/commit/") == 0


def test_without_a_token_there_is_a_sentence(gpt, hub):
    with pytest.raises(SystemExit) as failure:
        main([str(gpt), "--repo_id", "user/private", "--private"])
    assert "user/private could not be created: the Hub answered 401: you are not logged in" in failure.value.code
    assert ("model", "user/private") not in hub.repositories


def test_private_repository_on_a_branch_with_a_message(gpt, hub):
    push(gpt, "user/secret", "--private", "--revision", "second", "--commit_message", "Two classes")
    repository = hub.repositories["model", "user/secret"]
    assert repository.private
    assert repository.branches["main"] == {}
    assert "config.json" in repository.branches["second"]
    with pytest.raises(OSError, match="user/secret"):
        MelGPTConfig.from_pretrained("user/secret", revision="second")
    assert MelGPTConfig.from_pretrained("user/secret", revision="second", token=TOKEN).num_labels == 2


def test_unreachable_hub_is_a_sentence(gpt, hub, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SystemExit, match="user/gpt could not be created: the connection to http://127.0.0.1:9 failed"):
        push(gpt, "user/gpt")


@pytest.mark.parametrize("repo_id", ["a/b/c", "user/na me", ""])
def test_impossible_repository_name_is_a_sentence(gpt, hub, repo_id):
    with pytest.raises(SystemExit, match="could not be created"):
        push(gpt, repo_id)


# Wrong use


def test_folder_without_a_model_is_a_sentence(tmp_path):
    with pytest.raises(SystemExit, match="is no folder of a model"):
        main([str(tmp_path), "--repo_id", "user/x", "--dry_run", "--output_dir", str(tmp_path / "out")])


def test_checkpoint_without_audio_tokenizer_is_a_sentence(gpt, tmp_path):
    shutil.copytree(gpt, tmp_path / "gpt", ignore=shutil.ignore_patterns("audio_tokenizer"))
    with pytest.raises(SystemExit, match="has no folder audio_tokenizer"):
        main([str(tmp_path / "gpt"), "--repo_id", "user/x", "--dry_run", "--output_dir", str(tmp_path / "out")])


def test_foreign_files_are_not_published(gpt, tmp_path):
    (tmp_path / "diary.txt").write_text("private")
    with pytest.raises(SystemExit, match="holds 1 files that are not part of the export, such as 'diary.txt'"):
        main([str(gpt), "--repo_id", "user/x", "--dry_run", "--output_dir", str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["diary.txt"]


def test_dry_run_needs_a_folder(gpt):
    with pytest.raises(SystemExit, match="`--output_dir`"):
        main([str(gpt), "--repo_id", "user/x", "--dry_run"])


def test_checkpoint_or_dataset_has_to_be_given(gpt, capsys):
    for arguments in ([], [str(gpt), "--dataset", str(gpt)]):
        with pytest.raises(SystemExit) as failure:
            main([*arguments, "--repo_id", "user/x"])
        assert failure.value.code == 2
        assert "give a checkpoint or --dataset" in capsys.readouterr().err


# Token datasets


@pytest.fixture(scope="module")
def tokens(folder, processor) -> Path:
    codec = processor.audio_tokenizer.config
    label, codes = ClassLabel(names=CLASS_NAMES), List(Value("uint8"), length=codec.num_codes)
    features = Features({"id": Value("string"), "label": label, "codes": codes})
    rows = [{"id": str(row), "label": row % 2, "codes": [row] * codec.num_codes} for row in range(5)]
    splits = {"train": rows[:4], "validation": rows[4:]}
    dataset = DatasetDict({name: Dataset.from_list(part, features=features) for name, part in splits.items()})
    dataset.save_to_disk(folder / "tokens")
    processor.feature_extractor.save_pretrained(folder / "tokens", save_code=False)
    report = {"rows": {"train": 4, "validation": 1}, "different_codes": {"train": 4, "validation": 1}}
    report |= {"codebook_size": codec.codebook_size, "num_codes": codec.num_codes, "num_views": 2}
    (folder / "tokens" / "build_report.json").write_text(json.dumps(report))
    return folder / "tokens"


def test_published_dataset_is_the_dataset(tokens, hub, tmp_path):
    arguments = ["--dataset", str(tokens), "--repo_id", "user/tokens", "--token", TOKEN, "--license", "cc0-1.0"]
    main([*arguments, "--dataset_name", "garden sounds", "--output_dir", str(tmp_path / "export")])
    published = hub.repositories["dataset", "user/tokens"].branches["main"]
    assert {path: (tmp_path / "export" / path).read_bytes() for path in published} == published
    loaded = load_dataset(str(tmp_path / "export"), cache_dir=str(tmp_path / "cache"))
    original = DatasetDict.load_from_disk(str(tokens))
    for split in original:
        assert loaded[split].features == original[split].features
        assert loaded[split].to_list() == original[split].to_list()
    card = (tmp_path / "export" / "README.md").read_text()
    for text in ("license: cc0-1.0", "Made from garden sounds.", "| `train` | 4 | 4 |", "Dog bark, gun", "2 views"):
        assert text in card


def test_what_is_no_token_dataset_is_a_sentence(gpt, tmp_path):
    arguments = ["--repo_id", "user/x", "--dry_run", "--output_dir", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="holds no dataset"):
        main(["--dataset", str(gpt), *arguments])
    assert not (tmp_path / "out").exists()
