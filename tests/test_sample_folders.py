"""Folder names of classes: readable, safe and different."""

from pathlib import Path

import pytest

from melspec_gpt.training.sample_folders import folder_names


@pytest.mark.parametrize("name", ["Dog bark", "emoji 🐕 ü", "50% & more #1", "a.b"])
def test_ordinary_names_are_kept(name):
    assert folder_names([name]) == {name: name}


@pytest.mark.parametrize(
    "name",
    ["a/b", "/etc", "..", ".", "", "../../x", ".hidden", "a\\b", "C:", "a\0b", "line\nbreak", "dog. ", "<null>"],
)
def test_unsafe_names_become_one_safe_part(name):
    folder = folder_names([name])[name]
    assert Path("out", folder).resolve().parent == Path("out").resolve()
    assert not set(folder) & set('/\\:\0\n<>"')
    assert not folder.startswith(".")
    assert folder == folder.rstrip(" .") != ""


def test_long_name_fits_the_file_system(tmp_path):
    name = "🐕" * 300
    Path(tmp_path, folder_names([name])[name]).mkdir()


def test_classes_never_share_a_folder():
    names = ["a/b", "a:b", "a_b", "A_B", "dog", "Dog", "é", "e\u0301"]
    folders = folder_names(names)
    assert len({folder.casefold() for folder in folders.values()}) == len(names)
    assert folders["dog"] == "dog"


def test_reserved_names_are_avoided():
    assert folder_names(["Index.html"], reserved=["index.html"])["Index.html"] != "Index.html"
