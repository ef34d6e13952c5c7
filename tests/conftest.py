"""Fixtures that several test files share."""

import os

# The tests run tiny models: more threads than this only get into each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from pathlib import Path

import pytest

pytest_plugins = ["tiny_hub"]

SHARED_DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the real clips and the golden tensors of the original; the test is skipped without it."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the folder ../shared/data with real clips and golden tensors is absent")
    return SHARED_DATA
