"""Small sound and video files that several test files write."""

from pathlib import Path

import av
import numpy as np
import soundfile

RATE = 8000


def noise(num_samples: int = 8000, channels: int = 1, seed: int = 0) -> np.ndarray:
    """float32 of shape `(channels, num_samples)`, in [-0.5, 0.5]."""
    values = np.random.default_rng(seed).uniform(-0.5, 0.5, (channels, num_samples))
    return values.astype(np.float32)


def write_sound(
    path: Path, samples: np.ndarray, sampling_rate: int = RATE, subtype: str | None = None, **kwargs
) -> Path:
    """Writes samples of shape `(channels, samples)` with soundfile; the extension is the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.atleast_2d(samples).T, sampling_rate, subtype=subtype, **kwargs)
    return path


def write_media(
    path: Path,
    samples: np.ndarray | None,
    sampling_rate: int = RATE,
    codec: str = "aac",
    picture: str | None = None,
    options: dict[str, str] | None = None,
    codec_options: dict[str, str] | None = None,
    container_format: str | None = None,
) -> Path:
    """
    Writes a file with FFmpeg.

    Args:
        path (`Path`): its extension is the format, unless `container_format` is given.
        samples (`numpy.ndarray` of shape `(channels, samples)`): the sound; `None` for none.
        sampling_rate (`int`): of the samples, Hz.
        codec (`str`): of the sound.
        picture (`str`): codec of a video of a few frames; `None` for none.
        options, codec_options (`dict`): of the container and of the codec of the sound.
        container_format (`str`): FFmpeg's name of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format=container_format, options=options or {}) as container:
        video = None if picture is None else _add_video(container, picture)
        if samples is not None:
            stream = container.add_stream(
                codec, rate=sampling_rate, layout=_layout(samples), options=codec_options or {}
            )
        if video is not None:
            for _ in range(5):
                container.mux(video.encode(av.VideoFrame(32, 32, video.pix_fmt)))
            container.mux(video.encode(None))
        if samples is not None:
            _mux_sound(container, stream, samples, sampling_rate)
    return path


def _layout(samples: np.ndarray) -> str:
    return {1: "mono", 2: "stereo", 6: "5.1"}[len(samples)]


def _add_video(container, codec: str):
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    return container.add_stream(codec, rate=5, width=32, height=32, pix_fmt=pixels)


def _mux_sound(container, stream, samples: np.ndarray, sampling_rate: int) -> None:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=_layout(samples))
    frame.rate = sampling_rate
    encoder = stream.codec_context
    resampler = av.AudioResampler(encoder.format, _layout(samples), sampling_rate, encoder.frame_size or 1024)
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        container.mux(stream.encode(piece))
    container.mux(stream.encode(None))
