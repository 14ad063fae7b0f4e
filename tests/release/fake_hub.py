"""A hub in memory: as much of the Hugging Face API over HTTP as its own client needs to publish and to download."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_local_test"
LFS_FROM_BYTES = 4096
REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"
API = r"/api/(?P<type>model|dataset)s/" + REPO
RESOLVE = r"/(?P<datasets>datasets/)?" + REPO + r"/resolve/(?P<rev>[^/]+)/(?P<path>.+)"


class Repo:
    def __init__(self, private: bool) -> None:
        self.private = private
        self.commits: dict[str, dict[str, bytes]] = {}
        self.refs = {"main": self.commit({})}
        self.tags: dict[str, str] = {}

    def commit(self, files: dict[str, bytes]) -> str:
        oid = hashlib.sha1(repr((len(self.commits), sorted(files.items()))).encode()).hexdigest()
        self.commits[oid] = files
        return oid

    def find(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.refs.get(revision) or self.tags.get(revision)


class FakeHub:
    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.url = ""


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    hub = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}" and "validate-yaml" not in self.path:
            self.send({"error": "Unauthorized"}, 401)
            return
        self.route(POSTS, body)

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.hub.objects[self.path.rpartition("/")[2]] = body
        self.send({})

    def do_GET(self) -> None:
        self.route(GETS, b"")

    do_HEAD = do_GET  # noqa: N815

    def route(self, routes: dict[str, str], body: bytes) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path))
        for pattern, name in routes.items():
            match = re.fullmatch(pattern, path)
            if match:
                found = match.groupdict()
                repo = self.hub.repos.get((found.get("type") or "model", found.get("repo", "")))
                if found.get("datasets"):
                    repo = self.hub.repos.get(("dataset", found["repo"]))
                if "repo" in found and repo is None:
                    self.send({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
                else:
                    getattr(self, name)(repo, found, body)
                return
        self.send({"error": f"no such route: {path}"}, 404)

    def create(self, _: None, found: dict[str, str], body: bytes) -> None:
        asked = json.loads(body)
        key = (asked.get("type", "model"), f"{asked['organization']}/{asked['name']}")
        status = 409 if key in self.hub.repos else 200
        self.hub.repos.setdefault(key, Repo(asked.get("visibility") == "private"))
        self.send({"url": f"{self.hub.url}/{'datasets/' if key[0] == 'dataset' else ''}{key[1]}"}, status)

    def validate(self, _: None, found: dict[str, str], body: bytes) -> None:
        self.send({"errors": [], "warnings": []})

    def preupload(self, repo: Repo, found: dict[str, str], body: bytes) -> None:
        modes = [
            {
                "path": one["path"],
                "shouldIgnore": False,
                "uploadMode": "lfs" if one["size"] >= LFS_FROM_BYTES else "regular",
            }
            for one in json.loads(body)["files"]
        ]
        self.send({"files": modes})

    def lfs_batch(self, repo: Repo, found: dict[str, str], body: bytes) -> None:
        objects = [
            one | {"actions": {"upload": {"href": f"{self.hub.url}/lfs/{one['oid']}"}}}
            for one in json.loads(body)["objects"]
        ]
        self.send({"transfer": "basic", "objects": objects})

    def commit(self, repo: Repo, found: dict[str, str], body: bytes) -> None:
        files = dict(repo.commits[repo.refs["main"]])
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                content = self.hub.objects[value["oid"]]
                assert hashlib.sha256(content).hexdigest() == value["oid"]
                files[value["path"]] = content
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        repo.refs["main"] = repo.commit(files)
        self.send(
            {"commitUrl": f"{self.hub.url}/{found['repo']}/commit/{repo.refs['main']}", "commitOid": repo.refs["main"]}
        )

    def tag(self, repo: Repo, found: dict[str, str], body: bytes) -> None:
        repo.tags[json.loads(body)["tag"]] = repo.find(found["rev"]) or ""
        self.send({})

    def list_refs(self, repo: Repo, found: dict[str, str], body: bytes) -> None:
        def listed(refs: dict[str, str], kind: str) -> list[dict[str, str]]:
            return [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": oid} for name, oid in refs.items()]

        self.send({"branches": listed(repo.refs, "heads"), "tags": listed(repo.tags, "tags"), "converts": []})

    def info(self, repo: Repo, found: dict[str, str], body: bytes) -> None:
        oid = repo.find(found.get("rev") or "main")
        if oid is None:
            self.send({"error": "Invalid rev id"}, 404, {"X-Error-Code": "RevisionNotFound"})
            return
        files = repo.commits[oid]
        self.send(
            {
                "id": found["repo"],
                "sha": oid,
                "private": repo.private,
                "siblings": [{"rfilename": one} for one in files],
            }
        )

    def tree(self, repo: Repo, found: dict[str, str], body: bytes) -> None:
        folder = (found.get("folder") or "").strip("/")
        files = repo.commits[repo.find(found["rev"]) or ""]
        listed = [self.entry(path, content) for path, content in sorted(files.items()) if path.startswith(folder)]
        missing = bool(folder) and not listed
        self.send(
            listed if not missing else {"error": "none"}, 404 if missing else 200, {"X-Error-Code": "EntryNotFound"}
        )

    def entry(self, path: str, content: bytes) -> dict[str, Any]:
        entry = {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
        if len(content) >= LFS_FROM_BYTES:
            entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
        return entry

    def resolve(self, repo: Repo, found: dict[str, str], body: bytes) -> None:
        oid = repo.find(found["rev"])
        content = repo.commits[oid].get(found["path"]) if oid else None
        if content is None:
            code = "EntryNotFound" if oid else "RevisionNotFound"
            self.send({"error": code}, 404, {"X-Error-Code": code, "X-Repo-Commit": oid or ""})
            return
        headers = {"X-Repo-Commit": oid or "", "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
        self.send_bytes(content, 200, headers, "application/octet-stream")

    def send(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_bytes(json.dumps(value).encode(), status, headers or {}, "application/json")

    def send_bytes(self, content: bytes, status: int, headers: dict[str, str], kind: str) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": kind, "Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


POSTS = {
    r"/api/repos/create": "create",
    r"/api/validate-yaml": "validate",
    API + r"/preupload/(?P<rev>[^/]+)": "preupload",
    API + r"/commit/(?P<rev>[^/]+)": "commit",
    API + r"/tag/(?P<rev>[^/]+)": "tag",
    r"/(?P<datasets>datasets/)?" + REPO + r"\.git/info/lfs/objects/batch": "lfs_batch",
}
GETS = {
    API + r"/refs": "list_refs",
    API + r"(/revision/(?P<rev>[^/]+))?": "info",
    API + r"/tree/(?P<rev>[^/]+)(?P<folder>/.+)?": "tree",
    RESOLVE: "resolve",
}
