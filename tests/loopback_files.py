"""A file server on 127.0.0.1 that can be told to misbehave: no ranges, broken connections, refusals, redirections."""

import re
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class LoopbackFiles:
    """
    Serves `files` (path -> content) and notes every request with its Range header in `requests`.

    Args:
        files (`dict[str, bytes]`): what can be fetched.
        knows_ranges (`bool`): whether a Range header is answered with that range.
        breaks (`list[int]`): for each coming answer the number of bytes after which the connection ends.
        statuses (`list[int]`): statuses of the coming answers, instead of a file.
        redirections (`dict[str, str]`): path -> address that it is redirected to.
    """

    def __init__(self, files: dict[str, bytes]):
        self.files = files
        self.knows_ranges = True
        self.breaks: list[int] = []
        self.statuses: list[int] = []
        self.redirections: dict[str, str] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"owner": self}))
        self.server.block_on_close = False
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    @property
    def ranges(self) -> list[str | None]:
        """The Range headers of all requests, in order."""
        return [asked for _, asked in self.requests]

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    owner: LoopbackFiles

    def do_GET(self):
        asked = self.headers.get("Range")
        self.owner.requests.append((self.path, asked))
        if self.owner.statuses:
            return self.reply(self.owner.statuses.pop(0))
        if self.path in self.owner.redirections:
            return self.reply(302, headers={"Location": self.owner.redirections[self.path]})
        if self.path not in self.owner.files:
            return self.reply(404)
        content = self.owner.files[self.path]
        if asked is None or not self.owner.knows_ranges:
            return self.reply(200, content)
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
        if start >= len(content):
            return self.reply(416, headers={"Content-Range": f"bytes */{len(content)}"})
        extent = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return self.reply(206, content[start:], {"Content-Range": extent})

    def reply(self, status: int, content: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if content and self.owner.breaks:
            content = content[: self.owner.breaks.pop(0)]
        with suppress(ConnectionError):  # the client may have gone
            self.wfile.write(content)

    def log_message(self, *arguments):
        """Says nothing."""
