"""From VAS, in each of its layouts, to a mel dataset with the official splits."""

import json

import numpy as np
import pytest
import soundfile
from datasets import load_from_disk
from loopback_files import LoopbackFiles
from made_up_mels import mel_bytes, write_mels, write_tar

from melspec_gpt.datasets_scripts.audio_reading import read_clips
from melspec_gpt.datasets_scripts.audio_sources import AudioListing
from melspec_gpt.datasets_scripts.build_vas import CHECKSUMS, CLASS_NAMES, build_vas, list_vas, main, official_splits
from melspec_gpt.datasets_scripts.clip_options import ClipOptions
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor

TRAIN, VALIDATION = "video_00000", "video_00400"


def list_folder(folder, layout="auto", classes=CLASS_NAMES, splits_dir=None):
    listing = AudioListing(class_names=list(classes))
    return list_vas(listing, [folder], layout, splits_dir), listing


def mels_of(folder, split="validation"):
    rows = load_from_disk(folder)[split].with_format("numpy")
    return {row["id"]: row["mel"].astype(np.float32) for row in rows}


def test_official_rule_gives_the_published_lists(shared_data):
    for split, name in (("train", "vas_train.txt"), ("validation", "vas_valid.txt")):
        published = (shared_data / "vas_mini" / name).read_text().split()
        assert [clip_id for clip_id, chosen in official_splits().items() if chosen == split] == published


def test_classes_and_archives_are_the_eight():
    assert sorted(CLASS_NAMES) == CLASS_NAMES
    assert [name.split("_")[0] for name in CHECKSUMS] == CLASS_NAMES


@pytest.mark.parametrize(
    ("path", "layout"),
    [
        ("features/dog/melspec_10s_22050hz/video_00007_mel.npy", "features"),
        ("vas/features/dog/melspec_10s_22050hz/video_00007_mel.npy", "features"),
        ("dog_melspec_10s_22050hz/somewhere/video_00007_mel.npy", "features"),
        ("VAS/videos/dog/video_00007.mp4", "videos"),
        ("vas/Dog/Videos/video_00007.MP4", "videos"),
        ("dog/video_00007.wav", "audio"),
        ("DOG/audio_22050hz/video_00007.flac", "audio"),
    ],
)
def test_layouts_are_recognised(tmp_path, path, layout):
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).touch()
    found, listing = list_folder(tmp_path)
    assert found.layout == layout
    assert [(clip.clip_id, clip.label, clip.split) for clip in listing.clips] == [("dog/video_00007", "dog", "train")]


def test_other_files_are_no_clips(tmp_path):
    write_mels(tmp_path, [f"features/dog/melspec_10s_22050hz/{TRAIN}", "features/cat/video_00000", "video_00001"])
    (tmp_path / "features/dog/codes_10s").mkdir()
    (tmp_path / "features/dog/codes_10s/video_00000_mel_code.npy").touch()
    (tmp_path / "features/dog/.video_00001_mel.npy").touch()
    _, listing = list_folder(tmp_path)
    assert [clip.clip_id for clip in listing.clips] == [f"dog/{TRAIN}"]
    assert not listing.left_out


def test_links_are_followed_but_not_in_circles(tmp_path):
    write_mels(tmp_path / "disk", [TRAIN])
    (tmp_path / "vas").mkdir()
    (tmp_path / "vas/dog").symlink_to(tmp_path / "disk")
    (tmp_path / "disk/again").symlink_to(tmp_path / "vas")
    _, listing = list_folder(tmp_path / "vas")
    assert [clip.clip_id for clip in listing.clips] == [f"dog/{TRAIN}"]


def test_unlisted_and_missing_clips_are_named(tmp_path):
    write_mels(tmp_path, [f"sneeze/{TRAIN}", "sneeze/video_00346", "sneeze/bless_you"])
    _, listing = list_folder(tmp_path, classes=["sneeze"])
    assert [entry["file"] for entry in listing.left_out] == ["sneeze/bless_you", "sneeze/video_00346"]
    assert len(listing.missing) == 282 + 64 - 1
    assert listing.warnings == ["Of 346 listed clips 345 are not there: 281 train, 64 validation."]


def test_layout_can_be_chosen_and_the_others_are_mentioned(shared_data):
    found, listing = list_folder(shared_data / "vas_mini")
    assert found.layout == "features"
    assert "there are also 10 videos" in listing.warnings[0]
    found, listing = list_folder(shared_data / "vas_mini", layout="videos")
    assert {clip.path[-4:] for clip in listing.clips} == {".mp4"}
    with pytest.raises(ValueError, match="no sound files"):
        list_folder(shared_data / "vas_mini", layout="audio")


def test_second_copy_of_a_clip_is_passed_over(tmp_path):
    write_mels(tmp_path, [f"a/dog/{TRAIN}", f"b/dog/{TRAIN}"])
    _, listing = list_folder(tmp_path)
    assert [clip.path for clip in listing.clips] == [str(tmp_path / f"a/dog/{TRAIN}_mel.npy")]
    assert listing.warnings[0].startswith("Passed over 1 files of clips")


def test_other_lists_decide_the_splits(tmp_path):
    write_mels(tmp_path, ["dog/rex", "dog/fido", "gun/shot"])
    for name, clips in (("train", "dog/rex\ndog/lassie\n"), ("valid", "dog/fido"), ("test", "gun/shot\n\n")):
        (tmp_path / f"vas_{name}.txt").write_text(clips)
    _, listing = list_folder(tmp_path, splits_dir=tmp_path)
    splits = {clip.clip_id: clip.split for clip in listing.clips}
    assert splits == {"dog/rex": "train", "dog/fido": "validation", "gun/shot": "test"}
    assert listing.missing == ["dog/lassie"]
    (tmp_path / "vas_test.txt").write_text("dog/rex")
    with pytest.raises(ValueError, match=r"'dog/rex' is in the lists of train and test"):
        list_folder(tmp_path, splits_dir=tmp_path)
    (tmp_path / "vas_valid.txt").unlink()
    with pytest.raises(ValueError, match=r"no split list .*vas_valid\.txt"):
        list_folder(tmp_path, splits_dir=tmp_path)


def test_clips_that_no_list_names_are_explained(tmp_path):
    write_mels(tmp_path, ["dog/rex", "dog/fido"])
    with pytest.raises(ValueError, match=r"holds 2 published mels \(dog/fido, .*split lists name"):
        list_folder(tmp_path)


@pytest.fixture(scope="module")
def from_mels(shared_data, tmp_path_factory):
    """Folder and report of the build of the ten real clips from their published mels."""
    folder = tmp_path_factory.mktemp("vas") / "mels"
    return folder, build_vas(shared_data / "vas_mini", folder, layout="features")


@pytest.fixture(scope="module")
def from_videos(shared_data, tmp_path_factory):
    """The same from their videos."""
    folder = tmp_path_factory.mktemp("vas") / "videos"
    return folder, build_vas(shared_data / "vas_mini", folder, layout="videos")


@pytest.mark.parametrize("build", ["from_mels", "from_videos"])
def test_real_clips_are_all_validation_of_the_eight_classes(build, request):
    folder, report = request.getfixturevalue(build)
    dataset = load_from_disk(folder)
    assert {split: rows.num_rows for split, rows in dataset.items()} == {"validation": 10}
    labels = dataset["validation"].features["label"]
    assert labels.names == CLASS_NAMES
    assert all(row["id"].split("/")[0] == labels.int2str(row["label"]) for row in dataset["validation"])
    assert not report["left_out"]
    assert any("no training clip" in warning for warning in report["warnings"])
    written = json.loads((folder / "build_report.json").read_text())
    assert written["num_missing"] == len(written["missing"]) == 12_541 - 10


def test_published_mels_are_stored_as_they_are(from_mels, shared_data):
    stored = mels_of(from_mels[0])
    for file in (shared_data / "vas_mini/vas/features").rglob("*_mel.npy"):
        clip_id = f"{file.parent.parent.name}/{file.name.removesuffix('_mel.npy')}"
        assert np.array_equal(stored.pop(clip_id), np.load(file).astype(np.float16).astype(np.float32))
    assert not stored


def test_mels_of_the_videos_equal_the_published_ones(from_mels, from_videos):
    published, computed = mels_of(from_mels[0]), mels_of(from_videos[0])
    looped = {"dog/video_02677", "gun/video_00819"}
    mono = {"baby/video_01951", "drum/video_02480"}
    assert published.keys() == computed.keys() >= looped | mono
    for clip_id, mel in computed.items():
        error = mel - published[clip_id]
        limit = 0.012 if clip_id in looped else 0.002 if clip_id in mono else 0.02
        assert np.abs(error).mean() < limit, clip_id
        if clip_id not in looped:
            assert np.abs(error.mean()) < 0.01, clip_id
            assert np.corrcoef(mel.ravel(), published[clip_id].ravel())[0, 1] > 0.985, clip_id


def test_silence_between_repetitions_is_counted_at_the_rate_of_the_file(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.full(44100, 0.5), 44100)
    _, samples, _ = next(read_clips(tmp_path / "a.wav", MelFeatureExtractor(), ClipOptions(repeat_gap=1024)))
    assert len(samples) == 22050 + 512
    assert not samples[22050:].any()
    soundfile.write(tmp_path / "a.wav", np.full(441_000, 0.5), 44100)
    _, samples, _ = next(read_clips(tmp_path / "a.wav", MelFeatureExtractor(), ClipOptions(repeat_gap=1024)))
    assert len(samples) == 220_500


def test_sound_files_are_built(tmp_path):
    for number in (0, 2700):
        samples = np.random.default_rng(number).uniform(-0.5, 0.5, 22050)
        (tmp_path / "vas/dog").mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / f"vas/dog/video_{number:05d}.wav", samples, 22050)
    main(f"--data_dir {tmp_path}/vas --output_dir {tmp_path}/mels --classes gun dog --clip_seconds 1".split())
    dataset = load_from_disk(tmp_path / "mels")
    assert {split: rows["label"][:] for split, rows in dataset.items()} == {"train": [0], "validation": [0]}
    assert dataset["train"].features["label"].names == ["dog", "gun"]


def test_archives_are_unpacked_and_bad_ones_named(tmp_path):
    folder = tmp_path / "vas"
    dog = f"melspec_10s_22050hz/{TRAIN}_mel.npy"
    checksums = {
        "dog": write_tar(folder / "dog_melspec_10s_22050hz.tar", {dog: mel_bytes(1), "../evil_mel.npy": mel_bytes()}),
        "gun": write_tar(folder / "gun_melspec_10s_22050hz.tar", {f"gun/{TRAIN}_mel.npy": mel_bytes(2)}),
        "baby": "0" * 32,
    }
    write_tar(folder / "baby_melspec_10s_22050hz.tar", {f"{TRAIN}_mel.npy": mel_bytes(3)})
    write_tar(folder / "drum_melspec_10s_22050hz.tar", {f"video_{i:05d}_mel.npy": mel_bytes(i) for i in range(4)})
    whole = (folder / "drum_melspec_10s_22050hz.tar").read_bytes()
    (folder / "drum_melspec_10s_22050hz.tar").write_bytes(whole[:600_000])
    lines = [f"{md5}  {name}_melspec_10s_22050hz.tar" for name, md5 in checksums.items()]
    (tmp_path / "md5").write_text("\n".join(lines))
    report = build_vas(folder, tmp_path / "mels", md5_file=tmp_path / "md5")
    assert mels_of(tmp_path / "mels", "train").keys() == {
        f"{name}/{clip}" for name, clip in [("dog", TRAIN), ("gun", TRAIN), ("drum", TRAIN), ("drum", "video_00001")]
    }
    reasons = {entry["file"]: entry["reason"] for entry in report["left_out"]}
    assert "instead of 000" in reasons["baby_melspec_10s_22050hz.tar"]
    assert "out of the folder" in reasons["dog_melspec_10s_22050hz.tar/../evil_mel.npy"]
    assert "ends early" in reasons["drum_melspec_10s_22050hz.tar"]
    assert not list(tmp_path.glob("evil*"))
    again = build_vas(folder, tmp_path / "mels", md5_file=tmp_path / "md5", overwrite=True)
    assert again["left_out"] == report["left_out"]


def test_bad_mels_are_named(tmp_path):
    write_mels(tmp_path / "vas", [f"dog/video_{number:05d}" for number in range(5)])
    np.save(tmp_path / "vas/dog/video_00001_mel.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "vas/dog/video_00002_mel.npy", np.zeros((80, 848), dtype=np.float32))
    (tmp_path / "vas/dog/video_00003_mel.npy").write_bytes(mel_bytes()[:1000])
    report = build_vas(tmp_path / "vas", tmp_path / "mels")
    reasons = {entry["file"]: entry["reason"] for entry in report["left_out"]}
    assert set(reasons) == {f"dog/video_{number:05d}" for number in (1, 2, 3)}
    assert "objects" in reasons["dog/video_00001"]
    assert "(80, 848)" in reasons["dog/video_00002"]
    assert report["clips"] == {"train": 2}


@pytest.fixture
def server():
    files = LoopbackFiles({})
    yield files
    files.stop()


def test_archives_are_fetched_checked_unpacked_and_removed(tmp_path, server):
    checksums = []
    for name in ("dog", "gun"):
        archive = tmp_path / f"{name}_melspec_10s_22050hz.tar"
        checksums.append(f"{write_tar(archive, {f'{TRAIN}_mel.npy': mel_bytes()})}  ./there/{archive.name}\n")
        server.files[f"/vas/{archive.name}"] = archive.read_bytes()
        archive.unlink()
    (tmp_path / "md5").write_text("".join(checksums))
    command = f"--data_dir {tmp_path}/new/vas --download --base_url {server.url}/vas --md5_file {tmp_path}/md5"
    main(f"{command} --classes dog gun --output_dir {tmp_path}/mels".split())
    assert mels_of(tmp_path / "mels", "train").keys() == {f"dog/{TRAIN}", f"gun/{TRAIN}"}
    assert not list(tmp_path.rglob("*.tar*"))
    main(f"{command} --classes dog gun --output_dir {tmp_path}/again".split())
    assert len(server.requests) == 2


def test_download_with_a_wrong_checksum_ends_with_a_sentence(tmp_path, server, capsys):
    server.files["/dog_melspec_10s_22050hz.tar"] = b"an error page"
    with pytest.raises(SystemExit):
        main(
            f"--data_dir {tmp_path}/vas --download --base_url {server.url} --classes dog "
            f"--output_dir {tmp_path}/mels".split()
        )
    assert "instead of b512318d5815539f018f4884747102f6" in capsys.readouterr().err
    assert not (tmp_path / "mels").exists()


def test_archives_can_be_unpacked_elsewhere(tmp_path):
    write_tar(tmp_path / "vas/dog_melspec_10s_22050hz.tar", {f"{TRAIN}_mel.npy": mel_bytes()})
    (tmp_path / "md5").touch()
    options = {"work_dir": tmp_path / "work", "md5_file": tmp_path / "md5"}
    assert build_vas(tmp_path / "vas", tmp_path / "mels", **options)["clips"] == {"train": 1}
    assert [path.name for path in (tmp_path / "vas").iterdir()] == ["dog_melspec_10s_22050hz.tar"]


def test_folder_that_was_unpacked_by_hand_is_used(tmp_path):
    write_tar(tmp_path / "vas/dog_melspec_10s_22050hz.tar", {f"{TRAIN}_mel.npy": mel_bytes()})
    write_mels(tmp_path / "vas/dog_melspec_10s_22050hz", ["video_00001"])
    report = build_vas(tmp_path / "vas", tmp_path / "mels")
    assert mels_of(tmp_path / "mels", "train").keys() == {"dog/video_00001"}
    assert any("is used as it is" in warning for warning in report["warnings"])


def test_unknown_class_names_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match=r"\['cat'\]; choose from \['baby'"):
        build_vas(tmp_path, tmp_path / "mels", classes=["cat", "dog"])


def test_without_any_readable_clip_nothing_is_built(tmp_path):
    (tmp_path / "vas/dog").mkdir(parents=True)
    (tmp_path / "vas/dog/video_00001_mel.npy").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"0 could be read.*dog/video_00001: is no plain array"):
        build_vas(tmp_path / "vas", tmp_path / "mels")
    assert not (tmp_path / "mels").exists()
