"""Where do Transformers' own common tests come from? Its source distribution, fetched with pip and kept in a cache."""

import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

import transformers

VERSION = "5.23.0"
# Of the file transformers-5.23.0.tar.gz on PyPI: pip refuses any other before it looks inside.
SHA256 = "19d647a4d5d903a7c644ca5cde2d86efc3dde7d8c687ae7988806ff2205efa71"
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "conformance"

# Lines of a text that the tokenizer tests read from a fixture which the distribution does not carry.
SAMPLE_TEXT = "A dog barks.\n\nThe rain falls.\n\nA clock ticks in a quiet room.\n"


class SourceError(Exception):
    """The common tests cannot be had; the message says why and what helps."""


def common_tests(cache: Path = CACHE) -> Path:
    """
    The folder with the common tests of Transformers, downloaded on the first call.

    Raises:
        SourceError: if another version of Transformers is installed, or the download fails.
    """
    if transformers.__version__ != VERSION:
        raise SourceError(
            f"transformers {transformers.__version__} is installed, but the conformance checks are written for the "
            f"common tests of {VERSION}: run `make install`, or review tests/conformance for the new version."
        )
    folder = cache / f"transformers-{VERSION}" / "tests"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            unpacked = Path(scratch, "unpacked")
            _unpack_tests(_download(Path(scratch)), unpacked / "tests")
            # In one step, so that an interrupted run leaves no half-filled folder.
            shutil.move(unpacked, folder.parent)
    return folder


def _download(folder: Path) -> Path:
    """Fetches the source distribution through pip, with whatever index pip is set up for."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"transformers=={VERSION} --hash=sha256:{SHA256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    command += ["--no-build-isolation", "--require-hashes", "--requirement", str(requirements), "--dest", str(folder)]
    print(f"Downloading the source distribution of transformers {VERSION} (10 MB)", flush=True)
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise SourceError(
            f"pip could not download the source distribution of transformers {VERSION}; the conformance checks need "
            f"it once, and a network or a mirror to get it from. pip says:\n{result.stderr.strip()}"
        )
    return folder / f"transformers-{VERSION}.tar.gz"


def _unpack_tests(archive: Path, folder: Path):
    """Writes the Python files that lie directly in tests/ of the archive, and nothing else, into `folder`."""
    folder.mkdir(parents=True)
    with tarfile.open(archive) as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            if member.isfile() and path.parts[1:-1] == ("tests",) and path.suffix == ".py":
                (folder / path.name).write_bytes(tar.extractfile(member).read())
    (folder / "__init__.py").touch()
    (folder / "fixtures").mkdir()
    (folder / "fixtures" / "sample_text.txt").write_text(SAMPLE_TEXT, encoding="utf-8")
