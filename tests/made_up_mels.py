"""Small stand-ins for published mels and the archives they come in."""

import hashlib
import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np


def made_up_mel(seed: int = 0, dtype: str = "float32") -> np.ndarray:
    """Noise of the shape of a published mel."""
    return np.random.default_rng(seed).uniform(0, 1, (80, 860)).astype(dtype)


def mel_bytes(seed: int = 0, dtype: str = "float32") -> bytes:
    """The npy file of [`made_up_mel`]."""
    buffer = io.BytesIO()
    np.save(buffer, made_up_mel(seed, dtype))
    return buffer.getvalue()


def write_mels(folder: Path, names: Iterable[str]) -> None:
    """Writes `<name>_mel.npy` for each name, each with its own noise."""
    for seed, name in enumerate(names):
        path = folder / f"{name}_mel.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(mel_bytes(seed))


def write_tar(path: Path, members: dict[str, bytes]) -> str:
    """Writes a tar file of `members` (name -> content) and gives its md5."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return hashlib.md5(path.read_bytes()).hexdigest()
