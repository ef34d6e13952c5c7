"""A checkpoint becomes a folder that stands alone, and the folder a repository."""

import ast
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import soundfile
from huggingface_hub import constants
from loopback_hub import TOKEN
from tiny_hub import push
from transformers.dynamic_module_utils import get_imports

from melspec_gpt import MelGPTConfig
from melspec_gpt.push_to_hub import main

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


def test_export_of_an_export_is_the_same(gpt_export, hub_folder):
    again = hub_folder / "again"
    main([str(gpt_export), "--repo_id", "user/gpt", "--output_dir", str(again), "--dry_run"])
    names = {path.relative_to(again) for path in again.rglob("*") if path.is_file()}
    assert names == {path.relative_to(gpt_export) for path in gpt_export.rglob("*") if path.is_file()}
    for name in names:
        assert (again / name).read_bytes() == (gpt_export / name).read_bytes(), name


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
    with pytest.raises(SystemExit, match="is no name of a repository"):
        push(gpt, repo_id)


# Wrong use


def test_folder_without_a_model_is_a_sentence(tmp_path):
    with pytest.raises(SystemExit, match="is no folder of a model"):
        main([str(tmp_path), "--repo_id", "user/x", "--dry_run", "--output_dir", str(tmp_path / "out")])


def test_checkpoint_without_audio_tokenizer_is_a_sentence(gpt, tmp_path):
    shutil.copytree(gpt, tmp_path / "gpt", ignore=shutil.ignore_patterns("audio_tokenizer"))
    with pytest.raises(SystemExit, match="has no folder audio_tokenizer"):
        main([str(tmp_path / "gpt"), "--repo_id", "user/x", "--dry_run", "--output_dir", str(tmp_path / "out")])


def test_broken_weights_are_a_sentence(gpt, tmp_path):
    shutil.copytree(gpt, tmp_path / "gpt")
    weights = tmp_path / "gpt" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(SystemExit, match="The weights in `checkpoint` .* are broken"):
        main([str(tmp_path / "gpt"), "--repo_id", "user/x", "--dry_run", "--output_dir", str(tmp_path / "out")])


def test_names_that_contradict_the_model_are_a_sentence(gpt, tmp_path):
    shutil.copytree(gpt, tmp_path / "gpt")
    (tmp_path / "gpt" / "labels.json").write_text('["gun"]')
    with pytest.raises(SystemExit, match=r"labels.json names the classes \['gun'\], but .* \['Dog bark', 'gun'\]"):
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
