"""A stand-in for the Hub on 127.0.0.1: repositories, uploads in parts, downloads, tokens, and an end in mid-upload."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import datasets
import pytest
from huggingface_hub import constants
from huggingface_hub.utils import _http
from transformers.utils import hub as transformers_hub

TOKEN = "hf_loopback"
LARGE_SUFFIXES = (".safetensors", ".wav", ".png", ".parquet")
API = r"/api/(?P<kind>model|dataset)s/(?P<name>[^/]+/[^/]+)"
FILES = r"(?:/(?P<datasets>datasets))?/(?P<name>[^/]+/[^/]+)"


@dataclass
class Repository:
    """Branches are dictionaries of path to content; every commit stays readable under its id."""

    private: bool = False
    branches: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"main": {}})
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        self.branches[branch] = files
        self.commits[self.commit_id(branch)] = files
        return self.commit_id(branch)

    def commit_id(self, branch: str) -> str:
        files = self.branches[branch].items()
        return hashlib.sha1(b"".join(path.encode() + content for path, content in sorted(files))).hexdigest()

    def files(self, revision: str) -> dict[str, bytes]:
        return self.commits[revision] if revision in self.commits else self.branches[revision]


class LoopbackHub:
    """
    The server and what it keeps. `stop` and `start` keep the address and the content; with `uploads_left` set, it ends
    by itself, without an answer, at the large file after so many.
    """

    def __init__(self):
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.large_files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.uploads_left: int | None = None
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), type("Handler", (Handler,), {"hub": self}))
        self.server.block_on_close = False
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def count(self, method: str, pattern: str) -> int:
        return sum(name == method and re.search(pattern, path) is not None for name, path in self.requests)


@contextmanager
def loopback_hub(cache: Path) -> Iterator[LoopbackHub]:
    """A stand-in that this process talks to instead of the real Hub, without a token."""
    server = LoopbackHub()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", server.url)
        address = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
        patch.setattr(transformers_hub, "_hf_api", None)  # keeps the address it was made with
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        patch.setattr(datasets.config, "HF_ENDPOINT", server.url)
        patch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", cache / "datasets")
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        patch.setattr(_http.time, "sleep", lambda seconds: None)  # between attempts
        patch.delenv("HF_TOKEN", raising=False)
        patch.setattr(constants, "HF_TOKEN_PATH", "/nowhere")
        yield server
    server.stop()


class Handler(BaseHTTPRequestHandler):
    """One request. The routes are those that huggingface_hub 2.4 asks for."""

    hub: LoopbackHub

    def do_GET(self):
        self.answer("GET")

    def do_HEAD(self):
        self.answer("HEAD")

    def do_POST(self):
        self.answer("POST")

    def do_PUT(self):
        self.answer("PUT")

    def log_message(self, *arguments):
        """Says nothing."""

    def answer(self, method: str) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((method, path))
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Transfer-Encoding") == "chunked":
            content = self.read_chunks()
        for verb, pattern, action, needs_token in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and method in verb.split("|"):
                if needs_token and not self.is_known():
                    return self.refuse(401, "Invalid username or password.")
                return action(self, content, **match.groupdict())
        return self.refuse(404, f"There is no {method} {path}.", "EntryNotFound")

    def read_chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def is_known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def refuse(self, status: int, message: str, code: str | None = None) -> None:
        self.reply(json.dumps({"error": message}).encode(), status, {"X-Error-Message": message, "X-Error-Code": code})

    def reply(self, content: bytes, status: int = 200, headers: dict | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            if value is not None:
                self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def reply_json(self, value, status: int = 200) -> None:
        self.reply(json.dumps(value).encode(), status, {"Content-Type": "application/json"})

    def find(self, kind: str, name: str, revision: str) -> Repository | None:
        """The repository, or `None` after an answer that says why not."""
        repository = self.hub.repositories.get((kind, name))
        if repository is None or (repository.private and not self.is_known()):
            self.refuse(404 if self.is_known() else 401, "Repository not found", "RepoNotFound")
            return None
        if revision not in repository.commits and revision not in repository.branches:
            self.refuse(404, f"Invalid rev id: {revision}", "RevisionNotFound")
            return None
        return repository

    # What can be asked for

    def create_repository(self, content):
        values = json.loads(content)
        kind, name = values.get("type") or "model", f"{values['organization'] or 'user'}/{values['name']}"
        url = f"{self.hub.url}/{'datasets/' if kind == 'dataset' else ''}{name}"
        if (kind, name) in self.hub.repositories:
            return self.reply_json({"error": "You already created this repo", "url": url}, 409)
        self.hub.repositories[kind, name] = Repository(private=values.get("visibility") == "private")
        return self.reply_json({"url": url, "name": name})

    def create_branch(self, content, kind, name, branch):
        repository = self.hub.repositories[kind, name]
        if branch in repository.branches:
            return self.reply_json({"error": "Reference already exists"}, 409)
        repository.commit(branch, dict(repository.branches["main"]))
        return self.reply_json({})

    def describe(self, content, kind, name, revision=None):
        if (repository := self.find(kind, name, revision or "main")) is not None:
            files = repository.files(revision or "main")
            sha = revision if revision in repository.commits else repository.commit_id(revision or "main")
            siblings = [{"rfilename": path} for path in files]
            self.reply_json({"id": name, "sha": sha, "private": repository.private, "siblings": siblings, "tags": []})

    def list_tree(self, content, kind, name, revision, folder=None):
        if (repository := self.find(kind, name, revision)) is not None:
            files = repository.files(revision)
            start = f"{folder}/" if folder else ""
            found = {path: files[path] for path in files if path.startswith(start)}
            if folder and not found:
                return self.refuse(404, f"There is no {folder}.", "EntryNotFound")
            folders = {start + path.removeprefix(start).partition("/")[0] for path in found} - found.keys()
            if parse_qs(urlsplit(self.path).query).get("recursive", [""])[0].lower() != "true":
                found = {path: content for path, content in found.items() if "/" not in path.removeprefix(start)}
            entries = [{"type": "directory", "path": path, "oid": git_id(path.encode())} for path in sorted(folders)]
            entries += [{"type": "file", "path": p, "size": len(c), "oid": git_id(c)} for p, c in found.items()]
            self.reply_json(entries)
        return None

    def say_how_to_upload(self, content, kind, name, revision):
        files = self.hub.repositories[kind, name].branches[revision]
        answers = []
        for path in (file["path"] for file in json.loads(content)["files"]):
            is_large = path.endswith(LARGE_SUFFIXES)
            known = files.get(path)
            oid = None if known is None else hashlib.sha256(known).hexdigest() if is_large else git_id(known)
            mode = "lfs" if is_large else "regular"
            answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self.reply_json({"files": answers})

    def say_where_to_upload(self, content, name, datasets=None):
        answers = []
        for wanted in json.loads(content)["objects"]:
            answer = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.hub.large_files:
                answer["actions"] = {"upload": {"href": f"{self.hub.url}/large/{wanted['oid']}"}}
            answers.append(answer)
        self.reply_json({"transfer": "basic", "objects": answers})

    def receive(self, content, oid):
        if self.hub.uploads_left == 0:
            threading.Thread(target=self.hub.stop).start()
            self.close_connection = True
            return
        if self.hub.uploads_left is not None:
            self.hub.uploads_left -= 1
        assert hashlib.sha256(content).hexdigest() == oid
        self.hub.large_files[oid] = content
        self.reply(b"")

    def commit(self, content, kind, name, revision):
        repository = self.hub.repositories[kind, name]
        files = dict(repository.branches[revision])
        for line in content.splitlines():
            part = json.loads(line)
            value = part["value"]
            if part["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif part["key"] == "lfsFile":
                files[value["path"]] = self.hub.large_files[value["oid"]]
        sha = repository.commit(revision, files)
        self.reply_json({"commitOid": sha, "commitUrl": f"{self.hub.url}/{name}/commit/{sha}"})

    def accept(self, content):
        self.reply_json({"errors": [], "warnings": []})

    def send_file(self, content, name, revision, path, datasets=None):
        if (repository := self.find("dataset" if datasets else "model", name, revision)) is None:
            return None
        files = repository.files(revision)
        if path not in files:
            return self.refuse(404, f"There is no {path}.", "EntryNotFound")
        sha = revision if revision in repository.commits else repository.commit_id(revision)
        headers = {"X-Repo-Commit": sha, "ETag": f'"{git_id(files[path])}"'}
        if path.endswith(LARGE_SUFFIXES):
            digest = hashlib.sha256(files[path]).hexdigest()
            headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": len(files[path])}
        return self.reply(files[path], headers=headers)


def git_id(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


ROUTES = [
    ("POST", "/api/repos/create", Handler.create_repository, True),
    ("POST", API + "/branch/(?P<branch>.+)", Handler.create_branch, True),
    ("POST", API + "/preupload/(?P<revision>.+)", Handler.say_how_to_upload, True),
    ("POST", API + "/commit/(?P<revision>.+)", Handler.commit, True),
    ("POST", FILES + r"\.git/info/lfs/objects/batch", Handler.say_where_to_upload, True),
    ("PUT", "/large/(?P<oid>[0-9a-f]+)", Handler.receive, False),
    ("POST", "/api/validate-yaml", Handler.accept, False),
    ("GET|HEAD", FILES + "/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Handler.send_file, False),
    ("GET", API + "/tree/(?P<revision>[^/]+)(?:/(?P<folder>.+))?", Handler.list_tree, False),
    ("GET", API + "(?:/revision/(?P<revision>.+))?", Handler.describe, False),
]
