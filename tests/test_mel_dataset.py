"""From a listing of clips to a mel dataset on disk."""

import json
import os
import signal

import clean_processes
import numpy as np
import pytest
import soundfile
import torch
from datasets import ClassLabel, load_from_disk
from number_shards import folder_bytes

from melspec_gpt.datasets_scripts.audio_reading import read_audio
from melspec_gpt.datasets_scripts.audio_sources import AudioListing
from melspec_gpt.datasets_scripts.clip_options import ClipOptions
from melspec_gpt.datasets_scripts.mel_dataset import build_mel_dataset
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor

FLOAT16_STEP = 2**-11  # of values in [0.5, 1]


@pytest.fixture(scope="module")
def feature_extractor():
    return MelFeatureExtractor.from_clip_seconds(0.5)


@pytest.fixture
def data_dir(tmp_path):
    """Three dogs (one of them stereo at another rate) and two cats of different pitch, each clip different."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for index, (name, rate, channels) in enumerate(
        [("dog1", 22050, 1), ("dog2", 16000, 2), ("dog3", 22050, 1), ("cat1", 22050, 1), ("cat2", 22050, 1)]
    ):
        times = np.arange(2 * rate) / rate  # longer than what is read of it
        tone = 0.5 * np.sin(2 * np.pi * 200 * (index + 1) * times).astype(np.float32)
        soundfile.write(folder / f"{name}.wav", tone if channels == 1 else np.stack([tone, tone / 2], 1), rate)
    return folder


def listing_of(data_dir, names, split=None, **kwargs):
    listing = AudioListing(**kwargs)
    for name in names:
        listing.add(data_dir, f"{name}.wav", name[:3], split)
    return listing


ALL_NAMES = ["dog1", "dog2", "dog3", "cat1", "cat2"]


def rows_by_id(dataset):
    return {row["id"]: row for split in dataset.values() for row in split.with_format("numpy")}


def test_kept_audio_is_the_clip_that_the_mel_is_of(data_dir, tmp_path, feature_extractor):
    listing = listing_of(data_dir, ALL_NAMES)
    build_mel_dataset(listing, data_dir, tmp_path / "mels", feature_extractor, keep_audio=True)
    for row in rows_by_id(load_from_disk(tmp_path / "mels")).values():
        assert row["audio"].shape == (feature_extractor.num_samples,)
        mel = feature_extractor.mel_spectrogram([row["audio"].astype(np.int16)])[0]
        audible = torch.from_numpy(row["mel"].astype(np.float32)) > 0.4
        assert audible.any()
        torch.testing.assert_close(
            mel[audible], torch.tensor(row["mel"].astype(np.float32))[audible], atol=5e-3, rtol=0
        )


def test_mels_without_sound_have_no_audio_to_keep(data_dir, tmp_path, feature_extractor):
    np.save(data_dir / "dog4.npy", np.zeros((feature_extractor.feature_size, feature_extractor.num_mel_frames)))
    listing = listing_of(data_dir, ["dog1"])
    listing.add(data_dir, "dog4.npy", "dog", "train")
    report = build_mel_dataset(
        listing, data_dir, tmp_path / "mels", feature_extractor, load_mel=np.load, keep_audio=True
    )
    assert report["left_out"] == [
        {
            "file": "dog4.npy",
            "reason": "it is a mel without its sound; build from sound files, or without `keep_audio`",
        }
    ]


def test_mels_equal_the_feature_extractors(data_dir, tmp_path, feature_extractor):
    build_mel_dataset(listing_of(data_dir, ALL_NAMES), data_dir, tmp_path / "mels", feature_extractor)
    rows = rows_by_id(load_from_disk(tmp_path / "mels"))
    assert set(rows) == {f"{name}.wav" for name in ALL_NAMES}
    for clip_id, row in rows.items():
        audio, rate = read_audio(data_dir / clip_id)
        expected = feature_extractor.mel_spectrogram([audio], rate, resample=True)[0]
        torch.testing.assert_close(torch.tensor(row["mel"]), expected, atol=FLOAT16_STEP, rtol=0)


def test_columns_are_as_documented(data_dir, tmp_path, feature_extractor):
    build_mel_dataset(listing_of(data_dir, ALL_NAMES), data_dir, tmp_path / "mels", feature_extractor)
    train = load_from_disk(tmp_path / "mels")["train"]
    assert train.column_names == ["id", "label", "mel"]
    assert train.features["label"] == ClassLabel(names=["cat", "dog"])
    assert train.features["mel"].shape == (feature_extractor.feature_size, feature_extractor.num_mel_frames)
    assert train.features["mel"].dtype == "float16"
    for row in train:
        assert train.features["label"].int2str(row["label"]) == row["id"][:3]


def test_feature_extractor_lies_beside(data_dir, tmp_path, feature_extractor):
    build_mel_dataset(listing_of(data_dir, ALL_NAMES), data_dir, tmp_path / "mels", feature_extractor)
    assert MelFeatureExtractor.from_pretrained(tmp_path / "mels").to_dict() == feature_extractor.to_dict()


def test_given_class_names_fix_the_order(data_dir, tmp_path, feature_extractor):
    listing = listing_of(data_dir, ALL_NAMES, class_names=["dog", "emu", "cat"])
    report = build_mel_dataset(listing, data_dir, tmp_path / "mels", feature_extractor)
    assert load_from_disk(tmp_path / "mels")["train"].features["label"].names == ["dog", "emu", "cat"]
    assert report["warnings"] == ["The class 'emu' has no training clip."]


def test_unreadable_clip_is_reported_and_the_rest_goes_on(data_dir, tmp_path, feature_extractor):
    (data_dir / "dog2.wav").write_bytes(b"broken")
    soundfile.write(data_dir / "cat1.wav", np.full(22050, np.nan, np.float32), 22050, subtype="FLOAT")
    report = build_mel_dataset(listing_of(data_dir, ALL_NAMES), data_dir, tmp_path / "mels", feature_extractor)
    assert [entry["file"] for entry in report["left_out"]] == ["dog2.wav", "cat1.wav"]
    assert report["num_left_out"] == 2
    assert "NaN" in report["left_out"][1]["reason"]
    assert set(rows_by_id(load_from_disk(tmp_path / "mels"))) == {"dog1.wav", "dog3.wav", "cat2.wav"}
    assert json.loads((tmp_path / "mels" / "build_report.json").read_text()) == report
    assert report["clips_per_class"] == {"cat": {"train": 1}, "dog": {"train": 2}}


def test_a_class_that_cannot_be_read_stays_with_a_warning(data_dir, tmp_path, feature_extractor):
    # Shards are written before it is known which files can be read, and labels are numbers in them.
    for name in ("cat1", "cat2"):
        (data_dir / f"{name}.wav").write_bytes(b"broken")
    report = build_mel_dataset(listing_of(data_dir, ALL_NAMES), data_dir, tmp_path / "mels", feature_extractor)
    train = load_from_disk(tmp_path / "mels")["train"]
    assert train.features["label"].names == ["cat", "dog"]
    assert set(train["label"][:]) == {1}
    assert report["warnings"] == ["No clip of 'cat' can be read; the class stays, without clips."]


def test_a_class_whose_validation_files_are_broken_gets_a_warning(data_dir, tmp_path, feature_extractor):
    (data_dir / "cat1.wav").write_bytes(b"broken")
    listing = listing_of(data_dir, ["dog1", "cat2"], split="train")
    listing.add(data_dir, "cat1.wav", "cat", "validation")
    listing.add(data_dir, "dog2.wav", "dog", "validation")
    report = build_mel_dataset(listing, data_dir, tmp_path / "mels", feature_extractor)
    assert report["warnings"] == ["No file for validation of the class 'cat' can be read."]


def test_a_split_whose_only_file_is_broken_gets_a_warning(data_dir, tmp_path, feature_extractor):
    (data_dir / "cat1.wav").write_bytes(b"broken")
    listing = listing_of(data_dir, ["dog1", "cat2"], split="train")
    listing.add(data_dir, "cat1.wav", "cat", "validation")
    report = build_mel_dataset(listing, data_dir, tmp_path / "mels", feature_extractor)
    assert report["clips"] == {"train": 2}
    assert report["warnings"] == ["No file for validation of the class 'cat' can be read."]


def test_a_class_whose_training_files_are_broken_gets_a_warning(data_dir, tmp_path, feature_extractor):
    (data_dir / "cat1.wav").write_bytes(b"broken")
    listing = listing_of(data_dir, ["dog1", "cat1"], split="train")
    listing.add(data_dir, "cat2.wav", "cat", "validation")
    report = build_mel_dataset(listing, data_dir, tmp_path / "mels", feature_extractor)
    assert report["clips_per_class"]["cat"] == {"train": 0, "validation": 1}
    assert report["warnings"] == [
        "The class 'cat' has no training clip: none of its 1 files for training can be read."
    ]


def test_nothing_readable_is_an_error_that_leaves_nothing(data_dir, tmp_path, feature_extractor):
    (data_dir / "dog1.wav").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"No clip is left for training.*train needs at least one.*dog1\.wav"):
        build_mel_dataset(listing_of(data_dir, ["dog1"]), data_dir, tmp_path / "mels", feature_extractor)
    assert [path.name for path in tmp_path.iterdir()] == ["clips"]


def test_splits_do_not_depend_on_what_can_be_read(data_dir, tmp_path, feature_extractor):
    # They are part of the plan, which is made before the first file is read.
    build_mel_dataset(
        listing_of(data_dir, ALL_NAMES), data_dir, tmp_path / "whole", feature_extractor, validation_fraction=0.3
    )
    whole = load_from_disk(tmp_path / "whole")
    (data_dir / "dog1.wav").write_bytes(b"broken")
    build_mel_dataset(
        listing_of(data_dir, ALL_NAMES), data_dir, tmp_path / "broken", feature_extractor, validation_fraction=0.3
    )
    for split, rows in load_from_disk(tmp_path / "broken").items():
        assert rows["id"][:] == [clip_id for clip_id in whole[split]["id"][:] if clip_id != "dog1.wav"]


def test_given_splits_are_kept(data_dir, tmp_path, feature_extractor):
    listing = listing_of(data_dir, ["dog1", "cat1"], split="train")
    listing.add(data_dir, "dog2.wav", "dog", "test")
    build_mel_dataset(listing, data_dir, tmp_path / "mels", feature_extractor, validation_fraction=0.5)
    dataset = load_from_disk(tmp_path / "mels")
    assert {split: rows["id"][:] for split, rows in dataset.items()} == {
        "train": ["dog1.wav", "cat1.wav"],
        "test": ["dog2.wav"],
    }


def test_a_second_build_sees_changed_files(data_dir, tmp_path, feature_extractor):
    arguments = (listing_of(data_dir, ["dog1"]), data_dir, tmp_path / "mels", feature_extractor)
    build_mel_dataset(*arguments)
    before = np.array(load_from_disk(tmp_path / "mels")["train"][0]["mel"])
    soundfile.write(data_dir / "dog1.wav", np.zeros(22050), 22050)
    build_mel_dataset(*arguments, overwrite=True)
    after = np.array(load_from_disk(tmp_path / "mels")["train"][0]["mel"])
    assert before.max() > 0.5
    assert after.max() == 0


def test_workers_change_no_byte(data_dir, tmp_path, feature_extractor):
    listing = listing_of(data_dir, ALL_NAMES)
    (data_dir / "cat2.wav").write_bytes(b"broken")
    for name, num_proc in (("one", None), ("two", 2)):
        build_mel_dataset(
            listing,
            data_dir,
            tmp_path / name,
            feature_extractor,
            clip_options=ClipOptions(hop_seconds=0.5),
            validation_fraction=0.4,
            num_proc=num_proc,
        )
    assert folder_bytes(tmp_path / "one") == folder_bytes(tmp_path / "two")


def kill_this_process(_):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_build_is_continued(data_dir, tmp_path, feature_extractor):
    listing = listing_of(data_dir, ALL_NAMES)
    listing.add(data_dir, "killer.npy", "dog", "validation")
    arguments = (listing, data_dir, tmp_path / "mels", feature_extractor)
    assert clean_processes.run(build_mel_dataset, *arguments, load_mel=kill_this_process) == -signal.SIGKILL
    finished = next((tmp_path / "mels.partial").rglob("train/*.arrow")).stat().st_ino
    report = build_mel_dataset(*arguments)
    assert next((tmp_path / "mels").rglob("train/*.arrow")).stat().st_ino == finished
    assert [entry["file"] for entry in report["left_out"]] == ["killer.npy"]


def test_a_build_is_continued_only_with_the_same_files(data_dir, tmp_path, feature_extractor):
    listing = listing_of(data_dir, ["dog1"])
    build_mel_dataset(listing, data_dir, tmp_path / "mels", feature_extractor)
    os.utime(data_dir / "dog1.wav", (0, 0))
    with pytest.raises(ValueError, match="other `sources`"):
        build_mel_dataset(listing, data_dir, tmp_path / "mels", feature_extractor)


@pytest.mark.parametrize(
    "arguments",
    [
        {"seed": 1},
        {"validation_fraction": 0.5},
        {"max_clips_per_class": 1},
        {"clip_options": ClipOptions(loudness=-20)},
    ],
)
def test_other_options_are_named(data_dir, tmp_path, feature_extractor, arguments):
    listing = listing_of(data_dir, ALL_NAMES)
    build_mel_dataset(listing, data_dir, tmp_path / "mels", feature_extractor)
    with pytest.raises(ValueError, match=f"`{next(iter(arguments))}`"):
        build_mel_dataset(listing, data_dir, tmp_path / "mels", feature_extractor, **arguments)


def test_the_same_build_again_is_no_work(data_dir, tmp_path, feature_extractor):
    listing = listing_of(data_dir, ALL_NAMES)
    first = build_mel_dataset(listing, data_dir, tmp_path / "mels", feature_extractor)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "mels").rglob("*")}
    assert build_mel_dataset(listing, data_dir, tmp_path / "mels", feature_extractor) == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "mels").rglob("*")} == before


def test_long_files_are_cut_to_clips(data_dir, tmp_path, feature_extractor):
    report = build_mel_dataset(
        listing_of(data_dir, ["dog1", "dog2"]),
        data_dir,
        tmp_path / "mels",
        feature_extractor,
        clip_options=ClipOptions(hop_seconds=0.5),
    )
    assert report["clips"] == {"train": 8}
    assert load_from_disk(tmp_path / "mels")["train"]["id"][:] == [
        f"{name}.wav#{index}" for name in ("dog1", "dog2") for index in range(4)
    ]


def test_published_mels_are_taken_as_they_are(data_dir, tmp_path, feature_extractor):
    mel = np.linspace(0, 1, feature_extractor.feature_size * feature_extractor.num_mel_frames, dtype=np.float32)
    mel = mel.reshape(feature_extractor.feature_size, -1)
    np.save(data_dir / "dog9.npy", mel)
    (data_dir / "dog8.npy").write_bytes(b"broken")
    listing = listing_of(data_dir, ["dog1"])
    for name in ("dog9.npy", "dog8.npy"):
        listing.add(data_dir, name, "dog", None)
    report = build_mel_dataset(listing, data_dir, tmp_path / "mels", feature_extractor, load_mel=np.load)
    stored = rows_by_id(load_from_disk(tmp_path / "mels"))["dog9.npy"]["mel"]
    np.testing.assert_array_equal(stored, mel.astype(np.float16))
    assert [entry["file"] for entry in report["left_out"]] == ["dog8.npy"]


def test_clips_per_class_are_limited(data_dir, tmp_path, feature_extractor):
    listing = listing_of(data_dir, ALL_NAMES)
    report = build_mel_dataset(listing, data_dir, tmp_path / "mels", feature_extractor, max_clips_per_class=2)
    assert report["clips_per_class"] == {"cat": {"train": 2}, "dog": {"train": 2}}


@pytest.mark.parametrize("arguments", [{"validation_fraction": 1.0}, {"validation_fraction": -0.1}, {"num_proc": 0}])
def test_impossible_arguments_are_named(data_dir, tmp_path, feature_extractor, arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        build_mel_dataset(listing_of(data_dir, ["dog1"]), data_dir, tmp_path / "mels", feature_extractor, **arguments)
