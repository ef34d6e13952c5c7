"""How does a sound or video file become a stream of samples, whatever its format?"""

import os
import re
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from melspec_gpt.datasets_scripts.audio_sources import CONTAINER_EXTENSIONS

BLOCK_SECONDS = 1.0
# Samples of all channels that are decoded at once: a header may claim a thousand channels.
MAXIMUM_BLOCK_VALUES = 2**20
# Outside these a header is wrong, and one clip would take gigabytes. Hz.
MINIMUM_SAMPLING_RATE, MAXIMUM_SAMPLING_RATE = 1000, 1_000_000
# Encoder delay and padding make a file a little shorter than its header says.
MISSING_SECONDS_ALLOWED = 0.5
# A length that a program wrote which could not know it, such as one that wrote to a pipe. Bytes.
UNKNOWN_LENGTH = 2**31 - 2**16
# What libsndfile notes about a header that promises more (or less) than the file holds, both in bytes.
SOUNDFILE_LENGTHS = re.compile(r"^ *(?:data|SSND) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
# One of these marks the frame of an MP3 file that gives its length; it lies behind the tags at the start.
MP3_LENGTH_TAGS = (b"Xing", b"Info", b"VBRI")
MP3_HEAD_BYTES = 2**16
# FFmpeg also reads playlists, which name other files and addresses, and pictures: only these of its formats are asked.
FFMPEG_FORMATS = (
    "3gp,aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,eac3,flac,flv,m4a,matroska,mov,mp3,mp4,mpc,mpc8,mpeg,mpegts,"
    "ogg,rm,tta,w64,wav,webm,wv"
)


class UnknownFormatError(ValueError):
    """The content of a file is of no format that the reader knows."""


class AudioStream(ABC):
    """
    A sound file that is open for reading from its start to its end. Use it in a `with` statement.

    Args:
        sampling_rate (`int`): samples per second, Hz.
        promised_samples (`int`): length that the header gives; `None` if it gives none.
    """

    def __init__(self, sampling_rate: int, promised_samples: int | None):
        if not MINIMUM_SAMPLING_RATE <= sampling_rate <= MAXIMUM_SAMPLING_RATE:
            raise ValueError(
                f"cannot be read: its header gives a sampling rate of {sampling_rate} Hz, outside the "
                f"{MINIMUM_SAMPLING_RATE} to {MAXIMUM_SAMPLING_RATE} Hz of sound files"
            )
        self.sampling_rate = sampling_rate
        self.promised_samples = promised_samples

    @abstractmethod
    def blocks(self) -> Iterator[np.ndarray]:
        """The samples in order, float32 of shape `(samples,)`: the mean of the channels; `ValueError` if damaged."""

    @abstractmethod
    def close(self) -> None:
        """Closes the file."""

    def missing_seconds(self, num_samples: int) -> float:
        """How much sound the header promises beyond `num_samples`; 0 if it is too little to mean anything."""
        missing = ((self.promised_samples or 0) - num_samples) / self.sampling_rate
        return missing if missing > MISSING_SECONDS_ALLOWED else 0.0

    def __enter__(self) -> "AudioStream":
        return self

    def __exit__(self, *exception) -> None:
        self.close()


def open_audio(path: str | Path) -> AudioStream:
    """
    Opens a sound or video file. The extension decides which reader is asked first, the content which one reads.

    Raises:
        ValueError: if the file cannot be read; a sentence that fits behind the name of the file.
    """
    _check_file(path)
    readers = [SoundFileStream, ContainerStream]
    if Path(path).suffix.lower() in CONTAINER_EXTENSIONS or _is_mp3_without_length(path):
        readers.reverse()
    errors = []
    for reader in readers:
        try:
            return reader(path)
        except ValueError as error:
            errors.append(error)
    # "A video without sound" says more than "unknown format" of the other reader.
    raise next((error for error in errors if not isinstance(error, UnknownFormatError)), errors[0])


class SoundFileStream(AudioStream):
    """A file that soundfile's library reads: wav, flac, ogg, mp3, aiff and more."""

    def __init__(self, path: str | Path):
        if Path(path).suffix.lower() == ".raw":
            raise ValueError("cannot be read: samples without a header have no known rate; convert it to wav")
        try:
            self._file = soundfile.SoundFile(path)
        except soundfile.LibsndfileError as error:
            raise UnknownFormatError(f"cannot be read as sound: {_reason(error)}") from error
        try:
            if self._file.frames == 0:
                raise ValueError("holds no samples")
            super().__init__(self._file.samplerate, _promised_frames(self._file))
        except ValueError:
            self.close()
            raise

    def blocks(self) -> Iterator[np.ndarray]:
        block_values = min(round(BLOCK_SECONDS * self.sampling_rate) * self._file.channels, MAXIMUM_BLOCK_VALUES)
        num_frames = max(block_values // self._file.channels, 1)
        try:
            while len(block := self._file.read(num_frames, dtype="float32", always_2d=True)):
                yield _mean_of_channels(block.T)
        except soundfile.LibsndfileError as error:
            raise ValueError(f"is damaged: {_reason(error)}") from error

    def close(self) -> None:
        self._file.close()


class ContainerStream(AudioStream):
    """A file that FFmpeg reads (through PyAV): the sound of mp4, webm and other videos, m4a, and more."""

    def __init__(self, path: str | Path):
        self._av = _import_av()
        options = {"format_whitelist": FFMPEG_FORMATS, "protocol_whitelist": "file"}
        try:
            # An absolute path cannot be taken for an address.
            self._container = self._av.open(
                os.path.abspath(path), container_options=options, metadata_errors="replace"
            )
        except self._av.FFmpegError as error:
            raise UnknownFormatError(f"cannot be read as sound or video: {self._reason(error)}") from error
        try:
            self._frames, first = self._decode_first()
            super().__init__(first.sample_rate, self._promised_samples(first.sample_rate))
        except ValueError:
            self.close()
            raise
        self._first = first

    def blocks(self) -> Iterator[np.ndarray]:
        yield _mono_samples(self._first)
        try:
            for frame in self._frames:
                if frame.sample_rate != self.sampling_rate:
                    raise ValueError(
                        f"changes its sampling rate from {self.sampling_rate} to {frame.sample_rate} Hz; convert it"
                    )
                yield _mono_samples(frame)
        except self._av.FFmpegError as error:
            raise ValueError(f"is damaged: {self._reason(error)}") from error

    def close(self) -> None:
        self._container.close()

    def _decode_first(self) -> tuple:
        """All frames of the first sound track but the first, and that one. Only it has the rate that is decoded."""
        if not self._container.streams.audio:
            raise ValueError("has no sound" if not self._container.streams.video else "is a video without sound")
        frames = self._container.decode(self._container.streams.audio[0])
        try:
            first = next(frames, None)
        except self._av.FFmpegError as error:
            raise ValueError(f"cannot be decoded: {self._reason(error)}") from error
        if first is None:
            raise ValueError("holds no samples")
        return frames, first

    def _reason(self, error: Exception) -> str:
        if isinstance(error, self._av.error.InvalidDataError):
            return "its content is damaged or of no known format"
        return error.strerror

    def _promised_samples(self, sampling_rate: int) -> int | None:
        stream = self._container.streams.audio[0]
        # Only MP4 and its relatives store the length of each track; elsewhere it is a guess or that of the picture.
        if "mp4" not in self._container.format.name or stream.duration is None:
            return None
        return round(stream.duration * stream.time_base * sampling_rate)


def _check_file(path: str | Path) -> None:
    """`ValueError` for what must not even be opened (reading a pipe would wait for ever), with the reason."""
    try:
        status = os.stat(path)
        if stat.S_ISREG(status.st_mode):
            with open(path, "rb"):
                pass
    except (FileNotFoundError, NotADirectoryError):
        reason = "the link leads nowhere" if os.path.islink(path) else "there is no such file"
        raise ValueError(f"cannot be read: {reason}") from None
    except PermissionError:
        raise ValueError("cannot be read: its permissions forbid it") from None
    except (OSError, ValueError) as error:  # a circle of links, a name that is too long or holds a zero byte
        raise ValueError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if stat.S_ISDIR(status.st_mode):
        raise ValueError("cannot be read: it is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("cannot be read: it is a pipe, socket or device, not an ordinary file")
    if status.st_size == 0:
        raise ValueError("is empty (0 bytes)")


def _is_mp3_without_length(path: str | Path) -> bool:
    """Whether soundfile would have to guess the length of an MP3 file, and stop there: with a varying bit rate."""
    if Path(path).suffix.lower() != ".mp3":
        return False
    with open(path, "rb") as file:
        head = file.read(MP3_HEAD_BYTES)
    return not any(tag in head for tag in MP3_LENGTH_TAGS)


def _promised_frames(file: soundfile.SoundFile) -> int | None:
    """Frames the header promises; soundfile gives those that are there where it can tell."""
    match = SOUNDFILE_LENGTHS.search(file.extra_info)
    if match is None:
        return file.frames
    promised, present = int(match[1]), int(match[2])
    if promised <= present or promised >= UNKNOWN_LENGTH:
        return None
    return file.frames * promised // max(present, 1)


def _mono_samples(frame) -> np.ndarray:
    """
    The mean of the channels of an `av.AudioFrame`, float32 of shape `(samples,)`. FFmpeg's own down-mix of floats is
    3 dB louder.
    """
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, len(frame.layout.channels)).T
    if values.dtype == np.uint8:
        values = (values.astype(np.float32) - 128) / 128
    elif np.issubdtype(values.dtype, np.integer):
        values = values.astype(np.float32) / -float(np.iinfo(values.dtype).min)
    return _mean_of_channels(values.astype(np.float32, copy=False))


def _mean_of_channels(channels: np.ndarray) -> np.ndarray:
    """Mean over the first axis. One channel after the other: numpy's own takes six times as long for two."""
    total = channels[0].copy()
    for channel in channels[1:]:
        total += channel
    return total / np.float32(len(channels)) if len(channels) > 1 else total


def _reason(error: soundfile.LibsndfileError) -> str:
    return error.error_string.removeprefix("Error : ").rstrip(". ") or f"error {error.code} of libsndfile"


def _import_av():
    try:
        import av  # only videos, m4a and files that soundfile does not know need it
    except ImportError as error:
        raise UnknownFormatError(
            "cannot be read as sound; videos and m4a files need the package av, which is not installed: pip install av"
        ) from error
    return av
