"""A small Hub for tests: it speaks the wire of huggingface_hub and datasets, and can fail at any request.

Only what pushes, pulls and `load_dataset` of a data set repo ask for is there; everything is in memory.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

TOKEN = "hf_" + "t" * 34


@dataclass
class Commit:
    oid: str
    message: str
    files: dict[str, bytes]


@dataclass
class Repo:
    private: bool
    commits: list[Commit] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.add("initial commit", {".gitattributes": b"*.parquet filter=lfs\n"})

    @property
    def head(self) -> Commit:
        return self.commits[-1]

    def add(self, message: str, files: dict[str, bytes]) -> str:
        oid = hashlib.sha1(repr((id(self), len(self.commits), message, sorted(files.items()))).encode()).hexdigest()
        self.commits.append(Commit(oid, message, files))
        return oid

    def at(self, revision: str) -> Commit | None:
        oid = self.tags.get(revision, revision)
        if oid in ("main", "HEAD"):
            return self.head
        return next((commit for commit in self.commits if commit.oid == oid), None)


@dataclass
class Fault:
    """What goes wrong, and at which request (counted from 0) or at which path."""

    kind: str
    at: int | None = None
    path: str | None = None
    times: int = 1


class Hub(ThreadingHTTPServer):
    """Listens on loopback; `requests` lists what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.faults: list[Fault] = []
        self.lock = threading.RLock()
        self.stall = 3.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fault(self, line: str) -> str | None:
        """What is to go wrong with this request."""
        with self.lock:
            number = len(self.requests)
            self.requests.append(line)
            for one in self.faults:
                hit = number == one.at if one.at is not None else one.path is not None and one.path in line
                if hit and one.times > 0:
                    one.times -= 1
                    return one.kind
        return None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that are cut are part of the tests."""


@contextmanager
def running() -> Iterator[Hub]:
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for its body

    def log_message(self, *args: Any) -> None:
        """Silent."""

    def do_GET(self) -> None:
        self._handle()

    do_POST = do_PUT = do_HEAD = do_DELETE = do_GET  # noqa: N815 - the names that http.server looks for

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self._chunks()
        url = urlparse(self.path)
        path = unquote(url.path)
        kind = self.server.fault(f"{self.command} {path}")
        if kind in ("500", "503", "429", "412"):
            extra = {"Retry-After": "1"} if kind == "429" else {}
            self._json({"error": "on purpose"}, int(kind), extra)
        elif kind == "reset":
            self._reset()
        elif kind == "stall":
            time.sleep(self.server.stall)
            self._reset()
        else:
            with self.server.lock:
                self._answer(path, parse_qs(url.query), body)
            if kind == "lost":  # done, but the answer never arrives
                self._reset()

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline().strip() or b"0", 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _send(self, content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        if self.close_connection and self.connection.fileno() < 0:
            return
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(value).encode(), status, {"Content-Type": "application/json"} | (headers or {}))

    def _missing(self, what: str) -> None:
        self._json({"error": f"{what} not found"}, 404, {"X-Error-Code": what, "X-Error-Message": f"{what} not found"})

    def _answer(self, path: str, query: dict[str, list[str]], body: bytes) -> None:
        if path.startswith("/blob/"):
            return self._blob(path, body)
        if self.headers.get("Authorization") not in (f"Bearer {TOKEN}",):
            return self._json({"error": "Invalid username or password."}, 401)
        if path == "/api/whoami-v2":
            access = {"accessToken": {"role": "write", "displayName": "test"}}
            return self._json({"name": "team", "type": "user", "orgs": [], "auth": access})
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        found = re.fullmatch(r"(?:/api)?/datasets/([^/]+/[^/]+?)(\.git)?(?:/(.*))?", path)
        if not found:
            return self._missing("EntryNotFound")
        repo = self.server.repos.get(found[1])
        if repo is None:
            return self._missing("RepoNotFound")
        return self._in_repo(found[1], repo, found[3] or "", query, body)

    def _blob(self, path: str, body: bytes) -> None:
        if self.command == "PUT":
            oid = hashlib.sha256(body).hexdigest()
            if oid != path.rsplit("/", 1)[1]:
                return self._json({"error": "other bytes"}, 400)
            self.server.blobs[oid] = body
        return self._send(b"")

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked.get('organization') or 'team'}/{asked['name']}"
        url = f"{self.server.url}/datasets/{name}"
        if name in self.server.repos:
            return self._json({"url": url, "error": "You already created this dataset repo"}, 409)
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.server.repos[name] = Repo(private)
        return self._json({"url": url, "name": name})

    def _in_repo(self, name: str, repo: Repo, rest: str, query: dict[str, list[str]], body: bytes) -> None:
        verb, _, tail = rest.partition("/")
        if verb in ("", "revision"):
            commit = repo.at(tail or "main")
            return self._missing("RevisionNotFound") if commit is None else self._info(name, repo, commit)
        if verb == "refs":
            tags = [{"name": t, "ref": f"refs/tags/{t}", "targetCommit": oid} for t, oid in repo.tags.items()]
            main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.head.oid}
            return self._json({"branches": [main], "tags": tags, "converts": []})
        if verb == "commits":
            titles = [{"id": c.oid, "title": c.message, "message": "", "authors": []} for c in reversed(repo.commits)]
            return self._json(titles)
        if verb == "tag":
            return self._tag(repo, tail, json.loads(body))
        if verb == "preupload":
            files = [
                {"path": f["path"], "uploadMode": "lfs" if f["path"].endswith((".parquet", ".png")) else "regular"}
                | {"shouldIgnore": False}
                for f in json.loads(body)["files"]
            ]
            return self._json({"files": files})
        if verb == "info":
            return self._lfs(json.loads(body))
        if verb == "commit":
            return self._commit(name, repo, body)
        if verb == "tree":
            revision, _, folder = tail.partition("/")
            return self._tree(repo, revision, folder, query)
        if verb == "paths-info":
            asked = parse_qs(body.decode()).get("paths", []) if not body.startswith(b"{") else json.loads(body)["paths"]
            commit = repo.at(tail)
            entries = self._entries(commit.files if commit else {}, "", recursive=True)
            return self._json([entry for entry in entries if entry["path"] in asked])
        if verb == "resolve":
            revision, _, file = tail.partition("/")
            return self._resolve(repo, revision, file)
        return self._missing("EntryNotFound")

    def _info(self, name: str, repo: Repo, commit: Commit) -> None:
        siblings = [{"rfilename": path} for path in sorted(commit.files)]
        about = {"_id": "1", "id": name, "sha": commit.oid, "private": repo.private, "siblings": siblings}
        more = {"tags": [], "downloads": 0, "likes": 0, "gated": False, "disabled": False}
        self._json(about | more | {"lastModified": "2026-01-01T00:00:00.000Z", "createdAt": "2026-01-01T00:00:00.000Z"})

    def _tag(self, repo: Repo, revision: str, asked: dict[str, Any]) -> None:
        commit = repo.at(revision)
        if commit is None:
            return self._missing("RevisionNotFound")
        if asked["tag"] in repo.tags:
            return self._json({"error": "Tag reference exists already"}, 409)
        repo.tags[asked["tag"]] = commit.oid
        return self._json({})

    def _lfs(self, asked: dict[str, Any]) -> None:
        objects = []
        for one in asked["objects"]:
            url = f"{self.server.url}/blob/{one['oid']}"
            entry: dict[str, Any] = {"oid": one["oid"], "size": one["size"]}
            if one["oid"] not in self.server.blobs:
                entry["actions"] = {"upload": {"href": url}, "verify": {"href": f"{self.server.url}/blob/verify"}}
            objects.append(entry)
        self._json({"transfer": "basic", "objects": objects})

    def _commit(self, name: str, repo: Repo, body: bytes) -> None:
        lines = [json.loads(line) for line in body.decode().splitlines()]
        header = lines[0]["value"]
        if header.get("parentCommit") not in (None, repo.head.oid):
            return self._json({"error": "A commit has happened since. Please refresh and try again."}, 412)
        files = dict(repo.head.files)
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.blobs[value["oid"]]
            elif line["key"] == "deletedFile":
                files.pop(value["path"], None)
        oid = repo.add(header["summary"], files)
        url = f"{self.server.url}/datasets/{name}/commit/{oid}"
        return self._json({"success": True, "commitOid": oid, "commitUrl": url})

    def _entries(self, files: dict[str, bytes], folder: str, *, recursive: bool) -> list[dict[str, Any]]:
        prefix = f"{folder}/" if folder else ""
        found: dict[str, dict[str, Any]] = {}
        for path, content in sorted(files.items()):
            if not path.startswith(prefix):
                continue
            parts = path[len(prefix) :].split("/")
            for depth in range(1, len(parts) if recursive else min(2, len(parts))):
                above = prefix + "/".join(parts[:depth])
                found[above] = {"type": "directory", "path": above, "oid": "0" * 40, "size": 0}
            if recursive or len(parts) == 1:
                oid = hashlib.sha1(content).hexdigest()
                found[path] = {"type": "file", "path": path, "size": len(content), "oid": oid}
        return list(found.values())

    def _tree(self, repo: Repo, revision: str, folder: str, query: dict[str, list[str]]) -> None:
        commit = repo.at(revision)
        if commit is None:
            return self._missing("RevisionNotFound")
        recursive = query.get("recursive", ["false"])[0].lower() == "true"
        entries = self._entries(commit.files, folder, recursive=recursive)
        return self._missing("EntryNotFound") if folder and not entries else self._json(entries)

    def _resolve(self, repo: Repo, revision: str, file: str) -> None:
        commit = repo.at(revision)
        if commit is None:
            return self._missing("RevisionNotFound")
        if file not in commit.files:
            return self._missing("EntryNotFound")
        content = commit.files[file]
        headers = {"X-Repo-Commit": commit.oid, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
        headers["Accept-Ranges"] = "bytes"
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if not asked:
            return self._send(content, 200, headers)
        first, last = int(asked[1]), min(int(asked[2] or len(content) - 1), len(content) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        return self._send(content[first : last + 1], 206, headers)


if __name__ == "__main__":  # a Hub for other processes: its address, until standard input ends
    import sys

    with running() as one:
        print(one.url, flush=True)
        sys.stdin.read()
