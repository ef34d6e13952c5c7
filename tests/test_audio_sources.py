"""Sound files, folder listings and metadata files."""

import os

import numpy as np
import pytest
import soundfile

from melspec_gpt.datasets_scripts.audio_sources import (
    AudioListing,
    clean_class_name,
    find_audio_files,
    find_column,
    find_metadata,
    path_inside,
    read_audio,
    read_metadata,
)

RATE = 8000


def write_noise(path, num_samples=4000, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (num_samples, channels) if channels > 1 else (num_samples,)
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, shape).astype(np.float32)
    soundfile.write(path, samples, RATE)
    return samples


def test_mono_file_is_read_as_a_vector(tmp_path):
    samples = write_noise(tmp_path / "a.wav")
    audio, rate = read_audio(tmp_path / "a.wav")
    assert rate == RATE
    assert audio.dtype == np.float32
    np.testing.assert_allclose(audio, samples, atol=1e-4)


def test_stereo_file_is_read_channels_first(tmp_path):
    samples = write_noise(tmp_path / "a.wav", channels=2)
    audio, _ = read_audio(tmp_path / "a.wav")
    np.testing.assert_allclose(audio, samples.T, atol=1e-4)


def test_reading_stops_after_max_seconds(tmp_path):
    write_noise(tmp_path / "a.wav", num_samples=4000)
    whole, _ = read_audio(tmp_path / "a.wav")
    start, _ = read_audio(tmp_path / "a.wav", max_seconds=0.1)
    np.testing.assert_array_equal(start, whole[:800])


@pytest.mark.parametrize("extension", ["flac", "ogg", "mp3", "aiff"])
def test_other_containers_are_read(tmp_path, extension):
    write_noise(tmp_path / f"a.{extension}")
    audio, rate = read_audio(tmp_path / f"a.{extension}")
    assert rate == RATE
    assert len(audio) >= 4000
    assert np.abs(audio).max() > 0.1


@pytest.mark.parametrize("content", [b"", b"not a sound file at all"])
def test_unreadable_file_is_a_value_error(tmp_path, content):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read as sound: Format"):
        read_audio(tmp_path / "a.wav")


def test_samples_without_header_are_a_value_error(tmp_path):
    (tmp_path / "a.raw").write_bytes(b"0" * 1000)
    with pytest.raises(ValueError, match="without a header"):
        read_audio(tmp_path / "a.raw")


def test_absent_file_is_a_value_error(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        read_audio(tmp_path / "absent.wav")


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
    audio, _ = find_audio_files(folder)
    assert [path.name for path in audio] == ["link.wav"]


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
