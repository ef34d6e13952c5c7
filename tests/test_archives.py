"""Does an archive give its plain files, and nothing else, whatever it holds?"""

import io
import os
import shutil
import tarfile
import zipfile

import numpy as np
import pytest

from melspec_gpt.datasets_scripts import archives
from melspec_gpt.datasets_scripts.archives import unpack

FILES = {"dog/a.npy": b"woof" * 1000, "dog/b.npy": b"wuff", "readme.txt": b""}


def add_file(tar, name, content=b"x"):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def add_special(tar, name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    tar.addfile(info)


def write_tar(path, files=FILES, mode="w"):
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            add_file(tar, name, content)
    return path


def write_zip(path, files=FILES):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def contents(folder):
    """All files below `folder` without the marker."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != archives.MARKER
    }


def reasons(result):
    return {entry["file"]: entry["reason"] for entry in result.refused}


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.tar", write_tar),
        ("a.tar.gz", lambda path: write_tar(path, mode="w:gz")),
        ("a.zip", write_zip),
    ],
)
def test_all_kinds_are_unpacked(tmp_path, name, write):
    result = unpack(write(tmp_path / name), tmp_path / "out")
    assert contents(tmp_path / "out") == FILES
    assert (result.num_files, result.refused) == (3, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "out"])


def test_second_call_does_nothing(tmp_path):
    archive = write_tar(tmp_path / "a.tar", FILES | {"../b": b""})
    first = unpack(archive, tmp_path / "out")
    (tmp_path / "out" / "readme.txt").write_bytes(b"mine")
    assert unpack(archive, tmp_path / "out") == first
    archive.unlink()
    assert unpack(archive, tmp_path / "out") == first
    assert (tmp_path / "out" / "readme.txt").read_bytes() == b"mine"


def test_another_version_of_the_archive_replaces_the_folder(tmp_path):
    unpack(write_tar(tmp_path / "a.tar"), tmp_path / "out")
    unpack(write_tar(tmp_path / "a.tar", {"cat/c.npy": b"meow"}), tmp_path / "out")
    assert contents(tmp_path / "out") == {"cat/c.npy": b"meow"}


@pytest.mark.parametrize("marker", [None, "{}", "[]", "no json"])
def test_folder_of_somebody_else_is_left_alone(tmp_path, marker):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_bytes(b"mine")
    if marker is not None:
        (tmp_path / "out" / archives.MARKER).write_text(marker)
    with pytest.raises(ValueError, match=r"was not unpacked from a\.tar"):
        unpack(write_tar(tmp_path / "a.tar"), tmp_path / "out")
    assert (tmp_path / "out" / "thesis.tex").read_bytes() == b"mine"


def test_remains_of_an_interrupted_call_are_replaced(tmp_path):
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / "half").write_bytes(b"x")
    unpack(write_tar(tmp_path / "a.tar"), tmp_path / "out")
    assert contents(tmp_path / "out") == FILES


@pytest.mark.parametrize(
    "name", ["../evil", "dog/../../evil", "/evil", "..", "dog\\..\\..\\evil", "C:\\evil", "\\evil"]
)
@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_names_that_lead_out_are_refused_by_name(tmp_path, name, write):
    result = unpack(write(tmp_path / "a.x", FILES | {name: b"evil"}), tmp_path / "in" / "out")
    assert contents(tmp_path / "in" / "out") == FILES
    assert list(reasons(result)) == [f"a.x/{name}"]
    assert not list(tmp_path.rglob("*evil*"))


def test_links_and_devices_are_refused_by_name(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add_file(tar, "dog/a.npy")
        add_special(tar, "outside", tarfile.SYMTYPE, "/etc")
        add_file(tar, "outside/passwd")
        add_special(tar, "hard", tarfile.LNKTYPE, "/etc/passwd")
        add_special(tar, "inside", tarfile.SYMTYPE, "dog/a.npy")
        add_special(tar, "null", tarfile.CHRTYPE)
        add_special(tar, "pipe", tarfile.FIFOTYPE)
    result = unpack(tmp_path / "a.tar", tmp_path / "out")
    assert set(contents(tmp_path / "out")) == {"dog/a.npy", "outside/passwd"}
    assert set(reasons(result)) == {"a.tar/outside", "a.tar/hard", "a.tar/inside", "a.tar/null", "a.tar/pipe"}


def test_link_in_a_zip_is_refused(tmp_path):
    archive = write_zip(tmp_path / "a.zip")
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(link, "/etc/passwd")
    assert list(reasons(unpack(archive, tmp_path / "out"))) == ["a.zip/link"]


def test_names_that_cannot_be_used_are_refused(tmp_path):
    odd = {
        "a" * 300: b"",
        "readme.txt/file": b"",
        "dog": b"",
        "tab\t": b"",
        b"caf\xe9".decode(errors="surrogateescape"): b"x",
    }
    result = unpack(write_tar(tmp_path / "a.tar", FILES | odd, mode="w"), tmp_path / "out")
    assert len(result.refused) == 3
    assert os.path.exists(os.fsencode(tmp_path / "out") + b"/caf\xe9")
    assert unpack(tmp_path / "a.tar", tmp_path / "out") == result


def test_member_that_appears_twice_is_taken_once(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add_file(tar, "a", b"first")
        add_file(tar, "./a", b"second")
    assert list(reasons(unpack(tmp_path / "a.tar", tmp_path / "out"))) == ["a.tar/./a"]
    assert contents(tmp_path / "out") == {"a": b"first"}


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_truncated_tar_gives_what_it_has_and_is_named(tmp_path, mode):
    noise = np.random.default_rng(0)
    archive = write_tar(tmp_path / "a.tar", {str(i): noise.bytes(50_000) for i in range(20)}, mode)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2 + 7000])
    result = unpack(archive, tmp_path / "out")
    assert 5 <= result.num_files < 15
    assert "damaged or ends early" in reasons(result)["a.tar"]
    assert all(len(content) == 50_000 for content in contents(tmp_path / "out").values())


def test_tar_that_ends_between_two_members_is_named(tmp_path):
    archive = write_tar(tmp_path / "a.tar", {str(i): b"x" * 512 for i in range(20)})
    archive.write_bytes(archive.read_bytes()[: 10 * 1024])
    result = unpack(archive, tmp_path / "out")
    assert result.num_files == 10
    assert "end mark" in reasons(result)["a.tar"]


def test_damaged_zip_member_is_named(tmp_path):
    archive = write_zip(tmp_path / "a.zip", FILES | {"c": np.random.default_rng(0).bytes(10_000)})
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 0xFF  # inside of c, the largest member
    archive.write_bytes(content)
    result = unpack(archive, tmp_path / "out")
    assert list(reasons(result)) == ["a.zip/c"]
    assert contents(tmp_path / "out") == FILES


def test_encrypted_member_is_named(tmp_path):
    archive = write_zip(tmp_path / "a.zip", {"a": b"1", "b": b"2"})
    content = bytearray(archive.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    assert reasons(unpack(archive, tmp_path / "out")) == {"a.zip/b": "it is encrypted"}


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"PK\x03\x04 and more"])
def test_what_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.tar cannot be unpacked"):
        unpack(tmp_path / "a.tar", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


def test_archive_without_files_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no file that can be unpacked: a\.tar/\.\./b"):
        unpack(write_tar(tmp_path / "a.tar", {"../b": b""}), tmp_path / "out")


@pytest.mark.parametrize("write", [write_zip, lambda path, files: write_tar(path, files, "w:gz")])
def test_bomb_is_stopped_and_leaves_nothing(tmp_path, monkeypatch, write):
    monkeypatch.setattr(archives, "GROWTH_FLOOR_BYTES", 100_000)
    archive = write(tmp_path / "a.x", {"small": b"x", "bomb": bytes(20_000_000)})
    with pytest.raises(ValueError, match=r"a\.x is not unpacked: its \d+ bytes grow to more than 100 times"):
        unpack(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.x"]


def test_archive_beyond_the_free_disk_is_stopped(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(ValueError, match="no room"):
        unpack(write_tar(tmp_path / "a.tar"), tmp_path / "out")


def test_too_many_members_are_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 2)
    with pytest.raises(ValueError, match="more than 2 members"):
        unpack(write_tar(tmp_path / "a.tar"), tmp_path / "out")
