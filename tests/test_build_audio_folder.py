"""From a folder of somebody's clips to a mel dataset."""

import csv
import json

import numpy as np
import pytest
import soundfile
from datasets import load_from_disk
from tiny_media import noise, write_media

from melspec_gpt.datasets_scripts.build_audio_folder import build_audio_folder, list_audio_folder, main


def write_clip(path, seed=0, seconds=0.5):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * 8000)), 8000)


@pytest.fixture
def data_dir(tmp_path):
    """Two classes of three clips of half a second, one name with a blank and an emoji."""
    folder = tmp_path / "clips"
    for index in range(3):
        write_clip(folder / "rain" / f"{index}.flac", seed=index)
        write_clip(folder / "big dog 🐕" / f"{index}.wav", seed=10 + index)
    return folder


def write_csv(data_dir, header, *rows):
    with open(data_dir / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def test_class_folders_become_classes(data_dir):
    clips = list_audio_folder(data_dir).clips
    assert [(clip.clip_id, clip.label, clip.split) for clip in clips[::3]] == [
        ("big dog 🐕/0.wav", "big dog 🐕", None),
        ("rain/0.flac", "rain", None),
    ]


def test_what_is_no_clip_is_named_in_the_warnings(data_dir):
    (data_dir / "empty").mkdir()
    (data_dir / ".cache").mkdir()
    (data_dir / "rain" / "readme.txt").touch()
    write_clip(data_dir / "lost.wav")
    listing = list_audio_folder(data_dir)
    assert len(listing.clips) == 6
    assert sorted(listing.warnings) == [
        "Passed over, no sound files in the folder 'rain': 1 x .txt.",
        "Passed over, sound files that lie in no class folder: 1 x .wav.",
        "The folder 'empty' holds no sound file, so it is no class.",
    ]


def test_a_class_folder_may_be_a_link(data_dir, tmp_path):
    write_clip(tmp_path / "elsewhere" / "a.wav")
    (data_dir / "thunder").symlink_to(tmp_path / "elsewhere")
    assert list_audio_folder(data_dir).clips[-1].clip_id == "thunder/a.wav"


@pytest.mark.parametrize("columns", [("file_name", "label", "split"), ("filename", "class_name", "split")])
def test_metadata_gives_labels_and_splits(data_dir, columns):
    write_csv(
        data_dir,
        columns,
        ("rain/0.flac", "wet", "train"),
        ("rain/1.flac", "wet", "valid"),
        ("rain/2.flac", "wet", "Test"),
        ("big dog 🐕/0.wav", "dry", "validation"),
    )
    listing = list_audio_folder(data_dir)
    assert [(clip.clip_id, clip.label, clip.split) for clip in listing.clips] == [
        ("rain/0.flac", "wet", "train"),
        ("rain/1.flac", "wet", "validation"),
        ("rain/2.flac", "wet", "test"),
        ("big dog 🐕/0.wav", "dry", "validation"),
    ]


def test_json_lines_metadata_without_splits(data_dir):
    rows = [{"file_name": f"rain/{index}.flac", "label": "wet"} for index in range(3)]
    (data_dir / "metadata.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    assert [clip.split for clip in list_audio_folder(data_dir).clips] == [None] * 3


def test_rows_that_are_no_clip_are_reported(data_dir, tmp_path):
    write_clip(tmp_path / "outside.wav")
    write_csv(
        data_dir,
        ("file_name", "label", "split"),
        ("rain/0.flac", "wet", "train"),
        ("../outside.wav", "wet", "train"),
        ("rain/1.flac", "wet", "dev"),
        ("rain/absent.flac", "wet", "train"),
    )
    report = build_audio_folder(data_dir, tmp_path / "mels", clip_seconds=0.5)
    assert report["clips"] == {"train": 1}
    reasons = {entry["file"]: entry["reason"] for entry in report["left_out"]}
    assert set(reasons) == {"../outside.wav", "rain/1.flac", "rain/absent.flac"}
    assert "inside the data folder" in reasons["../outside.wav"]
    assert "'dev'" in reasons["rain/1.flac"]
    assert "cannot be read" in reasons["rain/absent.flac"]


def test_every_class_is_trained_and_validated(data_dir, tmp_path):
    build_audio_folder(data_dir, tmp_path / "mels", clip_seconds=0.5)
    dataset = load_from_disk(tmp_path / "mels")
    assert sorted(dataset["validation"]["label"][:]) == [0, 1]
    assert not set(dataset["train"]["id"][:]) & set(dataset["validation"]["id"][:])
    assert dataset["train"].features["label"].names == ["big dog 🐕", "rain"]


def test_the_seed_chooses_the_validation_clips(data_dir, tmp_path):
    chosen = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        build_audio_folder(data_dir, tmp_path / name, clip_seconds=0.5, seed=seed)
        chosen.append(load_from_disk(tmp_path / name)["validation"]["id"][:])
    assert chosen[0] == chosen[1] != chosen[2]


def ids_of(folder):
    return {split: sorted(rows["id"][:]) for split, rows in load_from_disk(folder).items()}


@pytest.mark.parametrize(
    ("hop_seconds", "suffixes"),
    [(None, ["#0", "#1", "#2"]), (0, [""]), (1.0, ["#0", "#1"]), (0.25, "#0 #1 #2 #3 #4".split())],
)
def test_long_files_are_cut(tmp_path, hop_seconds, suffixes):
    write_clip(tmp_path / "clips" / "rain" / "a.wav", seconds=1.5)
    build_audio_folder(tmp_path / "clips", tmp_path / "mels", clip_seconds=0.5, hop_seconds=hop_seconds)
    assert ids_of(tmp_path / "mels") == {"train": [f"rain/a.wav{suffix}" for suffix in suffixes]}


def test_clips_of_one_file_share_a_split(tmp_path):
    for index in range(4):
        write_clip(tmp_path / "clips" / "rain" / f"{index}.wav", index, seconds=1.0)
    build_audio_folder(
        tmp_path / "clips", tmp_path / "mels", clip_seconds=0.5, validation_fraction=0.25, test_fraction=0.25
    )
    ids = ids_of(tmp_path / "mels")
    assert {split: len(names) for split, names in ids.items()} == {"train": 4, "validation": 2, "test": 2}
    files = [{name.split("#")[0] for name in names} for names in ids.values()]
    assert len(set.union(*files)) == sum(map(len, files))


@pytest.mark.parametrize("column", ["source_id", "freesound_id"])
def test_clips_of_one_recording_share_a_split(tmp_path, column):
    rows = [(f"{index}.wav", "wet", str(index // 3)) for index in range(12)]
    for name, _, source in rows:
        write_clip(tmp_path / "clips" / name, int(source))
    write_csv(tmp_path / "clips", ("file_name", "label", column), *rows)
    sources = [clip.source_id for clip in list_audio_folder(tmp_path / "clips").clips]
    assert sources == [row[2] for row in rows]
    for seed in range(3):
        build_audio_folder(
            tmp_path / "clips", tmp_path / f"mels{seed}", clip_seconds=0.5, seed=seed, validation_fraction=0.4
        )
        ids = ids_of(tmp_path / f"mels{seed}")
        held_out = {int(name.removesuffix(".wav")) // 3 for name in ids["validation"]}
        trained = {int(name.removesuffix(".wav")) // 3 for name in ids["train"]}
        assert held_out
        assert not held_out & trained


def test_an_empty_source_is_none(data_dir):
    write_csv(data_dir, ("file_name", "label", "source"), ("rain/0.flac", "wet", ""), ("rain/1.flac", "wet", "x"))
    assert [clip.source_id for clip in list_audio_folder(data_dir).clips] == [None, "x"]


def test_only_so_many_files_of_a_class_are_taken(data_dir, tmp_path):
    report = build_audio_folder(data_dir, tmp_path / "mels", 0.5, max_clips_per_class=2, validation_fraction=0)
    assert report["clips_per_class"] == {"big dog 🐕": {"train": 2}, "rain": {"train": 2}}


def test_videos_are_clips(tmp_path):
    write_media(tmp_path / "clips" / "rain" / "a.mp4", noise(8000), picture="mpeg4")
    write_media(tmp_path / "clips" / "rain" / "b.m4a", noise(8000))
    build_audio_folder(tmp_path / "clips", tmp_path / "mels", 0.5, hop_seconds=0, validation_fraction=0)
    assert ids_of(tmp_path / "mels") == {"train": ["rain/a.mp4", "rain/b.m4a"]}


def build_one_mel(tmp_path, samples, **options):
    soundfile.write(tmp_path / "clips" / "rain" / "a.wav", samples, 8000, subtype="FLOAT")
    build_audio_folder(tmp_path / "clips", tmp_path / "mels", 0.5, overwrite=True, **options)
    return load_from_disk(tmp_path / "mels")["train"].with_format("numpy")[0]["mel"]


def test_silence_is_trimmed_and_levels_are_brought_to_one_value(tmp_path):
    (tmp_path / "clips" / "rain").mkdir(parents=True)
    samples = noise(4000)[0]
    samples[:2000] = 0
    plain, trimmed = build_one_mel(tmp_path, samples), build_one_mel(tmp_path, samples, trim_silence=40)
    quarter = plain.shape[1] // 4
    assert plain[:, :quarter].mean() < 0.01 < 0.2 < trimmed[:, :quarter].mean()
    levelled = [build_one_mel(tmp_path, samples * np.float32(gain), loudness=-20) for gain in (0.01, 1.0)]
    np.testing.assert_allclose(levelled[0], levelled[1], atol=2e-3)


@pytest.mark.parametrize("short_clips", ["repeat", "zero"])
def test_short_clips_are_filled_up(data_dir, tmp_path, short_clips):
    build_audio_folder(data_dir, tmp_path / "mels", clip_seconds=2, short_clips=short_clips)
    mel = load_from_disk(tmp_path / "mels")["train"].with_format("numpy")[0]["mel"]
    end = mel[:, -mel.shape[1] // 4 :]
    assert (end.max() > 0) == (short_clips == "repeat")


def test_folder_without_clips_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no clips"):
        list_audio_folder(tmp_path)


def test_absent_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not a folder"):
        list_audio_folder(tmp_path / "absent")


def test_command_line_builds(data_dir, tmp_path):
    main(["--data_dir", str(data_dir), "--output_dir", str(tmp_path / "mels"), "--clip_seconds", "0.5"])
    assert load_from_disk(tmp_path / "mels")["train"].num_rows == 4


def test_command_line_passes_every_option_on(data_dir, tmp_path):
    write_clip(data_dir / "rain" / "long.wav", seconds=1.0)
    options = "--clip_seconds 0.5 --hop_seconds 0.25 --trim_silence 40 --loudness -20 --validation_fraction 0.3"
    options += " --test_fraction 0.2 --max_clips_per_class 4 --seed 3 --num_proc 1 --short_clips zero"
    main(["--data_dir", str(data_dir), "--output_dir", str(tmp_path / "mels"), *options.split()])
    ids = ids_of(tmp_path / "mels")
    assert set(ids) == {"train", "validation", "test"}
    assert sum("long" in name for names in ids.values() for name in names) == 3


@pytest.mark.parametrize("option", [("--hop_seconds", "-1"), ("--loudness", "3"), ("--trim_silence", "0")])
def test_command_line_refuses_impossible_options(data_dir, tmp_path, capsys, option):
    with pytest.raises(SystemExit):
        main(["--data_dir", str(data_dir), "--output_dir", str(tmp_path / "mels"), *option])
    assert f"`{option[0].removeprefix('--')}` is {float(option[1])}" in capsys.readouterr().err
    assert not (tmp_path / "mels").exists()


def test_command_line_ends_with_a_sentence(data_dir, tmp_path, capsys):
    (tmp_path / "mels").mkdir()
    (tmp_path / "mels" / "thesis.tex").touch()
    with pytest.raises(SystemExit):
        main(["--data_dir", str(data_dir), "--output_dir", str(tmp_path / "mels")])
    assert "is not empty" in capsys.readouterr().err
