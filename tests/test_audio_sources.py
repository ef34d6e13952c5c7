"""Folder listings and metadata files."""

import os

import pytest

from melspec_gpt.datasets_scripts.audio_sources import (
    AudioListing,
    clean_class_name,
    find_audio_files,
    find_column,
    find_metadata,
    find_source_column,
    ignored_files_warning,
    path_inside,
    read_metadata,
)


def test_files_are_listed_in_order_without_hidden_ones(tmp_path):
    for name in ("b.wav", "sub/a.OGG", "a.wav", ".hidden.wav", "._a.wav", "__MACOSX/c.wav", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    audio, others = find_audio_files(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in audio] == ["a.wav", "b.wav", "sub/a.OGG"]
    assert [path.name for path in others] == ["notes.txt"]


def test_links_to_files_are_followed_and_circles_are_not(tmp_path):
    (tmp_path / "elsewhere.wav").touch()
    folder = tmp_path / "dog"
    folder.mkdir()
    (folder / "link.wav").symlink_to(tmp_path / "elsewhere.wav")
    (folder / "circle").symlink_to(folder)
    audio, others = find_audio_files(folder)
    assert [path.name for path in audio] == ["link.wav"]
    assert ignored_files_warning(others, "no sound") == ["Passed over, no sound: 1 x link to a folder."]


def test_a_folder_called_like_a_sound_file_is_listed_and_searched(tmp_path):
    (tmp_path / "a.wav").mkdir()
    (tmp_path / "a.wav" / "b.mp4").touch()
    audio, others = find_audio_files(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in audio] == ["a.wav", "a.wav/b.mp4"]
    assert others == []


@pytest.mark.parametrize("name", ["../a.wav", "/etc/a.wav", "dog/../../a.wav", "", ".", ".."])
def test_metadata_path_must_stay_inside(tmp_path, name):
    with pytest.raises(ValueError, match="inside the data folder"):
        path_inside(tmp_path, name)


def test_metadata_path_is_made_plain(tmp_path):
    assert path_inside(tmp_path, "dog/../cat/./a.wav") == tmp_path / "cat" / "a.wav"


@pytest.mark.parametrize(
    ("name", "label", "reason"),
    [
        ("dog/../a.wav", "dog", "more than once"),
        ("b.wav", "", "no class name"),
        ("../b.wav", "dog", "inside the data folder"),
        (os.fsdecode(b"caf\xe9.wav"), "dog", "UTF-8"),
    ],
)
def test_what_is_no_clip_is_left_out_with_a_reason(tmp_path, name, label, reason):
    listing = AudioListing()
    listing.add(tmp_path, "a.wav", "dog", split=None)
    listing.add(tmp_path, name, label, split=None)
    assert [clip.clip_id for clip in listing.clips] == ["a.wav"]
    assert [entry["file"] for entry in listing.left_out] == [name]
    assert reason in listing.left_out[0]["reason"]


def test_the_recording_of_a_clip_is_kept(tmp_path):
    listing = AudioListing()
    listing.add(tmp_path, "a.wav", "dog", split=None, source_id="abc")
    listing.add(tmp_path, "b.wav", "dog", split=None)
    assert [clip.source_id for clip in listing.clips] == ["abc", None]


@pytest.mark.parametrize("name", ["source_id", "source", "youtube_id", "freesound_id", None])
def test_the_column_with_the_recording_has_several_names(name):
    assert find_source_column([{"label": "dog"}, {name: "abc"} if name else {}]) == name


def test_csv_with_byte_order_mark_and_short_rows(tmp_path):
    path = tmp_path / "metadata.csv"
    path.write_bytes('\ufefffile_name,label\n"a, b.wav", dog \nc.wav\n'.encode())
    assert read_metadata(path) == [{"file_name": "a, b.wav", "label": "dog"}, {"file_name": "c.wav", "label": ""}]


def test_json_lines_are_read_as_text(tmp_path):
    path = tmp_path / "metadata.jsonl"
    path.write_text('{"file_name": "a.wav", "label": 3, "split": null}\n\n')
    assert read_metadata(path) == [{"file_name": "a.wav", "label": "3", "split": ""}]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metadata.csv", b""),
        ("metadata.csv", b"file_name,label\n"),
        ("metadata.csv", b"file_name,label\n\xff.wav,dog\n"),
        ("metadata.jsonl", b"{file_name: a.wav}\n"),
        ("metadata.jsonl", b'["a.wav", "dog"]\n'),
    ],
)
def test_broken_metadata_is_refused_by_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name):
        read_metadata(tmp_path / name)


def test_two_metadata_files_are_refused(tmp_path):
    (tmp_path / "metadata.csv").touch()
    assert find_metadata(tmp_path) == tmp_path / "metadata.csv"
    (tmp_path / "metadata.jsonl").touch()
    with pytest.raises(ValueError, match="both"):
        find_metadata(tmp_path)


def test_missing_column_names_those_that_exist(tmp_path):
    rows = [{"path": "a.wav", "label": "dog"}]
    assert find_column(rows, ("class_name", "label"), tmp_path / "metadata.csv") == "label"
    with pytest.raises(ValueError, match="'path', 'label'.*file_name or filename"):
        find_column(rows, ("file_name", "filename"), tmp_path / "metadata.csv")


def test_class_names_do_not_depend_on_the_file_system():
    assert clean_class_name("Cafe\u0301 ") == clean_class_name("Caf\u00e9")
