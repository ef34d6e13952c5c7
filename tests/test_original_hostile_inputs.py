"""Which broken or hostile inputs does the converter refuse? All of them, with a sentence and without a trace."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from original_layouts import (
    CODEBOOK_SIZE,
    MELGAN_SETTINGS,
    NUM_FRAMES,
    NUM_HEADS,
    gpt,
    gpt_with_tokenizer,
    melgan,
    save_lightning,
    save_melgan,
    vae,
    vq,
)

from melspec_gpt import MelGANConfig, MelGANVocoder
from melspec_gpt.modeling.convert_original_checkpoints import main as convert

MARKER = "marker"
GPT_OPTIONS = ["--num_attention_heads", str(NUM_HEADS), "--class_names", "dog", "gun", "rain"]
VQ_OPTIONS = ["--num_frames", str(NUM_FRAMES)]


class Malicious:
    """Would run a command when it is unpickled without care."""

    def __init__(self, folder: Path):
        self.command = f"touch {folder / MARKER}"

    def __reduce__(self):
        return os.system, (self.command,)


def gpt_file(folder: Path, **changes) -> Path:
    """A GPT's checkpoint with some tensors replaced (or, with None, removed)."""
    weights = gpt()
    for name, value in changes.items():
        weights[name] = value
    return save_lightning({name: value for name, value in weights.items() if value is not None}, folder / "f.ckpt")


def raw_file(folder: Path, content: bytes) -> Path:
    path = folder / "f.ckpt"
    path.write_bytes(content)
    return path


def saved(folder: Path, content, **kwargs) -> Path:
    torch.save(content, folder / "f.ckpt", **kwargs)
    return folder / "f.ckpt"


def zip_of(**files: bytes) -> bytes:
    """An archive of `files` in a folder, as `torch.save` makes them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"archive/{name.replace('_', '.')}", content)
    return buffer.getvalue()


def torch_zip_with(folder: Path, pickled: bytes) -> Path:
    """A file that looks like one of `torch.save`, with a pickle of one's own."""
    return raw_file(folder, zip_of(data_pkl=pickled, version=b"3"))


def truncated(folder: Path) -> Path:
    content = save_lightning(gpt(), folder / "whole").read_bytes()
    return raw_file(folder, content[: len(content) // 2])


def with_broken_bytes(folder: Path) -> Path:
    content = bytearray(save_lightning(gpt(), folder / "whole").read_bytes())
    start = content.index(b"data.pkl") + 100
    content[start : start + 40] = b"\xff" * 40
    return raw_file(folder, bytes(content))


def not_a_number() -> torch.Tensor:
    weight = gpt()["transformer.head.weight"].clone()
    weight[0, 0] = float("nan")
    return weight


def vq_without(name: str) -> dict:
    """The audio tokenizer without one tensor."""
    return {key: value for key, value in vq().items() if key != name}


def symlink_loop(folder: Path) -> Path:
    (folder / "f.ckpt").symlink_to(folder / "f.ckpt")
    return folder / "f.ckpt"


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "f.ckpt")
    return folder / "f.ckpt"


HEAD = "transformer.head.weight"
MASK = "transformer.blocks.1.attn.mask"
BILLION_LAUGHS = "a0: &a0 {x: 1}\n" + "".join(
    f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 9)}]}}\n" for level in range(1, 30)
)
# Case: (kind, function from an empty folder to the checkpoint, further options, what the sentence says).
FILES = {
    "malicious pickle beside the weights": (
        "gpt", lambda folder: saved(folder, {"state_dict": dict(gpt()), "x": Malicious(folder)}), [], "system"),
    "malicious pickle among the weights": (
        "gpt", lambda folder: saved(folder, {**gpt(), "x": Malicious(folder)}), [], "system"),
    "malicious pickle in the old format": (
        "gpt", lambda folder: saved(folder, Malicious(folder), _use_new_zipfile_serialization=False), [], "system"),
    "malicious pickle without torch": (
        "gpt", lambda folder: raw_file(folder, pickle.dumps(Malicious(folder), protocol=2)), [], "system"),
    "malicious pickle in a zip": (
        "gpt", lambda folder: torch_zip_with(folder, pickle.dumps(Malicious(folder), protocol=2)), [], "system"),
    "pickle that asks for eval": ("gpt", lambda folder: torch_zip_with(folder, b"cbuiltins\neval\n."), [], "eval"),
    "whole model object": ("gpt", lambda folder: saved(folder, torch.nn.Linear(2, 2)), [], "Linear"),
    "truncated file": ("gpt", truncated, [], "damaged"),
    "overwritten bytes": ("gpt", with_broken_bytes, [], "damaged"),
    "empty file": ("gpt", lambda folder: raw_file(folder, b""), [], "damaged"),
    "text file": ("gpt", lambda folder: raw_file(folder, b"version https://git-lfs.github.com"), [], "damaged"),
    "zip that is no checkpoint": ("gpt", lambda folder: raw_file(folder, zip_of(text=b"hello")), [], "damaged"),
    "missing file": ("gpt", lambda folder: folder / "f.ckpt", [], "no file"),
    "folder in place of a file": ("gpt", lambda folder: folder, [], "is a folder"),
    "symlink to itself": ("gpt", symlink_loop, [], "no file"),
    "pipe": ("gpt", pipe, [], "no file"),
    "device": ("gpt", lambda folder: Path("/dev/zero"), [], "no file"),
    "state_dict that is a list": ("gpt", lambda folder: saved(folder, {"state_dict": [1, 2]}), [], "no state dict"),
    "empty state_dict": ("gpt", lambda folder: saved(folder, {"state_dict": {}}), [], "no state dict"),
    "a tensor alone": ("gpt", lambda folder: saved(folder, torch.ones(3)), [], "no state dict"),
    "text among the weights": ("gpt", lambda folder: gpt_file(folder, note="hello"), [], "'note' of type str"),
    "number as a name": ("gpt", lambda folder: saved(folder, {**gpt(), 7: torch.ones(1)}), [], "7 of type Tensor"),
    "VAE as GPT": ("gpt", lambda folder: save_lightning(vae(), folder / "f.ckpt"), [], "use --kind vae"),
    "GPT as audio tokenizer": ("vq", gpt_file, [], "use --kind gpt"),
    "vocoder as audio tokenizer": ("vq", lambda folder: saved(folder, dict(melgan())), [], "use --kind melgan"),
    "model of somebody else": ("gpt", lambda folder: saved(folder, {"fc.weight": torch.ones(2)}), [], "'fc.weight'"),
    "missing tensor": ("gpt", lambda folder: gpt_file(folder, **{HEAD: None}), GPT_OPTIONS, HEAD),
    "missing embeddings of classes": (
        "gpt", lambda folder: gpt_file(folder, **{"transformer.embedder.weight": None}), [], "embedder.weight"),
    "missing tensor of the audio tokenizer": (
        "vq", lambda folder: saved(folder, vq_without("quant_conv.bias")), VQ_OPTIONS, "'quant_conv.bias'"),
    "tensor that no rule knows": (
        "gpt", lambda folder: gpt_file(folder, extra=torch.ones(1)), GPT_OPTIONS, "no rule knows, 1 in all: 'extra'"),
    "one layer without its number": (
        "gpt", lambda folder: gpt_file(folder, **{"transformer.blocks.99.ln1.bias": torch.ones(8)}), GPT_OPTIONS,
        "transformer.blocks.2."),
    "shape that does not fit": (
        "gpt", lambda folder: gpt_file(folder, **{HEAD: torch.ones(CODEBOOK_SIZE, 9)}), GPT_OPTIONS, HEAD),
    "missing axis": (
        "gpt", lambda folder: gpt_file(folder, **{"transformer.pos_emb": torch.ones(5, 8)}), GPT_OPTIONS, "pos_emb"),
    "empty tensor": (
        "gpt", lambda folder: gpt_file(folder, **{"transformer.tok_emb.weight": torch.ones(0, 8)}), [], "tok_emb"),
    "NaN": ("gpt", lambda folder: gpt_file(folder, **{HEAD: not_a_number()}), GPT_OPTIONS, "NaN"),
    "integers": (
        "gpt", lambda folder: gpt_file(folder, **{HEAD: torch.ones(CODEBOOK_SIZE, 8).long()}), GPT_OPTIONS, "int64"),
    "sparse tensor": (
        "gpt", lambda folder: gpt_file(folder, **{HEAD: torch.ones(CODEBOOK_SIZE, 8).to_sparse()}), GPT_OPTIONS, HEAD),
    "tensor without values": (
        "gpt", lambda folder: gpt_file(folder, **{HEAD: torch.ones(9, 8, device="meta")}), GPT_OPTIONS, HEAD),
    "huge tensor of one number": (
        "gpt", lambda folder: gpt_file(folder, **{HEAD: torch.ones(1).expand(10**12, 8)}), GPT_OPTIONS, "fewer"),
    "mask that is not causal": (
        "gpt", lambda folder: gpt_file(folder, **{MASK: torch.ones(1, 1, 81, 81)}),
        GPT_OPTIONS, "is not the causal mask"),
    "mask of another length": (
        "gpt", lambda folder: gpt_file(folder, **{MASK: torch.ones(1, 1, 5, 5)}),
        GPT_OPTIONS, "is not the causal mask"),
    "mask of integers that is not causal": (
        "gpt", lambda folder: gpt_file(folder, **{MASK: torch.ones(1, 1, 81, 81, dtype=torch.uint8)}),
        GPT_OPTIONS, "is not the causal mask"),
    "prefix of some names only": (
        "gpt", lambda folder: gpt_file(folder, **{"module.x": torch.ones(1)}), GPT_OPTIONS, "'module.x'"),
    "missing mask": (
        "gpt", lambda folder: gpt_file(folder, **{MASK: None}), GPT_OPTIONS, "attn.mask"),
    "audio tokenizer of another length": (
        "gpt", lambda folder: save_lightning(gpt_with_tokenizer(), folder / "f.ckpt"), GPT_OPTIONS, "--num_frames"),
}  # fmt: skip
OPTIONS = {
    "heads that do not divide": (["--num_attention_heads", "3"], "--num_attention_heads 3 does not divide"),
    "no heads": (["--num_attention_heads", "0"], "--num_attention_heads 0"),
    "too few class names": (["--class_names", "dog"], "3 classes, but 1 are given"),
    "no class names": (["--num_attention_heads", "2"], "3 classes, but none are given"),
    "two classes of one name": (["--class_names", "dog", "dog", "gun"], "name"),
    "class name that reads as a code": (["--class_names", "dog", "<3>", "gun"], "<3>"),
    "vocoder without audio tokenizer": ([*GPT_OPTIONS, "--vocoder", "."], "--vocoder needs"),
    "length of clips without audio tokenizer": ([*GPT_OPTIONS, *VQ_OPTIONS], "--num_frames is that of"),
    "audio tokenizer that is no folder": ([*GPT_OPTIONS, "--audio_tokenizer", "nothing/here"], "no folder"),
    "audio tokenizer that is an empty folder": ([*GPT_OPTIONS, "--audio_tokenizer", "EMPTY"], "cannot be loaded"),
    "vocoder as audio tokenizer": ([*GPT_OPTIONS, "--audio_tokenizer", "VOCODER"], "give a MelVQModel"),
    "two lengths of clips": ([*GPT_OPTIONS, "--audio_tokenizer", "EMPTY", "--num_frames", "4"], "only one"),
}
MELGAN_FOLDERS = {
    "no weights": (lambda folder: (folder / "melgan/best_netG.pt").unlink(), "best_netG.pt"),
    "no settings": (lambda folder: (folder / "melgan/args.yml").unlink(), "args.yml"),
    "settings of another model": (MELGAN_SETTINGS.replace("ngf: 2", "ngf: 32"), "'ngf' is 32"),
    "settings that run a command": (
        "a: !!python/object/apply:os.system ['touch MARKER']\nb: !!python/object/new:os.system [touch MARKER]\n",
        "n_mel_channels",
    ),
    "settings that expand to billions": (BILLION_LAUGHS, "cannot be read"),
    "settings that nest too deep": ("[" * 10_000, "cannot be read"),
    "settings that are a list": ("- 1\n- 2\n", "no settings"),
    "settings that are no YAML": ("a: [1\nb: }", "cannot be read"),
    "settings that are empty": ("", "no settings"),
    "settings that are binary": (b"\xff\xfe\x00a", "cannot be read"),
    "settings that are large": ("a" * 2_000_000, "larger than"),
}


@pytest.fixture
def refuse(tmp_path, capsys, monkeypatch):
    """Runs the converter, expects it to end with one sentence, and looks for traces."""

    def run(*arguments, output_dir: Path | None = None) -> str:
        monkeypatch.chdir(tmp_path)
        before = sorted(tmp_path.rglob("*"))
        output_dir = tmp_path / "new" / "out" if output_dir is None else output_dir
        with pytest.raises(SystemExit) as error:
            convert([*map(str, arguments), "--output_dir", str(output_dir)])
        assert error.value.code == 2
        assert sorted(tmp_path.rglob("*")) == before
        message = capsys.readouterr().err.split("error: ", 1)[1]
        assert message.count("\n") == 1
        return message

    return run


@pytest.mark.parametrize("case", FILES)
def test_bad_files_are_refused(tmp_path, refuse, case):
    kind, write, options, expected = FILES[case]
    assert expected in refuse("--kind", kind, "--checkpoint", write(tmp_path), *options)


@pytest.mark.parametrize("case", OPTIONS)
def test_bad_options_are_refused(tmp_path, refuse, case):
    options, expected = OPTIONS[case]
    (tmp_path / "EMPTY").mkdir()
    MelGANVocoder(MelGANConfig(base_channels=1)).save_pretrained(tmp_path / "VOCODER")
    if "--num_attention_heads" not in options:
        options = ["--num_attention_heads", NUM_HEADS, *options]
    assert expected in refuse("--kind", "gpt", "--checkpoint", gpt_file(tmp_path), *options)


def test_length_of_clips_needs_an_audio_tokenizer_for_the_vae_too(tmp_path, refuse):
    arguments = ["--kind", "vae", "--checkpoint", save_lightning(vae(), tmp_path / "f.ckpt"), *VQ_OPTIONS]
    assert "--num_frames is that of" in refuse(*arguments, "--num_attention_heads", NUM_HEADS)


@pytest.mark.parametrize("case", MELGAN_FOLDERS)
def test_bad_vocoder_folders_are_refused(tmp_path, refuse, case):
    change, expected = MELGAN_FOLDERS[case]
    folder = save_melgan(tmp_path / "melgan")
    if callable(change):
        change(tmp_path)
    else:
        content = change if isinstance(change, bytes) else change.replace("MARKER", MARKER).encode()
        (folder / "args.yml").write_bytes(content)
    assert expected in refuse("--kind", "melgan", "--checkpoint", folder)


@pytest.mark.parametrize(
    ("kind", "option"),
    [("vq", "--num_attention_heads"), ("melgan", "--num_frames"), ("vae", "--class_names"), ("melgan", "--vocoder")],
)
def test_options_of_another_kind_are_refused(tmp_path, refuse, kind, option):
    assert f"{option} has no meaning" in refuse("--kind", kind, "--checkpoint", tmp_path, option, "2")


def test_output_folder_that_holds_something_is_left_alone(tmp_path, refuse):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    arguments = ["--kind", "gpt", "--checkpoint", gpt_file(tmp_path), *GPT_OPTIONS]
    assert "is not empty" in refuse(*arguments, output_dir=tmp_path / "out")
    assert "is no folder" in refuse(*arguments, output_dir=tmp_path / "out" / "mine.txt")
    assert "mine.txt" in refuse(*arguments, output_dir=tmp_path / "out" / "mine.txt" / "out")
    assert "/proc" in refuse(*arguments, output_dir=Path("/proc/nowhere/out"))
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"
