"""A hub of models on this machine: as much of the API of the Hugging Face hub as a download uses."""

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

MODEL_FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


@dataclass
class Repository:
    """Files at one commit, which all the revisions stand for."""

    files: dict[str, bytes]
    commit: str = "1" * 40
    revisions: tuple[str, ...] = ("main",)
    gated: bool = False

    @classmethod
    def from_folder(cls, folder: Path, **options) -> "Repository":
        """The files of a model, and some that no download of a model should take."""
        files = {name: (folder / name).read_bytes() for name in MODEL_FILES if (folder / name).is_file()}
        unwanted = {"pytorch_model.bin": b"pickle", "modeling_own.py": b"raise SystemExit", "README.md": b"# Card"}
        return cls(files | unwanted | {"onnx/config.json": b"{}"}, **options)


@dataclass
class FakeHub:
    """Repositories by name, what goes wrong, and what was asked for."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    status: int | None = None
    """Answer everything with this status."""
    breaks_off: bool = False
    """Close the connection amid the weights."""
    bytes_per_second: int | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Method and path of each request."""
    tokens: list[str] = field(default_factory=list)
    """Authorization of each request."""
    url: str = ""

    @contextmanager
    def serving(self) -> Iterator["FakeHub"]:
        """Listen on a port of this machine."""
        handler = type("Handler", (_Handler,), {"hub": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def environment(self, home: Path) -> dict[str, str]:
        """Variables with which another process uses this hub, and a cache below ``home``."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "",
            "QWEN_ALLINONE_MODEL": "",
            "NO_PROXY": "127.0.0.1",
        }

    def use(self, patch: pytest.MonkeyPatch, home: Path) -> None:
        """Make this process use this hub, and a cache below ``home``, as the variables would at its start."""
        patch.setattr(constants, "ENDPOINT", self.url)
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", self.url + "/{repo_id}/resolve/{revision}/{filename}")
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.delenv("QWEN_ALLINONE_MODEL", raising=False)

    def downloads(self) -> list[str]:
        """Names of the files that were sent, in turn."""
        return [path.rpartition("/")[2] for method, path in self.asked if method == "GET" and "/resolve/" in path]


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append((self.command, path))
        self.hub.tokens.append(self.headers.get("Authorization", ""))
        if self.hub.status is not None:
            self._error(self.hub.status, "")
            return
        parts = path.strip("/").split("/")
        is_api = parts[:2] == ["api", "models"]
        name, rest = ("/".join(parts[2:4]), parts[4:]) if is_api else ("/".join(parts[:2]), parts[2:])
        repository = self.hub.repositories.get(name)
        if repository is None:
            self._error(404, "RepoNotFound")
            return
        revision = rest[1] if len(rest) > 1 else "main"
        if revision not in (*repository.revisions, repository.commit):
            self._error(404, "RevisionNotFound")
        elif is_api:
            self._describe(repository, rest[0] if rest else "")
        elif repository.gated:
            self._error(403, "GatedRepo")
        elif "/".join(rest[2:]) not in repository.files:
            self._error(404, "EntryNotFound")
        else:
            self._file(repository, "/".join(rest[2:]))

    def _describe(self, repository: Repository, kind: str) -> None:
        sizes = {name: len(content) for name, content in repository.files.items()}
        if kind == "tree":
            answer: object = [
                {"type": "file", "path": name, "size": size, "oid": _etag(name, repository.files[name])}
                for name, size in sizes.items()
            ]
        else:
            siblings = [{"rfilename": name, "size": size} for name, size in sizes.items()]
            answer = {"id": "x/y", "sha": repository.commit, "siblings": siblings, "gated": repository.gated}
        content = json.dumps(answer).encode()
        self._head(200, {"Content-Type": "application/json", "Content-Length": str(len(content))})
        self.wfile.write(content)

    def _file(self, repository: Repository, name: str) -> None:
        content = repository.files[name]
        length = {"Content-Length": str(len(content))}
        self._head(200, {"ETag": f'"{_etag(name, content)}"', "X-Repo-Commit": repository.commit} | length)
        if self.command == "GET":
            self._send(name, content)

    def _send(self, name: str, content: bytes) -> None:
        if self.hub.breaks_off and name.endswith(".safetensors"):
            content = content[: len(content) // 2]
            self.close_connection = True
        step = self.hub.bytes_per_second // 20 if self.hub.bytes_per_second else len(content) or 1
        for place in range(0, len(content), step):
            try:
                self.wfile.write(content[place : place + step])
            except OSError:
                self.close_connection = True
                return
            if self.hub.bytes_per_second:
                time.sleep(0.05)

    def _error(self, status: int, code: str) -> None:
        self._head(status, {"X-Error-Code": code, "Content-Length": "0"})

    def _head(self, status: int, fields: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()


def _etag(name: str, content: bytes) -> str:
    """Large files have a digest of 256 bits on the hub, and text files have Git's of 160."""
    return (hashlib.sha256 if name.endswith(".safetensors") else hashlib.sha1)(content).hexdigest()
