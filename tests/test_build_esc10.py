"""From the ESC-10 collection to a mel dataset."""

import csv
import zipfile

import numpy as np
import pytest
import soundfile
from datasets import load_from_disk
from loopback_files import LoopbackFiles

from melspec_gpt.datasets_scripts.build_esc10 import build_esc10, list_esc10, main

FOLDERS = {"001 - Dog bark": "Dog bark", "002 - Rain": "Rain", "010 - Ant walk": "Ant walk"}
FOLDS = range(1, 6)


@pytest.fixture
def data_dir(tmp_path):
    """Three classes with one clip per fold, class names out of alphabetical order."""
    folder = tmp_path / "esc10"
    for number, class_folder in enumerate(FOLDERS):
        (folder / class_folder).mkdir(parents=True)
        for fold in FOLDS:
            samples = np.random.default_rng(10 * number + fold).uniform(-0.5, 0.5, 8000)
            soundfile.write(folder / class_folder / f"{fold}-100{number}-A.ogg", samples, 8000)
    return folder


def folds_of_splits(listing):
    folds = {}
    for clip in listing.clips:
        folds.setdefault(clip.split, set()).add(int(clip.clip_id.split("/")[1][0]))
    return folds


def test_splits_are_whole_folds(data_dir):
    assert folds_of_splits(list_esc10(data_dir)) == {"train": {1, 2, 3}, "validation": {4}, "test": {5}}


@pytest.mark.parametrize(
    ("validation_folds", "test_folds", "expected"),
    [
        ([], [5], {"train": {1, 2, 3, 4}, "test": {5}}),
        ([], [], {"train": {1, 2, 3, 4, 5}}),
        ([1, 2], [], {"validation": {1, 2}, "train": {3, 4, 5}}),
    ],
)
def test_folds_that_are_not_named_are_for_training(data_dir, validation_folds, test_folds, expected):
    assert folds_of_splits(list_esc10(data_dir, validation_folds, test_folds)) == expected


def test_classes_keep_the_order_of_the_folders(data_dir):
    listing = list_esc10(data_dir)
    assert listing.class_names == ["Dog bark", "Rain", "Ant walk"]
    assert {clip.clip_id.split("/")[0]: clip.label for clip in listing.clips} == FOLDERS


def test_some_classes_can_be_chosen(data_dir):
    listing = list_esc10(data_dir, classes=["Ant walk", "Dog bark"])
    assert listing.class_names == ["Dog bark", "Ant walk"]
    assert {clip.label for clip in listing.clips} == {"Dog bark", "Ant walk"}


def test_unknown_class_names_the_known_ones(data_dir):
    with pytest.raises(ValueError, match="Cat.*choose from.*Dog bark"):
        list_esc10(data_dir, classes=["Cat", "Rain"])


def test_metadata_decides_the_folds(data_dir):
    with open(data_dir / "metadata.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["filename", "fold", "class_name"])
        writer.writerow(["001 - Dog bark/1-1000-A.ogg", "4", "Dog bark"])
        writer.writerow(["002 - Rain/2-1001-A.ogg", "2", "Rain"])
        writer.writerow(["002 - Rain/3-1001-A.ogg", "two", "Rain"])
        writer.writerow(["003 - Sea/3-1001-A.ogg", "3", "Sea"])
    listing = list_esc10(data_dir)
    assert [(clip.clip_id, clip.split) for clip in listing.clips] == [
        ("001 - Dog bark/1-1000-A.ogg", "validation"),
        ("002 - Rain/2-1001-A.ogg", "train"),
    ]
    assert len(listing.left_out) == 2


def test_file_without_fold_is_left_out(data_dir):
    (data_dir / "002 - Rain" / "rain.ogg").touch()
    assert [entry["file"] for entry in list_esc10(data_dir).left_out] == ["002 - Rain/rain.ogg"]


def test_absent_validation_fold_is_refused(data_dir):
    with pytest.raises(ValueError, match=r"validation_folds.*\[7\].*\[1, 2, 3, 4, 5\]"):
        list_esc10(data_dir, validation_folds=[7])


def test_a_fold_cannot_be_in_two_splits(data_dir):
    with pytest.raises(ValueError, match="share a fold"):
        list_esc10(data_dir, validation_folds=[4, 5])


def test_other_layouts_are_refused(data_dir):
    with pytest.raises(ValueError, match="001 - Dog bark"):
        list_esc10(data_dir / "002 - Rain")


def test_dataset_without_validation_split(data_dir, tmp_path):
    main(f"--data_dir {data_dir} --output_dir {tmp_path / 'mels'} --clip_seconds 0.5 --validation_folds".split())
    dataset = load_from_disk(tmp_path / "mels")
    assert {split: rows.num_rows for split, rows in dataset.items()} == {"train": 12, "test": 3}


def test_default_clips_have_five_seconds(data_dir, tmp_path):
    build_esc10(data_dir, tmp_path / "mels", classes=["Rain"])
    assert load_from_disk(tmp_path / "mels")["train"].features["mel"].shape == (80, 430)


@pytest.fixture
def esc50(tmp_path):
    """Folds 1, 4 and 5 of ESC-50 with three clips each, one of them of no class of ESC-10."""
    folder = tmp_path / "esc50"
    (folder / "audio").mkdir(parents=True)
    (folder / "meta").mkdir()
    rows = [["filename", "fold", "target", "category", "esc10", "src_file", "take"]]
    for fold in (1, 4, 5):
        for target, category, member in ((12, "crackling_fire", True), (0, "dog", True), (5, "cat", False)):
            name = f"{fold}-{fold}0{target}-A-{target}.wav"
            samples = np.random.default_rng(fold + target).uniform(-0.5, 0.5, 8000)
            soundfile.write(folder / "audio" / name, samples, 8000)
            rows.append([name, fold, target, category, member, f"{fold}0{target}", "A"])
    with open(folder / "meta" / "esc50.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def test_clips_of_esc50_get_the_names_of_esc10(esc50):
    listing = list_esc10(esc50)
    assert listing.class_names[:2] == ["Dog bark", "Rain"]
    assert len(listing.class_names) == 10
    assert [(clip.clip_id, clip.label, clip.split, clip.source_id) for clip in listing.clips] == [
        ("audio/1-100-A-0.wav", "Dog bark", "train", "100"),
        ("audio/4-400-A-0.wav", "Dog bark", "validation", "400"),
        ("audio/5-500-A-0.wav", "Dog bark", "test", "500"),
        ("audio/1-1012-A-12.wav", "Fire crackling", "train", "1012"),
        ("audio/4-4012-A-12.wav", "Fire crackling", "validation", "4012"),
        ("audio/5-5012-A-12.wav", "Fire crackling", "test", "5012"),
    ]


def test_esc50_is_built(esc50, tmp_path):
    build_esc10(esc50, tmp_path / "mels", clip_seconds=0.5, classes=["Dog bark"])
    dataset = load_from_disk(tmp_path / "mels")
    assert {split: rows.num_rows for split, rows in dataset.items()} == {"train": 1, "validation": 1, "test": 1}


def test_recordings_are_the_freesound_clips(data_dir):
    listing = list_esc10(data_dir)
    assert {clip.source_id for clip in listing.clips if clip.label == "Rain"} == {"1001"}


def test_collection_may_lie_in_a_folder_of_its_own(data_dir, tmp_path):
    assert list_esc10(tmp_path).clips == list_esc10(data_dir).clips


def test_archive_is_fetched_once_and_unpacked(data_dir, tmp_path):
    server = LoopbackFiles({})
    with zipfile.ZipFile(tmp_path / "esc.zip", "w") as archive:
        for path in sorted(data_dir.rglob("*.ogg")):
            archive.write(path, f"ESC-10-master/{path.relative_to(data_dir)}")
        archive.writestr("../evil.ogg", b"evil")
    server.files["/master.zip"] = (tmp_path / "esc.zip").read_bytes()
    options = f"--data_dir {tmp_path}/new --download --archive_url {server.url}/master.zip --clip_seconds 0.5"
    for name in ("mels", "again"):
        main(f"{options} --output_dir {tmp_path}/{name} --classes Rain".split())
        assert load_from_disk(tmp_path / name)["train"]["id"][:] == [
            f"002 - Rain/{fold}-1001-A.ogg" for fold in (1, 2, 3)
        ]
        assert "ESC-10.zip/../evil.ogg" in (tmp_path / name / "build_report.json").read_text()
    assert len(server.requests) == 1
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["ESC-10"]
    server.stop()


def test_real_collection_is_split_by_fold(shared_data):
    listing = list_esc10(shared_data / "esc10")
    assert folds_of_splits(listing) == {"train": {1, 2, 3}, "validation": {4}}
    assert len(listing.clips) == 318
    assert listing.class_names[0] == "Dog bark"
    assert listing.class_names[-1] == "Fire crackling"
    assert not listing.left_out
    assert not listing.warnings
    with open(shared_data / "esc10" / "metadata.csv", newline="") as file:
        recordings = {row["filename"]: row["freesound_id"] for row in csv.DictReader(file)}
    assert {clip.clip_id: clip.source_id for clip in listing.clips} == recordings


def test_real_collection_without_its_metadata_is_the_same(shared_data, tmp_path):
    for folder in (shared_data / "esc10").iterdir():
        if folder.is_dir():
            (tmp_path / folder.name).symlink_to(folder)
    with_metadata = {(clip.clip_id, clip.label, clip.split) for clip in list_esc10(shared_data / "esc10").clips}
    assert {(clip.clip_id, clip.label, clip.split) for clip in list_esc10(tmp_path).clips} == with_metadata
