"""From VGGSound's parts, csv and lists to a mel dataset."""

import numpy as np
import pytest
import soundfile
from datasets import load_from_disk
from loopback_files import LoopbackFiles
from made_up_mels import mel_bytes, write_mels, write_tar

from melspec_gpt.datasets_scripts.audio_sources import AudioListing
from melspec_gpt.datasets_scripts.build_vggsound import build_vggsound, list_vggsound, main
from melspec_gpt.datasets_scripts.vggsound_metadata import clip_id_of, read_vggsound_metadata, video_of

# YouTube ids may hold and start with - and _. The first video has two clips, of two classes.
ROWS = [
    ("-7sg--aJdrc", 39, "dog barking", "train"),
    ("-7sg--aJdrc", 49, "people marching", "train"),
    ("-7tYmeOmsRg", 0, "alligators, crocodiles hissing", "train"),
    ("_jZENGDFA__", 80, "dog barking", "train"),
    ("0nib7bMm8BA", 15, "dog barking", "test"),
]
IDS = [f"{video}_{start * 1000}_{start * 1000 + 10_000}" for video, start, _, _ in ROWS]
CLASSES = ["alligators, crocodiles hissing", "dog barking", "people marching"]


def write_csv(folder, header=""):
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f'{video},{start},"{label}",{split}\n' for video, start, label, split in ROWS]
    (folder / "vggsound.csv").write_text(header + "".join(lines))


def write_lists(folder, **lists):
    for name, members in lists.items():
        (folder / f"vggsound_{name}.txt").write_text("\n".join(members) + "\n")


@pytest.fixture
def data_dir(tmp_path):
    """The five clips as mels, with the csv and lists."""
    folder = tmp_path / "vggsound"
    write_mels(folder / "melspec_10s_22050hz", IDS)
    write_csv(folder)
    write_lists(folder, train=IDS[:3], valid=[IDS[3]], test=[IDS[4]])
    return folder


def list_folder(folder, classes=None):
    metadata = read_vggsound_metadata(folder)
    listing = AudioListing(class_names=classes or metadata.class_names)
    list_vggsound(listing, metadata, [folder])
    return listing


def splits_of(listing):
    return {clip.clip_id: clip.split for clip in listing.clips}


@pytest.mark.parametrize("header", ["", "# YouTube ID,start seconds,label,train/test split\n", "\n"])
def test_labels_are_read_with_and_without_a_header(data_dir, header):
    write_csv(data_dir, header)
    metadata = read_vggsound_metadata(data_dir)
    assert metadata.class_names == CLASSES
    assert metadata.labels == dict(zip(IDS, [row[2] for row in ROWS], strict=True))


@pytest.mark.parametrize("text", ["", "a,b\n", "video,start,label,split\n-7sg--aJdrc,soon,dog,train\n"])
def test_other_csv_files_are_refused(data_dir, text):
    (data_dir / "vggsound.csv").write_text(text)
    with pytest.raises(ValueError, match=r"vggsound\.csv"):
        read_vggsound_metadata(data_dir)


def test_absent_csv_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match=r"There is no .*vggsound\.csv.*meta_dir.*--download"):
        build_vggsound(tmp_path, tmp_path.parent / "mels")


@pytest.mark.parametrize("name", ["-7tYmeOmsRg_180000_190000", "-7tYmeOmsRg_000180"])
def test_clips_are_known_under_both_names(tmp_path, name):
    assert clip_id_of(tmp_path / name) == "-7tYmeOmsRg_180000_190000"


@pytest.mark.parametrize("name", ["-7tYmeOmsRg", "video_00001", "-7tYmeOmsRg_180000", "xx_-7tYmeOmsRg_1_2_3"])
def test_other_names_are_no_clips(tmp_path, name):
    assert clip_id_of(tmp_path / name) in (None, "-7tYmeOmsRg_180000000_180010000")


def test_recording_is_the_video():
    assert [video_of(clip_id) for clip_id in IDS] == [row[0] for row in ROWS]


def test_lists_decide_the_splits(data_dir):
    listing = list_folder(data_dir)
    assert splits_of(listing) == dict(zip(IDS, ["train", "train", "train", "validation", "test"], strict=True))
    assert {clip.clip_id: (clip.label, clip.source_id) for clip in listing.clips}[IDS[1]] == (
        "people marching",
        "-7sg--aJdrc",
    )
    assert listing.warnings == ["vggsound.csv names 3 classes; the whole data set has 309."]


def test_without_lists_the_csv_decides(data_dir):
    for path in data_dir.glob("*.txt"):
        path.unlink()
    assert splits_of(list_folder(data_dir)) == dict.fromkeys(IDS[:4]) | {IDS[4]: "test"}


def test_clips_of_one_video_never_share_two_splits(data_dir):
    write_lists(data_dir, train=[IDS[0], *IDS[2:4]], valid=[IDS[1]], test=[IDS[4]])
    listing = list_folder(data_dir)
    assert splits_of(listing)[IDS[1]] == "validation"
    assert listing.left_out == [{"file": IDS[0], "reason": "another clip of its video is in the split validation"}]


def test_unlisted_unlabelled_and_missing_clips_are_named(data_dir):
    write_mels(data_dir / "more", ["QQQQQQQQQQQ_0_10000", "WWWWWWWWWWW_0_10000"])
    write_lists(data_dir, train=[*IDS[:3], "QQQQQQQQQQQ_0_10000", "EEEEEEEEEEE_0_10000"])
    listing = list_folder(data_dir)
    reasons = {entry["file"]: entry["reason"] for entry in listing.left_out}
    assert reasons == {"QQQQQQQQQQQ_0_10000": "it has no class", "WWWWWWWWWWW_0_10000": "no split list names it"}
    assert listing.missing == ["EEEEEEEEEEE_0_10000"]


def test_some_classes_can_be_chosen(data_dir):
    listing = list_folder(data_dir, classes=["dog barking"])
    assert set(splits_of(listing)) == {IDS[0], IDS[3], IDS[4]}
    assert not listing.left_out
    assert not listing.missing


def test_published_mels_of_doubles_are_built(data_dir, tmp_path):
    stored = mel_bytes(7, "float64")
    (data_dir / f"melspec_10s_22050hz/{IDS[0]}_mel.npy").write_bytes(stored)
    (data_dir / f"melspec_10s_22050hz/{IDS[2]}_mel.npy").write_bytes(stored[:-1])
    report = build_vggsound(data_dir, tmp_path / "mels")
    dataset = load_from_disk(tmp_path / "mels")
    assert report["clips"] == {"train": 2, "validation": 1, "test": 1}
    assert [entry["file"] for entry in report["left_out"]] == [IDS[2]]
    assert dataset["train"].features["label"].names == CLASSES
    row = dataset["train"].with_format("numpy")[0]
    expected = np.random.default_rng(7).uniform(0, 1, (80, 860)).astype(np.float32).astype(np.float16)
    assert row["id"] == IDS[0]
    assert np.array_equal(row["mel"], expected)


def test_sound_files_are_built(tmp_path):
    write_csv(tmp_path / "data")
    for video, start, _, _ in ROWS:
        samples = np.random.default_rng(start).uniform(-0.5, 0.5, 8000)
        soundfile.write(tmp_path / f"data/{video}_{start:06d}.wav", samples, 8000)
    command = f"--data_dir {tmp_path}/data --output_dir {tmp_path}/mels --clip_seconds 0.5 --validation_fraction 0.5"
    main([*command.split(), "--classes", "dog barking"])
    dataset = load_from_disk(tmp_path / "mels")
    assert {split: rows.num_rows for split, rows in dataset.items()} == {"train": 1, "validation": 1, "test": 1}


def test_parts_and_other_archives_are_unpacked(tmp_path):
    data_dir = tmp_path / "data"
    write_csv(data_dir)
    first = write_tar(data_dir / "melspec_10s_22050hz_01.tar", {f"melspec_10s_22050hz/{IDS[0]}_mel.npy": mel_bytes()})
    write_tar(data_dir / "melspec_10s_22050hz_02.tar", {f"{IDS[1]}_mel.npy": mel_bytes()})
    write_tar(data_dir / "mine.tar", {f"{IDS[2]}_mel.npy": mel_bytes()})
    write_tar(data_dir / "feature_rgb_bninception_dim1024_21.5fps_01.tar", {f"{IDS[3]}_mel.npy": mel_bytes()})
    wrong = "0" * 32
    (data_dir / "md5sum_vggsound.md5").write_text(
        f"{first}  ./x/melspec_10s_22050hz_01.tar\n{wrong}  ./x/melspec_10s_22050hz_02.tar\n"
    )
    report = build_vggsound(data_dir, tmp_path / "mels", validation_fraction=0)
    assert set(load_from_disk(tmp_path / "mels")["train"]["id"][:]) == {IDS[0], IDS[2]}
    assert [entry["file"] for entry in report["left_out"]] == ["melspec_10s_22050hz_02.tar"]
    assert set(report["missing"]) == {IDS[1], IDS[3], IDS[4]}


@pytest.fixture
def server():
    files = LoopbackFiles({})
    yield files
    files.stop()


def test_parts_and_metadata_are_fetched(tmp_path, server):
    write_csv(tmp_path / "there")
    write_lists(tmp_path / "there", train=IDS[:3], valid=[IDS[3]], test=[IDS[4]])
    sums = []
    for number, clip_id in enumerate(IDS[:2], start=1):
        part = tmp_path / f"there/melspec_10s_22050hz_{number:02d}.tar"
        sums.append(f"{write_tar(part, {f'{clip_id}_mel.npy': mel_bytes()})}  ./downloaded_features/{part.name}\n")
    (tmp_path / "there/md5sum_vggsound.md5").write_text("".join(sums))
    server.files = {f"/{path.name}": path.read_bytes() for path in (tmp_path / "there").iterdir()}
    command = f"--data_dir {tmp_path}/new --download --parts 2 1 --base_url {server.url} --metadata_url {server.url}/"
    main(f"{command} --output_dir {tmp_path}/mels".split())
    assert load_from_disk(tmp_path / "mels")["train"]["id"][:] == IDS[:2]
    assert len(server.requests) == 7
    assert not list((tmp_path / "new").glob("*.tar"))


def test_parts_are_numbered_to_64(data_dir, tmp_path):
    with pytest.raises(ValueError, match=r"`parts` holds \[0, 65\].*from 1 to 64"):
        build_vggsound(data_dir, tmp_path / "mels", parts=[0, 1, 65])
