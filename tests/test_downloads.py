"""Are files fetched whole, resumed where they ended, and never used when they are wrong?"""

import hashlib
import shutil

import numpy as np
import pytest
from loopback_files import LoopbackFiles

from melspec_gpt.datasets_scripts import downloads
from melspec_gpt.datasets_scripts.downloads import download, md5_of, read_md5_list

CONTENT = np.random.default_rng(0).bytes(3_000_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(downloads, "FIRST_WAIT_SECONDS", 0.001)
    files = LoopbackFiles({"/a.tar": CONTENT})
    yield files
    files.stop()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "a.tar"


def leave_part(path, content):
    path.parent.mkdir()
    path.with_name("a.tar.part").write_bytes(content)


def test_file_is_fetched_and_nothing_else_is_left(server, path):
    assert download(f"{server.url}/a.tar", path, MD5) == path
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]


def test_empty_file_is_fetched(server, path):
    server.files["/empty"] = b""
    assert download(f"{server.url}/empty", path).read_bytes() == b""


def test_complete_file_is_not_fetched_again(server, path):
    download(f"{server.url}/a.tar", path, MD5)
    download(f"{server.url}/a.tar", path, MD5.upper())
    assert server.ranges == [None]


def test_part_of_an_earlier_run_is_resumed(server, path):
    leave_part(path, CONTENT[:1_234_567])
    download(f"{server.url}/a.tar", path, MD5)
    assert server.ranges == ["bytes=1234567-"]
    assert path.read_bytes() == CONTENT


def test_part_that_is_complete_already_is_taken(server, path):
    leave_part(path, CONTENT)
    download(f"{server.url}/a.tar", path, MD5)
    assert server.ranges == ["bytes=3000000-"]
    assert path.read_bytes() == CONTENT


def test_part_that_is_longer_than_the_file_is_dropped(server, path):
    leave_part(path, CONTENT + b"more")
    download(f"{server.url}/a.tar", path, MD5)
    assert server.ranges == ["bytes=3000004-", None]
    assert path.read_bytes() == CONTENT


def test_part_that_the_server_does_not_continue_is_dropped(server, path):
    server.statuses = [416]  # without saying how long the file is
    leave_part(path, CONTENT[:1000])
    download(f"{server.url}/a.tar", path, MD5)
    assert server.ranges == ["bytes=1000-", None]
    assert path.read_bytes() == CONTENT


def test_server_without_ranges_sends_all_again(server, path):
    server.knows_ranges = False
    leave_part(path, CONTENT[:1_000_000])
    download(f"{server.url}/a.tar", path, MD5)
    assert path.read_bytes() == CONTENT


def test_connection_that_breaks_is_resumed_in_the_same_run(server, path):
    server.breaks = [1_500_000, 500_000]
    download(f"{server.url}/a.tar", path, MD5)
    assert server.ranges == [None, "bytes=1500000-", "bytes=2000000-"]
    assert path.read_bytes() == CONTENT


def test_without_a_checksum_nothing_is_resumed(server, path):
    server.breaks = [1_500_000]
    leave_part(path, b"half of another file")
    download(f"{server.url}/a.tar", path)
    assert server.ranges == [None, None]
    assert path.read_bytes() == CONTENT


def test_progress_forgives_failures(server, path):
    server.breaks = [250_000] * 11
    download(f"{server.url}/a.tar", path, MD5, retries=0)
    assert len(server.requests) == 12


def test_standstill_ends_with_the_part_kept(server, path):
    server.breaks = [1_000_000, 0, 0, 0]
    with pytest.raises(ConnectionError, match=r"1000000 of 3000000 bytes.*same command again"):
        download(f"{server.url}/a.tar", path, MD5, retries=2)
    assert path.with_name("a.tar.part").stat().st_size == 1_000_000
    assert not path.exists()


def test_server_that_is_busy_is_asked_again(server, path):
    server.statuses = [503, 429]
    download(f"{server.url}/a.tar", path, MD5)
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_refusal_is_final(server, path, status):
    server.statuses = [status]
    with pytest.raises(ValueError, match=f"answers {status}"):
        download(f"{server.url}/a.tar", path, MD5)
    assert len(server.requests) == 1
    assert not path.exists()


def test_absent_server_is_named(path, monkeypatch):
    monkeypatch.setattr(downloads, "FIRST_WAIT_SECONDS", 0)
    server = LoopbackFiles({})
    server.stop()
    with pytest.raises(ConnectionError, match=r"cannot be fetched: the server cannot be reached"):
        download(f"{server.url}/a.tar", path, retries=1)


def test_wrong_checksum_is_kept_aside_and_not_used(server, path):
    server.files["/a.tar"] = b"an error page"
    with pytest.raises(ValueError, match=rf"a\.tar has the md5 \w+ instead of {MD5}.*a\.tar\.bad"):
        download(f"{server.url}/a.tar", path, MD5)
    assert [file.name for file in path.parent.iterdir()] == ["a.tar.bad"]


def test_part_of_another_file_is_fetched_again(server, path):
    leave_part(path, b"x" * 1_000_000)
    download(f"{server.url}/a.tar", path, MD5)
    assert server.ranges == ["bytes=1000000-", None]
    assert path.read_bytes() == CONTENT


def test_users_own_wrong_file_is_neither_used_nor_touched(server, path):
    path.parent.mkdir()
    path.write_bytes(b"mine")
    with pytest.raises(ValueError, match="instead of"):
        download(f"{server.url}/a.tar", path, MD5)
    assert path.read_bytes() == b"mine"
    assert not server.requests


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/a.tar", "a.tar"])
def test_only_web_addresses_are_fetched(url, path):
    with pytest.raises(ValueError, match="http://"):
        download(url, path)


def test_redirections_are_followed_to_web_addresses_only(server, path):
    server.redirections = {"/moved": f"{server.url}/a.tar", "/trap": "file:///etc/passwd"}
    download(f"{server.url}/moved", path, MD5)
    assert path.read_bytes() == CONTENT
    with pytest.raises((ValueError, ConnectionError), match="file:"):
        download(f"{server.url}/trap", path.with_name("b.tar"), retries=0)


def test_full_disk_is_noticed_before_the_transfer(server, path, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(OSError, match=r"needs 3000000 more bytes.*1000 bytes free"):
        download(f"{server.url}/a.tar", path, MD5)


def test_md5_lists_are_read_by_file_name(tmp_path):
    (tmp_path / "md5").write_text(f"{MD5}  ./downloaded_features/a.tar\n\n{MD5.upper()} *b.tar\n")
    assert read_md5_list(tmp_path / "md5") == {"a.tar": MD5, "b.tar": MD5}
    (tmp_path / "md5").write_text("a.tar is fine")
    with pytest.raises(ValueError, match=r"a\.tar is fine"):
        read_md5_list(tmp_path / "md5")


def test_md5_is_that_of_the_content(tmp_path):
    (tmp_path / "a").write_bytes(CONTENT)
    assert md5_of(tmp_path / "a") == MD5
