"""Sound and video files of every kind become a stream of samples."""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_media import RATE, noise, write_media, write_sound

from melspec_gpt.datasets_scripts.audio_decoding import (
    MAXIMUM_BLOCK_VALUES,
    ContainerStream,
    SoundFileStream,
    open_audio,
)

CODECS = {
    "m4a": ("aac", RATE),
    "mp4": ("aac", RATE),
    "mov": ("pcm_s16le", RATE),
    "aac": ("aac", RATE),
    "webm": ("libopus", 48000),
    "mkv": ("pcm_s24le", RATE),
    "mka": ("pcm_f32le", RATE),
    "avi": ("pcm_u8", RATE),
    "flv": ("aac", 22050),
    "wv": ("wavpack", RATE),
}


def decode(path):
    with open_audio(path) as stream:
        return np.concatenate(list(stream.blocks())), stream


@pytest.mark.parametrize("extension", sorted(CODECS))
def test_videos_and_their_relatives_are_read(tmp_path, extension):
    codec, rate = CODECS[extension]
    tone = 0.5 * np.sin(np.arange(rate) * 2 * np.pi * 440 / rate).astype(np.float32)
    samples, stream = decode(write_media(tmp_path / f"a.{extension}", tone[None], rate, codec))
    assert isinstance(stream, ContainerStream)
    assert stream.sampling_rate == rate
    assert samples.dtype == np.float32
    assert abs(len(samples) - len(tone)) < 0.2 * rate  # the padding of the encoder
    assert np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples) == pytest.approx(440, abs=2)
    assert np.sqrt(np.mean(samples[rate // 4 : rate // 2] ** 2)) == pytest.approx(0.5 / 2**0.5, rel=0.05)


@pytest.mark.parametrize("extension", ["flac", "ogg", "mp3", "aiff", "au", "caf", "w64", "opus"])
def test_sound_files_are_read(tmp_path, extension):
    subtype = {"opus": "OPUS"}.get(extension)
    path = tmp_path / f"a.{extension}"
    write_sound(path, noise(RATE), subtype=subtype, format="OGG" if subtype else None)
    samples, stream = decode(path)
    assert isinstance(stream, SoundFileStream)
    assert stream.sampling_rate == RATE
    assert len(samples) >= RATE
    assert 0.1 < np.abs(samples).max() < 1


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
def test_every_kind_of_sample_has_the_same_scale(tmp_path, subtype):
    tone = 0.5 * np.sin(np.arange(RATE) * 0.1).astype(np.float32)
    samples, _ = decode(write_sound(tmp_path / "a.wav", tone, subtype=subtype))
    np.testing.assert_allclose(samples[:RATE], tone, atol=0.02)


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s32le", "pcm_f32le", "pcm_f64le"])
def test_both_readers_give_the_same_samples(tmp_path, codec):
    path = write_media(tmp_path / "a.wav", noise(RATE, channels=2), RATE, codec)
    read = [np.concatenate(list(reader(path).blocks())) for reader in (SoundFileStream, ContainerStream)]
    np.testing.assert_array_equal(read[0], read[1])


@pytest.mark.parametrize(("name", "channels"), [("a.wav", 2), ("a.wav", 8), ("a.flac", 2), ("a.mkv", 2), ("a.mkv", 6)])
def test_channels_are_averaged(tmp_path, name, channels):
    samples = noise(RATE, channels)
    if name.endswith("mkv"):
        write_media(tmp_path / name, samples, RATE, "pcm_f32le")
    else:
        write_sound(tmp_path / name, samples)
    read, _ = decode(tmp_path / name)
    np.testing.assert_allclose(read, samples.mean(0), atol=1e-4)


def test_a_stereo_video_is_not_louder_than_its_channels(tmp_path):
    tone = 0.25 * np.sin(np.arange(RATE) * 0.1).astype(np.float32)
    read, _ = decode(write_media(tmp_path / "a.mp4", np.stack([tone, tone])))
    level = np.sqrt(np.mean(read[2000:6000] ** 2)) / np.sqrt(np.mean(tone[2000:6000] ** 2))
    assert level == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize(
    ("content", "name"),
    [("a.wav", "b.mp3"), ("a.wav", "b.mp4"), ("a.flac", "b.wav"), ("a.mp4", "b.wav"), ("a.m4a", "b.mp3")],
)
def test_a_wrong_extension_does_not_matter(tmp_path, content, name):
    samples = noise(RATE)
    if content.endswith(("mp4", "m4a")):
        write_media(tmp_path / content, samples)
    else:
        write_sound(tmp_path / content, samples)
    (tmp_path / content).rename(tmp_path / name)
    read, _ = decode(tmp_path / name)
    assert abs(len(read) - RATE) < 0.3 * RATE


def test_cover_art_is_not_in_the_way(tmp_path):
    read, _ = decode(write_media(tmp_path / "a.m4a", noise(RATE), picture="mjpeg", container_format="mp4"))
    assert len(read) >= RATE


def test_a_video_without_sound_says_so(tmp_path):
    path = write_media(tmp_path / "a.mp4", None, picture="mpeg4")
    with pytest.raises(ValueError, match="video without sound"):
        open_audio(path)


def test_mp3_of_varying_bit_rate_without_a_length_is_read_to_its_end(tmp_path):
    samples = noise(10 * 44100) * np.linspace(0, 1, 10 * 44100, dtype=np.float32)
    path = write_media(
        tmp_path / "a.mp3",
        samples,
        44100,
        "libmp3lame",
        options={"write_xing": "0", "id3v2_version": "0"},
        codec_options={"flags": "+qscale", "global_quality": "590"},
    )
    with SoundFileStream(path) as stream:
        assert stream.promised_samples < 0.6 * samples.size
    read, _ = decode(path)
    assert len(read) == pytest.approx(samples.size, rel=0.01)


def test_playlists_are_not_followed(tmp_path):
    video = write_media(tmp_path / "a.mp4", noise(RATE))
    for name in ("list.mp4", "list.m3u8.wav"):
        (tmp_path / name).write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{video}\n#EXT-X-ENDLIST\n")
        with pytest.raises(ValueError, match="cannot be read"):
            open_audio(tmp_path / name)
    (tmp_path / "concat.mp4").write_text(f"ffconcat version 1.0\nfile {video.name}\n")
    with pytest.raises(ValueError, match="cannot be read"):
        open_audio(tmp_path / "concat.mp4")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.wav", b"", "empty"),
        ("a.mp4", b"", "empty"),
        ("a.wav", b"not a sound file at all", "cannot be read as sound: Format"),
        (
            "a.mp4",
            b"<html>Not found</html>",
            "cannot be read as sound or video: its content is damaged or of no known format",
        ),
        ("a.raw", b"0" * 1000, "without a header"),
    ],
)
def test_what_is_no_sound_is_a_value_error(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        open_audio(tmp_path / name)


def test_without_pyav_videos_say_what_to_install_and_sounds_are_read(tmp_path, monkeypatch):
    write_media(tmp_path / "a.mp4", noise(RATE))
    write_sound(tmp_path / "a.wav", noise(RATE))
    write_sound(tmp_path / "b.mp3", noise(RATE))
    (tmp_path / "b.wav").write_bytes(b"text")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ValueError, match="pip install av"):
        open_audio(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match="Format not recognised"):
        open_audio(tmp_path / "b.wav")
    assert len(decode(tmp_path / "a.wav")[0]) == RATE
    assert len(decode(tmp_path / "b.mp3")[0]) >= RATE


def write_header(path, rate, channels=1, data_bytes=None, samples=RATE):
    """A wav file of 16-bit samples whose header says what it is told."""
    data = (noise(samples) * 32767).astype("<i2").tobytes()
    size = len(data) if data_bytes is None else data_bytes
    head = b"RIFF" + min(size + 36, 2**32 - 1).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    head += b"\1\0" + channels.to_bytes(2, "little") + rate.to_bytes(4, "little")
    head += (rate * 2 * channels % 2**32).to_bytes(4, "little") + (2 * channels).to_bytes(2, "little") + b"\x10\0"
    path.write_bytes(head + b"data" + size.to_bytes(4, "little") + data)


@pytest.mark.parametrize("rate", [1, 999, 2_000_000_000])
def test_absurd_sampling_rates_are_refused(tmp_path, rate):
    write_header(tmp_path / "a.wav", rate)
    with pytest.raises(ValueError, match=f"sampling rate of {rate} Hz"):
        open_audio(tmp_path / "a.wav")


def test_a_thousand_channels_do_not_fill_the_memory(tmp_path):
    write_header(tmp_path / "a.wav", 96000, channels=1024, samples=1024 * 5000)
    with open_audio(tmp_path / "a.wav") as stream:
        sizes = [len(block) for block in stream.blocks()]
    assert sum(sizes) == 5000
    assert max(sizes) * 1024 <= MAXIMUM_BLOCK_VALUES


@pytest.mark.parametrize(("data_bytes", "missing"), [(2 * 5 * RATE, 4.0), (2**30, 2**29 / RATE - 1), (2 * RATE, 0)])
def test_a_header_that_promises_more_is_noticed(tmp_path, data_bytes, missing):
    write_header(tmp_path / "a.wav", RATE, data_bytes=data_bytes)
    samples, stream = decode(tmp_path / "a.wav")
    assert len(samples) == RATE
    assert stream.missing_seconds(len(samples)) == pytest.approx(missing, rel=1e-4)


@pytest.mark.parametrize("data_bytes", [2**32 - 1, 2**31 - 1])
def test_a_header_written_to_a_pipe_promises_nothing(tmp_path, data_bytes):
    write_header(tmp_path / "a.wav", RATE, data_bytes=data_bytes)
    samples, stream = decode(tmp_path / "a.wav")
    assert len(samples) == RATE
    assert stream.missing_seconds(len(samples)) == 0


def test_what_is_no_ordinary_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "nowhere.wav").symlink_to(tmp_path / "absent.wav")
    (tmp_path / "circle.wav").symlink_to(tmp_path / "circle.wav")
    reasons = {
        "pipe.wav": "pipe",
        "folder.wav": "folder",
        "nowhere.wav": "link leads nowhere",
        "circle.wav": "[Ll]evels of symbolic links",
        "absent.wav": "no such file",
        "nowhere.wav/a.wav": "no such file",
        "x" * 300 + ".wav": "name too long",
        "zero\0byte.wav": "null byte",
    }
    for name, reason in reasons.items():
        with pytest.raises(ValueError, match=f"(?i){reason}"):
            open_audio(tmp_path / name)
    with pytest.raises(ValueError, match="device"):
        open_audio("/dev/null")


def test_a_forbidden_file_says_so():
    """Root may read everything, so it reads as nobody, in a folder that everybody may enter."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = write_sound(Path(folder, "a.wav"), noise(RATE))
        path.chmod(0)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(65534)
        try:
            with pytest.raises(ValueError, match="permissions"):
                open_audio(path)
        finally:
            if is_root:
                os.seteuid(0)


def test_ffmpeg_keeps_its_notes_to_itself(tmp_path, capfd):
    path = write_media(tmp_path / "a.mp4", noise(5 * RATE))
    content = bytearray(path.read_bytes())
    content[2000:2200] = bytes(200)
    path.write_bytes(content)
    try:
        decode(path)
    except ValueError:
        pass
    assert capfd.readouterr().err == ""


def test_files_are_closed(tmp_path):
    write_sound(tmp_path / "a.wav", noise(RATE))
    write_media(tmp_path / "a.mp4", noise(RATE))
    write_media(tmp_path / "silent.mp4", None, picture="mpeg4")
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    if before is None:
        pytest.skip("this system does not list open files")
    for name in ("a.wav", "a.mp4", "silent.mp4"):
        try:
            decode(tmp_path / name)
        except ValueError:
            pass
    assert len(os.listdir("/proc/self/fd")) == before


def test_soundfile_still_notes_the_length_that_a_header_promises(tmp_path):
    """The text is libsndfile's; without it a file that is cut off would pass as a shorter one."""
    write_header(tmp_path / "a.wav", RATE, data_bytes=2 * 5 * RATE)
    with soundfile.SoundFile(tmp_path / "a.wav") as file:
        assert "should be" in file.extra_info
