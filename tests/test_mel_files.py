"""Are published spectrogram files read exactly, and all others refused with a reason?"""

import pickle

import numpy as np
import pytest

from melspec_gpt.datasets_scripts.mel_files import load_mel, mel_extractor
from melspec_gpt.tokenization.feature_extraction_mel import MelFeatureExtractor

EXTRACTOR = MelFeatureExtractor()
MEL = np.random.default_rng(0).uniform(0, 1, (80, 860))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a_mel.npy"


class Payload:
    """Says so when it is unpickled."""

    def __reduce__(self):
        return pytest.fail, ("a file was executed",)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_floats_of_all_kinds_are_read(path, dtype, order):
    np.save(path, np.array(MEL, dtype=dtype, order=order))
    mel = load_mel(path, EXTRACTOR)
    assert mel.dtype == np.float32
    assert np.array_equal(mel, MEL.astype(dtype).astype(np.float32))


def test_published_mel_is_read_unchanged(shared_data):
    file = shared_data / "vas_mini/vas/features/dog/melspec_10s_22050hz/video_02677_mel.npy"
    assert np.array_equal(load_mel(file, EXTRACTOR), np.load(file))


def test_rounding_beyond_the_range_is_clipped(path):
    np.save(path, MEL + 1e-6 * np.sign(MEL - 0.5) + np.where(MEL > 0.5, 1 - MEL, -MEL))
    mel = load_mel(path, EXTRACTOR)
    assert (mel.min(), mel.max()) == (0, 1)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (MEL[:, :848], r"shape \(80, 848\); expected floats of shape \(80, 860\)"),
        (MEL.T, "shape"),
        (MEL[None], "shape"),
        (np.zeros((80, 0)), "shape|damaged"),
        ((MEL * 255).astype(np.uint8), "holds uint8"),
        (MEL.astype(complex), "holds complex"),
        (np.where(MEL > 0.999, np.nan, MEL), "NaN"),
        (np.where(MEL > 0.999, np.inf, MEL), "NaN or infinite"),
        (MEL * 2 - 1, "values from -1 to 1"),
        (MEL * 100, "values from"),
    ],
)
def test_other_arrays_are_refused(path, array, reason):
    np.save(path, array)
    with pytest.raises(ValueError, match=reason):
        load_mel(path, EXTRACTOR)


def test_objects_are_refused_and_not_executed(path):
    np.save(path, np.array([Payload()], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="no plain array"):
        load_mel(path, EXTRACTOR)
    path.write_bytes(pickle.dumps(Payload()))
    with pytest.raises(ValueError, match="no plain array"):
        load_mel(path, EXTRACTOR)


def test_archive_of_arrays_is_refused(path):
    with open(path, "wb") as file:
        np.savez(file, mel=MEL)
    with pytest.raises(ValueError, match="archive of arrays"):
        load_mel(path, EXTRACTOR)


@pytest.mark.parametrize("num_bytes", [0, 5, 100, 5000])
def test_truncated_file_is_refused(path, num_bytes):
    np.save(path, MEL)
    path.write_bytes(path.read_bytes()[:num_bytes])
    with pytest.raises(ValueError, match="damaged|no plain array"):
        load_mel(path, EXTRACTOR)


@pytest.mark.parametrize("shape", [b"(80, 8600000000), }", b"(8600000000, 80000000000), }", b"(80, 860"])
def test_header_that_is_made_up_is_refused(path, shape):
    np.save(path, MEL)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"(80, 860), }".ljust(len(shape)), shape, 1))
    assert shape in path.read_bytes()
    with pytest.raises(ValueError, match="damaged"):
        load_mel(path, EXTRACTOR)


def test_absent_file_and_folder_are_refused(path):
    with pytest.raises(ValueError, match="no such file"):
        load_mel(path, EXTRACTOR)
    path.mkdir()
    with pytest.raises(ValueError, match="cannot be read"):
        load_mel(path, EXTRACTOR)


def test_published_mels_keep_their_length():
    assert mel_extractor("features", 10.0, "zero").num_mel_frames == 860
    assert mel_extractor("videos", 5.0, "zero").num_mel_frames == 430
    with pytest.raises(ValueError, match=r"clip_seconds.*is 5.*layout videos"):
        mel_extractor("features", 5.0, "repeat")
