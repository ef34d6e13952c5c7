"""Are the original's files read in every form they come in, and is nothing in them imported or run?"""

import argparse
import pathlib
import sys
import types
import zipfile

import numpy as np
import pytest
import torch

from melspec_gpt.modeling.original_checkpoint_files import read_arguments, read_weights

WEIGHTS = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2)}


def foreign_class(monkeypatch, full_name: str, base: type = object) -> type:
    """A class of a library that is not installed, for as long as a file is written."""
    module_name, _, name = full_name.rpartition(".")
    parts = module_name.split(".")
    for length in range(1, len(parts) + 1):
        monkeypatch.setitem(sys.modules, ".".join(parts[:length]), types.ModuleType(".".join(parts[:length])))
    new_class = type(name, (base,), {"__module__": module_name})
    setattr(sys.modules[module_name], name, new_class)
    return new_class


def assert_weights(weights: dict) -> None:
    assert weights.keys() == WEIGHTS.keys()
    for name, expected in WEIGHTS.items():
        assert torch.equal(weights[name], expected)


@pytest.mark.parametrize("is_new_format", [True, False])
@pytest.mark.parametrize("has_more", [True, False])
def test_bare_weights_and_lightning_files_of_both_formats_are_read(tmp_path, is_new_format, has_more):
    content = {"epoch": 1, "state_dict": WEIGHTS} if has_more else WEIGHTS
    torch.save(content, tmp_path / "f.ckpt", _use_new_zipfile_serialization=is_new_format)
    assert_weights(read_weights(tmp_path / "f.ckpt"))


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_tensors_stay_on_the_disk_unless_they_are_compressed(tmp_path, monkeypatch, compression):
    torch.save(WEIGHTS, tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as source,
        zipfile.ZipFile(tmp_path / "again.pt", "w", compression) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    is_mapped = []
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda *args, mmap, **kwargs: is_mapped.append(mmap) or load(*args, **kwargs))
    assert_weights(read_weights(tmp_path / "again.pt"))
    assert is_mapped == [compression == zipfile.ZIP_STORED]


@pytest.mark.parametrize("is_new_format", [True, False])
def test_what_lightning_leaves_beside_the_weights_is_skipped(tmp_path, monkeypatch, is_new_format):
    with monkeypatch.context() as patches:
        callback = foreign_class(patches, "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint")
        settings = foreign_class(patches, "pytorch_lightning.utilities.parsing.AttributeDict", dict)
        content = {
            "state_dict": WEIGHTS,
            "callbacks": {callback: {"best_model_path": pathlib.PosixPath("/a/b"), "state": callback()}},
            "hyper_parameters": settings(lr=1e-6, args=argparse.Namespace(seed=1)),
            "best_loss": np.float64(3.5),
        }
        torch.save(content, tmp_path / "f.ckpt", _use_new_zipfile_serialization=is_new_format)
    assert_weights(read_weights(tmp_path / "f.ckpt"))
    assert "pytorch_lightning" not in sys.modules


def test_allowed_names_are_forgotten_after_reading(tmp_path):
    before = torch.serialization.get_safe_globals()
    torch.save(WEIGHTS, tmp_path / "f.pt")
    read_weights(tmp_path / "f.pt")
    assert set(torch.serialization.get_safe_globals()) == set(before)


def test_class_of_an_unknown_library_is_refused_by_name(tmp_path, monkeypatch):
    with monkeypatch.context() as patches:
        unknown = foreign_class(patches, "somebody.code.Trainer")
        torch.save({"state_dict": WEIGHTS, "trainer": unknown()}, tmp_path / "f.ckpt")
    with pytest.raises(ValueError, match=r"somebody\.code\.Trainer"):
        read_weights(tmp_path / "f.ckpt")


def test_unreadable_file_is_reported_as_such(tmp_path, monkeypatch):
    torch.save(WEIGHTS, tmp_path / "f.pt")

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pathlib.Path, "open", refuse)
    with pytest.raises(PermissionError):
        read_weights(tmp_path / "f.pt")


def test_tags_of_python_objects_are_read_as_plain_values(tmp_path):
    text = """!!python/object:argparse.Namespace
n_mel_channels: 80
path: !!python/object/apply:pathlib.PosixPath
- /
- data
name: !!python/name:os.system ''
call: !!python/object/apply:os.system ['exit 3']
pair: !!python/tuple [1, 2]
nested: !!python/object:a.B {x: 1.5}
"""
    (tmp_path / "args.yml").write_text(text)
    assert read_arguments(tmp_path / "args.yml") == {
        "n_mel_channels": 80,
        "path": ["/", "data"],
        "name": "",
        "call": ["exit 3"],
        "pair": [1, 2],
        "nested": {"x": 1.5},
    }
