"""How is a large file fetched so that a broken connection costs little and a wrong file is never used?"""

import hashlib
import http.client
import logging
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

logger = logging.getLogger(__name__)

SCHEMES = ("http", "https")
CHUNK_BYTES = 1 << 20
TIMEOUT_SECONDS = 60
# Attempts in a row that bring nothing new before the download is given up.
RETRIES = 4
FIRST_WAIT_SECONDS = 1.0
# Answers that a second attempt may mend; all other refusals are final.
RETRIED_STATUS = (408, 425, 429, 500, 502, 503, 504)
RANGE_NOT_SATISFIABLE = 416
PARTIAL_CONTENT = 206
CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")
MD5_LINE = re.compile(r"([0-9a-fA-F]{32}) [ *](.+)")


class _Interrupted(Exception):
    """The transfer failed in a way that another attempt may mend."""


def download(url: str, path: str | Path, md5: str | None = None, retries: int = RETRIES) -> Path:
    """
    Fetches `url` to `path`. The bytes are collected in `path` + ".part", which is renamed when all are there and the
    checksum is right; a file that is there already is only checked. With an `md5` a part is resumed where it ends, be
    it of this call or of an earlier one (a server that cannot do that sends all again). Without one every attempt
    starts anew, for nothing would tell whether two halves belong to the same file.

    Args:
        url (`str`): an http or https address. Redirections are followed, to these two only.
        path (`str` or `Path`): the file to write; its folder is made.
        md5 (`str`): checksum of the whole file in hexadecimal; `None` checks only the length that the server states.
        retries (`int`): attempts in a row that bring no new byte before the download is given up.

    Returns:
        `path`.

    Raises:
        ValueError: for another kind of address, a file that the server does not have or hand out, or a wrong checksum;
            a file with a wrong checksum is kept as `path` + ".bad", to be looked at, and never used.
        ConnectionError: if the server cannot be reached or the transfer keeps failing. The part stays for a rerun.
        OSError: if the disk is full or the file cannot be written.
    """
    path = Path(path)
    if urlsplit(url).scheme not in SCHEMES:
        raise ValueError(f"The address {url!r} cannot be fetched; it has to start with http:// or https://.")
    if path.is_file():
        check_md5(path, md5)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    is_resumed = md5 is not None and _size(part) > 0
    _fetch(url, part, retries, may_resume=md5 is not None)
    if is_resumed and md5_of(part) != md5.lower():
        logger.warning("%s, begun by an earlier run, has a wrong md5: it is fetched again from the start.", path.name)
        part.unlink()
        _fetch(url, part, retries, may_resume=True)
    check_md5(part, md5, bad=path.with_name(path.name + ".bad"))
    part.replace(path)
    return path


def md5_of(path: str | Path) -> str:
    """The md5 checksum of a file in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def check_md5(path: Path, md5: str | None, bad: Path | None = None) -> None:
    """
    Compares the checksum of a file with the expected one, if there is one; a wrong file is renamed to `bad`, if given.

    Raises:
        ValueError: if they differ.
    """
    if md5 is None or (found := md5_of(path)) == md5.lower():
        return
    kept = ""
    if bad is not None:
        path.replace(bad)
        kept = f" It is kept as {bad.name} and not used."
    name = path.name if bad is None else bad.name.removesuffix(".bad")
    raise ValueError(f"{name} has the md5 {found} instead of {md5.lower()}: it is damaged or another file.{kept}")


def read_md5_list(path: str | Path) -> dict[str, str]:
    """
    File name (without folders) -> md5, from a file as the program md5sum writes it.

    Raises:
        ValueError: if a line is of another form.
    """
    checksums = {}
    for line in Path(path).read_text(encoding="utf-8", errors="backslashreplace").splitlines():
        match = MD5_LINE.fullmatch(line.strip())
        if match:
            checksums[match[2].replace("\\", "/").rsplit("/", 1)[-1]] = match[1].lower()
        elif line.strip():
            raise ValueError(f"{path} holds the line {line[:80]!r}; expected an md5, two blanks and a file name.")
    return checksums


def _fetch(url: str, part: Path, retries: int, may_resume: bool) -> None:
    """Brings `part` to its full length, in as many attempts as it takes while there is progress."""
    furthest, failures = _size(part) if may_resume else 0, 0
    while True:
        if not may_resume:
            part.unlink(missing_ok=True)
        try:
            return _attempt(url, part)
        except _Interrupted as error:
            failures = 0 if _size(part) > furthest else failures + 1
            furthest = max(furthest, _size(part))
            if failures > retries:
                raise ConnectionError(
                    f"{url} cannot be fetched: {error} ({failures} attempts without a new byte). Check the "
                    "connection and run the same command again; what is complete is not fetched twice."
                ) from error
            logger.warning("%s: %s; trying again after %d bytes.", url, error, _size(part))
        time.sleep(FIRST_WAIT_SECONDS * 2 ** max(failures - 1, 0))


def _attempt(url: str, part: Path) -> None:
    """One request for what `part` still lacks. Raises `_Interrupted` if it ends early."""
    offset = _size(part)
    with _open(url, offset) as response:
        start, total = _extent(response, offset)
        if start is None:
            part.unlink(missing_ok=True)
            raise _Interrupted("the server does not go on where the part ends, so it is dropped")
        if response.status == RANGE_NOT_SATISFIABLE:
            return
        _require_space(part, total, start)
        bar = tqdm(
            total=total, initial=start, unit="B", unit_scale=True, unit_divisor=1024, desc=part.stem, disable=None
        )
        with bar:
            _write(response, part, "ab" if start else "wb", bar)
    if total is not None and _size(part) != total:
        raise _Interrupted(f"the connection ended after {_size(part)} of {total} bytes")


def _open(url: str, offset: int) -> http.client.HTTPResponse:
    """The answer to a request for the bytes from `offset` on, also one that says that there are none."""
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity", "User-Agent": "melspec_gpt"})
    if offset:
        request.add_header("Range", f"bytes={offset}-")
    try:
        return _opener().open(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == RANGE_NOT_SATISFIABLE:
            return error
        if error.code in RETRIED_STATUS:
            raise _Interrupted(f"the server answers {error.code} {error.reason}") from error
        raise ValueError(
            f"{url} cannot be fetched: the server answers {error.code} {error.reason}. Check the address; another one "
            "can be given as an option."
        ) from error
    except urllib.error.URLError as error:
        raise _Interrupted(f"the server cannot be reached ({error.reason})") from error
    except (http.client.HTTPException, OSError) as error:
        raise _Interrupted(f"the request failed ({error!r})") from error


def _opener() -> urllib.request.OpenerDirector:
    """Understands http and https and nothing else (the default one also opens local files and ftp)."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def _extent(response: http.client.HTTPResponse, offset: int) -> tuple[int | None, int | None]:
    """
    Where in the file the answer begins, `None` if it does not fit to a part of `offset` bytes, and how long the whole
    file is, `None` where the server does not say. The answer to a part that is complete begins at the file's end.
    """
    if response.status not in (PARTIAL_CONTENT, RANGE_NOT_SATISFIABLE):
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    match = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None:
        return None, None
    total = int(match[2]) if match[2].isdecimal() else None
    start = total if match[1] is None else int(match[1])
    return (start if start == offset else None), total


def _write(response: http.client.HTTPResponse, part: Path, mode: str, bar: tqdm) -> None:
    with open(part, mode) as file:
        while True:
            try:
                chunk = response.read(CHUNK_BYTES)
            except (http.client.HTTPException, OSError) as error:
                raise _Interrupted(f"the connection broke ({error!r})") from error
            if not chunk:
                return
            try:
                file.write(chunk)
            except OSError as error:
                raise OSError(
                    f"{part} cannot be written: {os.strerror(error.errno or 0)}. Make room and run the same "
                    "command again; it goes on where it stopped."
                ) from error
            bar.update(len(chunk))


def _require_space(part: Path, total: int | None, start: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - start > free:
        raise OSError(
            f"{part.stem} needs {total - start} more bytes, and {part.parent} has {free} bytes free; make room or "
            "choose another folder."
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
