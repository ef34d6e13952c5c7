"""Folders in which much is wrong are built, and the report names what was left out and why."""

import json
import os
import random
import re
import socket
import zipfile

import numpy as np
import pytest
from datasets import load_from_disk
from tiny_media import RATE, noise, write_media, write_sound

from melspec_gpt.datasets_scripts.build_audio_folder import build_audio_folder
from melspec_gpt.datasets_scripts.output_folder import REPORT_FILE

CLIP_SECONDS = 0.5
IS_ROOT = os.geteuid() == 0
# A file that is left out -> what its reason has to say.
BAD_FILES = {
    "empty.wav": "is empty",
    "empty.mp4": "is empty",
    "text.wav": "Format not recognised",
    "html.mp4": "damaged or of no known format",
    "picture.wav": "Format not recognised",
    "archive.wav": "Format not recognised",
    "random.mp3": "cannot be read",
    "random.ogg": "cannot be read",
    "random.m4a": "damaged or of no known format",
    "one_byte.mp3": "cannot be read",
    "playlist.m4a": "damaged or of no known format",
    "strange_codec.wav": "cannot be decoded: Decoder not found",
    "no_samples.wav": "holds no samples",
    "one_sample.wav": "too short: 1 samples",
    "half_a_frame.flac": "too short: 300 samples",
    "truncated.wav": r"cut off: 0\.\d s of the 2.0 s",
    "truncated.aiff": r"cut off: 0\.\d s of the 2.0 s",
    "truncated.flac": "is damaged",
    "truncated.mp3": "cut off",
    "truncated.mp4": "damaged or of no known format",
    "truncated_at_start.mp4": r"is damaged: .* \(after 0.1 s\)",
    "claims_a_gigabyte.wav": r"cut off: 0.3 s of the \d+.\d s",
    "nan.wav": "NaN or infinite",
    "infinite.wav": "NaN or infinite",
    "rate_0.wav": "cannot be read",
    "rate_1.wav": "sampling rate of 1 Hz",
    "rate_2_billion.wav": "sampling rate of 2000000000 Hz",
    "silent_film.mp4": "video without sound",
    "silent_film.wav": "video without sound",
    "cover_without_sound.m4a": "without sound",
    "folder.wav": "it is a folder",
    "link_to_folder.wav": "it is a folder",
    "link_to_nowhere.wav": "link leads nowhere",
    "circle_of_links.wav": "symbolic links",
    "pipe.wav": "pipe, socket or device",
    "socket.wav": "pipe, socket or device",
    "link_to_device.wav": "pipe, socket or device",
    os.fsdecode(b"not_utf8_\xe9.wav"): "not valid UTF-8",
}
if not IS_ROOT:  # who may read everything
    BAD_FILES["forbidden.wav"] = "permissions"
# What looks odd and is fine.
GOOD_FILES = (
    *("bits_8.wav", "bits_24.wav", "bits_32.wav", "floats.wav", "mu_law.wav", "channels_8.wav", "channels_6.mp4"),
    *("rate_192000.wav", "rate_44101.wav", "UPPER.WAV", "wav_called.mp3", "mp4_called.wav", "flac_called.webm"),
    *(
        "cover_art.m4a",
        "video.mp4",
        "video.webm",
        "from_a_pipe.wav",
        "junk_behind.wav",
        "link.wav",
        'a "quote", b.wav',
    ),
    *("x" * 200 + ".wav", "sub folder/deep.wav"),
)


def wav_header(data_bytes, rate=RATE, codec=1):
    """The first 44 bytes of a wav file of 16-bit samples, as true as they are told."""
    numbers = [(data_bytes + 36, 4), (16, 4), (codec, 2), (1, 2), (rate, 4), (2 * rate, 4), (2, 2), (16, 2)]
    riff, *rest = [(value % 256**size).to_bytes(size, "little") for value, size in numbers]
    return b"RIFF" + riff + b"WAVEfmt " + b"".join(rest) + b"data" + (data_bytes % 2**32).to_bytes(4, "little")


def cut_off(path, share=0.2):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def write_bad_files(folder):
    pcm = (noise(int(0.3 * RATE)) * 32767).astype("<i2").tobytes()
    for name in ("empty.wav", "empty.mp4"):
        (folder / name).touch()
    contents = {
        "text.wav": b"This is the transcript of the recording.\n" * 100,
        "html.mp4": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "picture.wav": b"\x89PNG\r\n\x1a\n" + random.Random(0).randbytes(500),
        "random.mp3": random.Random(1).randbytes(5000),
        "random.ogg": random.Random(2).randbytes(5000),
        "random.m4a": random.Random(3).randbytes(5000),
        "one_byte.mp3": b"\xff",
        "playlist.m4a": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n../good/video.mp4\n#EXT-X-ENDLIST\n",
        "strange_codec.wav": wav_header(len(pcm), codec=0x9999) + pcm,
        "rate_0.wav": wav_header(len(pcm), rate=0) + pcm,
        "rate_1.wav": wav_header(len(pcm), rate=1) + pcm,
        "rate_2_billion.wav": wav_header(len(pcm), rate=2_000_000_000) + pcm,
        "claims_a_gigabyte.wav": wav_header(2**30) + pcm,
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    with zipfile.ZipFile(folder / "archive.wav", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.wav", pcm)
    write_sound(folder / "no_samples.wav", noise(0))
    write_sound(folder / "one_sample.wav", noise(1))
    write_sound(folder / "half_a_frame.flac", noise(300))
    for extension in ("wav", "aiff", "flac", "mp3"):
        write_sound(folder / f"truncated.{extension}", noise(2 * RATE))
        cut_off(folder / f"truncated.{extension}")
    write_media(folder / "truncated.mp4", noise(2 * RATE))
    cut_off(folder / "truncated.mp4")
    # Its table of contents stands at the front and is whole.
    write_media(folder / "truncated_at_start.mp4", noise(8 * RATE), options={"movflags": "faststart"})
    cut_off(folder / "truncated_at_start.mp4", 0.05)
    for name, value in (("nan.wav", np.nan), ("infinite.wav", -np.inf)):
        samples = noise(RATE)
        samples[0, 1000] = value
        write_sound(folder / name, samples, subtype="FLOAT")
    write_media(folder / "silent_film.mp4", None, picture="mpeg4")
    write_media(folder / "silent_film.wav", None, picture="mpeg4", container_format="mp4")
    write_media(folder / "cover_without_sound.m4a", None, picture="mjpeg", container_format="mp4")
    write_sound(folder / "utf8.wav", noise(RATE)).rename(folder / os.fsdecode(b"not_utf8_\xe9.wav"))
    write_sound(folder / "forbidden.wav", noise(RATE)).chmod(0)
    write_no_files(folder)


def write_no_files(folder):
    (folder / "folder.wav").mkdir()
    (folder / "link_to_folder.wav").symlink_to(folder.parent)
    (folder / "link_to_nowhere.wav").symlink_to("absent.wav")
    (folder / "circle_of_links.wav").symlink_to("circle_of_links.wav")
    (folder / "link_to_device.wav").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.wav")
    here = os.getcwd()
    os.chdir(folder)  # the name of a socket must be short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket.wav")
    finally:
        os.chdir(here)


def write_good_files(folder):
    subtypes = {"8": "PCM_U8", "24": "PCM_24", "32": "PCM_32"}
    for bits, subtype in subtypes.items():
        write_sound(folder / f"bits_{bits}.wav", noise(RATE), subtype=subtype)
    write_sound(folder / "floats.wav", noise(RATE), subtype="FLOAT")
    write_sound(folder / "mu_law.wav", noise(RATE), subtype="ULAW")
    write_sound(folder / "channels_8.wav", noise(RATE, channels=8))
    write_media(folder / "channels_6.mp4", noise(RATE, channels=6))
    for rate in (192000, 44101):
        write_sound(folder / f"rate_{rate}.wav", noise(rate), rate)
    for name in ("UPPER.WAV", 'a "quote", b.wav', "x" * 200 + ".wav", "sub folder/deep.wav"):
        write_sound(folder / name, noise(RATE))
    write_sound(folder / "wav_called.wav", noise(RATE)).rename(folder / "wav_called.mp3")
    write_media(folder / "mp4_called.mp4", noise(RATE)).rename(folder / "mp4_called.wav")
    write_sound(folder / "flac_called.flac", noise(RATE)).rename(folder / "flac_called.webm")
    write_media(folder / "cover_art.m4a", noise(RATE), picture="mjpeg", container_format="mp4")
    write_media(folder / "video.mp4", noise(RATE), picture="mpeg4")
    write_media(folder / "video.webm", noise(48000), 48000, "libopus", picture="libvpx")
    pcm = (noise(RATE) * 32767).astype("<i2").tobytes()
    (folder / "from_a_pipe.wav").write_bytes(wav_header(2**32 - 1) + pcm)
    (folder / "junk_behind.wav").write_bytes(wav_header(len(pcm)) + pcm + b"junk" * 100)
    (folder / "link.wav").symlink_to("UPPER.WAV")


def write_what_is_passed_over(folder):
    (folder / "notes.txt").write_text("notes")
    (folder / "cover.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    (folder / "no extension").touch()
    (folder / "link to the classes").symlink_to(folder.parent)
    for hidden in (".DS_Store", "._a.wav", "__MACOSX/a.wav", ".cache/a.wav"):
        write_sound(folder / "hidden.wav", noise(RATE))
        (folder / hidden).parent.mkdir(exist_ok=True)
        (folder / "hidden.wav").rename(folder / hidden)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Report and ids of the folder in which everything is wrong."""
    root = tmp_path_factory.mktemp("bad_files")
    bad, good = root / "clips" / "bad files", root / "clips" / "good 🎉"
    bad.mkdir(parents=True)
    write_bad_files(bad)
    write_good_files(good)
    write_what_is_passed_over(good)
    write_sound(bad / "folder.wav" / "inside.wav", noise(RATE))
    (root / "clips" / "class without files").mkdir()
    write_sound(root / "clips" / "lost.wav", noise(RATE))
    report = build_audio_folder(root / "clips", root / "mels", CLIP_SECONDS, hop_seconds=0, validation_fraction=0)
    dataset = load_from_disk(root / "mels")
    assert json.loads((root / "mels" / REPORT_FILE).read_text(encoding="utf-8"))["clips"] == report["clips"]
    return report, dataset["train"]


def test_there_are_thirty_kinds():
    assert len(BAD_FILES) >= 30


@pytest.mark.parametrize("name", sorted(BAD_FILES, key=ascii), ids=ascii)
def test_a_bad_file_is_named_with_its_reason(built, name):
    reasons = {entry["file"]: entry["reason"] for entry in built[0]["left_out"]}
    reason = reasons[f"bad files/{name}"]
    assert re.search(BAD_FILES[name], reason), reason


def test_nothing_else_is_left_out(built):
    """The forbidden file, which root may read, is in one of the two lists."""
    assert {entry["file"] for entry in built[0]["left_out"]} == {f"bad files/{name}" for name in BAD_FILES}
    expected = {f"good 🎉/{name}" for name in GOOD_FILES} | {"bad files/folder.wav/inside.wav"}
    if IS_ROOT:
        expected.add("bad files/forbidden.wav")
    assert set(built[1]["id"][:]) == expected


def test_good_files_among_them_hold_sound(built):
    mels = built[1].with_format("numpy")["mel"][:]
    assert np.isfinite(mels).all()
    assert (mels.max(axis=(1, 2)) > 0.3).all()


def test_what_is_no_sound_is_in_the_warnings(built):
    warnings = "\n".join(built[0]["warnings"])
    assert "in the folder 'good 🎉': 1 x .jpg, 1 x .txt, 1 x link to a folder, 1 x no extension." in warnings
    assert "sound files that lie in no class folder: 1 x .wav" in warnings
    assert "'class without files' holds no sound file" in warnings


# A row of the metadata that is left out -> what its reason has to say.
BAD_ROWS = {
    "../outside.wav": "inside the data folder",
    "/etc/passwd": "inside the data folder",
    "a/../../outside.wav": "inside the data folder",
    "": "inside the data folder",
    ".": "inside the data folder",
    "./a/1.wav": "more than once",
    "a/absent.wav": "no such file",
    "a": "it is a folder",
    "a/notes.txt": "Format not recognised",
    "a/samples.raw": "without a header",
    "a/zero\0byte.wav": "zero byte",
    "a/" + "x" * 5000 + ".wav": "name too long",
    "a/\ud800.wav": "not valid UTF-8",
}


def test_bad_rows_of_the_metadata_are_named_with_their_reason(tmp_path):
    folder = tmp_path / "clips"
    rows = [{"file_name": "a/1.wav", "label": "dog", "split": "train"}]
    rows += [{"file_name": name, "label": "dog", "split": "train"} for name in BAD_ROWS]
    rows.append({"file_name": "a/2.wav", "label": "dog", "split": "dev"})
    rows.append({"file_name": "a/3.wav", "label": " ", "split": "train"})
    rows.append({"file_name": ["a/4.wav"], "label": "dog", "split": "train"})
    rows.append({"label": "dog", "split": "train"})
    for name in ("a/1.wav", "a/2.wav", "a/3.wav", "../outside.wav"):
        write_sound(folder / name, noise(RATE))
    (folder / "a" / "notes.txt").write_text("notes")
    (folder / "a" / "samples.raw").write_bytes(b"0" * 20000)
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    report = build_audio_folder(folder, tmp_path / "mels", CLIP_SECONDS)
    assert report["clips"] == {"train": 2}
    assert len(report["left_out"]) == len(rows) - 1
    reasons = [(entry["file"], entry["reason"]) for entry in report["left_out"]]
    expected = BAD_ROWS | {"a/2.wav": "its split is 'dev'", "a/3.wav": "no class name", "['a/4.wav']": "no such file"}
    for name, words in expected.items():
        assert any(file == name and re.search(words, reason, re.IGNORECASE) for file, reason in reasons), (
            name,
            reasons,
        )
