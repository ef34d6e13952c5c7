"""Is the wheel complete, and does it hold nothing else?"""

import configparser
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def listed_packages() -> set[str]:
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    return set(setup["options"]["packages"].split())


def package_folders() -> dict[str, Path]:
    folders = {"melspec_gpt": ROOT}
    for init in ROOT.glob("*/__init__.py"):
        folders[f"melspec_gpt.{init.parent.name}"] = init.parent
    return folders


def test_listed_packages_are_the_folders():
    assert listed_packages() == set(package_folders())


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory) -> set[str]:
    """Names inside a wheel built from the files that git tracks or would track."""
    folder = tmp_path_factory.mktemp("wheel")
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    for name in filter(None, listing.stdout.split("\0")):
        if (ROOT / name).is_file() and not name.startswith("checkpoints/"):
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / "source" / name)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(folder / "source")],
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def test_wheel_holds_every_module_and_data_file(wheel_names):
    for package, folder in package_folders().items():
        prefix = package.replace(".", "/")
        for path in folder.glob("*.py"):
            assert f"{prefix}/{path.name}" in wheel_names
    training = ROOT / "training"
    for pattern in ("**/*.json", "**/*.yaml", "recipes/*.sh", "cards/*.md", "metrics/*/*.py"):
        for path in training.glob(pattern):
            assert f"melspec_gpt/{path.relative_to(ROOT).as_posix()}" in wheel_names


def test_wheel_holds_no_tests_and_no_second_package(wheel_names):
    tops = {name.split("/")[0] for name in wheel_names}
    assert all(top == "melspec_gpt" or top.endswith(".dist-info") for top in tops)
    assert not any("tests" in name or "benchmarks" in name for name in wheel_names)
