"""Downloads against a server on this machine that speaks both stores' languages and fails in all their ways."""

import gzip
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.corpus.samples import jats, s2orc_row
from tests.corpus.test_build import check_accounts, read_parts, section

from pmc_llama.corpus.build import build_corpus
from pmc_llama.corpus.download.fetch import fetch
from pmc_llama.corpus.download.pmc import Wanted, download_pmc, read_pmcids
from pmc_llama.corpus.download.s2 import S2Api, download_dataset, download_diffs
from pmc_llama.errors import InputError


class Server:
    """Files by path, and faults that happen once each: path -> list of (kind, argument)."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[tuple[str, Any]]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.pauses: list[float] = []
        self.signature = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *arguments: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, call: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(call.path)
        self.requests.append((call.path, dict(call.headers)))
        content = self.content(parts.path, parts.query)
        waiting = self.faults.get(parts.path, [])
        kind, argument = waiting.pop(0) if waiting else ("", None)
        if content is None or kind == "status":
            call.send_response(404 if content is None else argument)
            if kind == "status" and argument == 429:
                call.send_header("Retry-After", "7")
            call.end_headers()
            return
        start = int(call.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        if start and kind == "no ranges":
            start = 0
        if start >= len(content) > 0 and "Range" in call.headers and kind != "no ranges":
            call.send_response(416)
            call.send_header("Content-Range", f"bytes */{len(content)}")
            call.end_headers()
            return
        body = content[start:]
        if kind == "short file":
            body = body[:argument]
        call.send_response(206 if start else 200)
        call.send_header("Content-Length", str(len(body)))
        call.end_headers()
        call.wfile.write(body[:argument] if kind == "cut" else body)

    def content(self, path: str, query: str) -> bytes | None:
        return self.files.get(path)


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.http.shutdown()
    found.http.server_close()


CONTENT = bytes(range(256)) * 40


@pytest.mark.parametrize(
    "faults",
    [
        [],
        [("cut", 100), ("cut", 3000)],
        [("status", 429), ("status", 503)],
        [("cut", 100), ("no ranges", None)],
        [("short file", 500)],
        [("status", 403)],
    ],
)
def test_a_download_is_whole_whatever_happens(server: Server, tmp_path: Path, faults: list) -> None:
    server.files["/a.gz"], server.faults["/a.gz"] = CONTENT, list(faults)
    md5 = hashlib.md5(CONTENT).hexdigest()
    fetch(lambda: f"{server.address}/a.gz", tmp_path / "a.gz", md5=md5, sleep=server.pauses.append)
    assert (tmp_path / "a.gz").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["a.gz"]
    assert len(server.pauses) == len([kind for kind, _ in faults if kind != "no ranges"])
    if ("status", 429) in faults:
        assert server.pauses[0] == 7
    if ("cut", 100) in faults:
        assert server.requests[1][1]["Range"] == "bytes=100-"


@pytest.mark.parametrize(
    ("fault", "message"), [(("status", 500), "HTTP 500"), (("status", 418), "HTTP 418"), (("cut", 5), "ended after")]
)
def test_a_download_that_never_ends_well_is_an_error(
    server: Server, tmp_path: Path, fault: tuple, message: str
) -> None:
    server.files["/a.gz"], server.faults["/a.gz"] = (
        CONTENT,
        [fault, *[("status", fault[1]) if fault[0] == "status" else ("cut", 0)] * 50],
    )
    with pytest.raises(InputError, match=message):
        fetch(lambda: f"{server.address}/a.gz?secret=1", tmp_path / "a.gz", sleep=server.pauses.append)
    assert not (tmp_path / "a.gz").exists()


def test_wrong_content_is_an_error(server: Server, tmp_path: Path) -> None:
    server.files["/a"] = b"other"
    with pytest.raises(InputError, match="MD5"):
        fetch(lambda: f"{server.address}/a", tmp_path / "a", md5="0" * 32, sleep=server.pauses.append)
    assert not list(tmp_path.iterdir())


class S2Server(Server):
    """The Datasets API, with links that carry a signature and expire."""

    def content(self, path: str, query: str) -> bytes | None:
        if path.startswith("/shards/") and query != f"sig={self.signature}":
            return None  # the link expired
        if path == "/release/latest":
            return json.dumps({"release_id": "2026-09-17", "datasets": []}).encode()
        names = sorted(name for name in self.files if name.startswith("/shards/"))
        links = [f"{self.address}{name}?sig={self.signature}" for name in names]
        if path == "/release/2026-09-17/dataset/s2orc":
            return json.dumps({"name": "s2orc", "files": links}).encode()
        if path == "/diffs/2026-09-17/to/latest/s2orc":
            increment = {
                "from_release": "2026-09-17",
                "to_release": "2026-10-01",
                "update_files": links[:1],
                "delete_files": links[1:],
            }
            return json.dumps({"diffs": [increment]}).encode()
        return self.files.get(path)


def shard(*rows: dict) -> bytes:
    return gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in rows), mtime=0)


@pytest.fixture
def s2(monkeypatch: pytest.MonkeyPatch) -> Iterator[S2Server]:
    monkeypatch.setenv("S2_API_KEY", "key")
    found = S2Server()
    yield found
    found.http.shutdown()
    found.http.server_close()


def test_a_dataset_is_fetched_counted_and_built(s2: S2Server, tmp_path: Path) -> None:
    for n in range(4):
        s2.files[f"/shards/20260917_{n}.gz"] = shard(
            *(s2orc_row(i, pmcid=str(i)) for i in range(n * 10 + 1, n * 10 + 11))
        )
    s2.faults["/shards/20260917_1.gz"] = [("cut", 50)]
    s2.faults["/release/latest"] = [("status", 429)]
    arguments: dict[str, Any] = {
        "api": S2Api(s2.address, s2.pauses.append),
        "sleep": s2.pauses.append,
        "least_rows": 40,
    }
    out = tmp_path / "s2orc"
    manifest = download_dataset("s2orc", out, **arguments)
    assert (manifest.release, len(manifest.files)) == ("2026-09-17", 4)
    assert {entry.rows for entry in manifest.files.values()} == {10}
    api_headers = [headers for path, headers in s2.requests if path.startswith("/release")]
    assert all(headers.get("X-Api-Key") == "key" for headers in api_headers)
    assert not any("X-Api-Key" in headers for path, headers in s2.requests if path.startswith("/shards"))
    before = len(s2.requests)
    assert download_dataset("s2orc", out, **arguments) == manifest
    assert not any(path.startswith("/shards") for path, _ in s2.requests[before:])
    with pytest.raises(InputError, match="40 rows of s2orc, at least 41 were expected"):
        download_dataset("s2orc", out, **arguments | {"least_rows": 41})
    with pytest.raises(InputError, match="take another folder"):
        _other_release(out, arguments)
    build_corpus(section({"name": "s2orc", "paths": ["s2orc/*.gz"]}), tmp_path, tmp_path / "out", workers=1)
    assert check_accounts(tmp_path / "out")["kept"] == 40


def _other_release(out: Path, arguments: dict[str, Any]) -> None:
    class Other(S2Api):
        def release(self, name: str = "latest") -> str:
            return "2027-01-01"

        def files(self, release: str, dataset: str) -> dict[str, str]:
            return {}

    download_dataset("s2orc", out, **arguments | {"api": Other()})


def test_expired_links_are_listed_again(s2: S2Server, tmp_path: Path) -> None:
    s2.files["/shards/a.gz"] = shard(s2orc_row(1))
    api = S2Api(s2.address, s2.pauses.append)
    files = api.files

    def expiring(release: str, dataset: str) -> dict[str, str]:
        links = files(release, dataset)
        if s2.signature == 0:
            s2.signature = 1  # the first list is out of date at once
        return links

    api.files = expiring  # type: ignore[method-assign]
    manifest = download_dataset("s2orc", tmp_path, api=api, least_rows=1, sleep=s2.pauses.append)
    assert manifest.files["a.gz"].rows == 1


def test_broken_shard_is_not_kept(s2: S2Server, tmp_path: Path) -> None:
    s2.files["/shards/a.gz"] = shard(s2orc_row(1))[:-9]
    with pytest.raises(InputError, match=r"a\.gz"):
        download_dataset("s2orc", tmp_path, api=S2Api(s2.address), least_rows=1, sleep=s2.pauses.append)
    assert not list(tmp_path.glob("*.gz*"))


def test_changes_between_releases_are_applied(s2: S2Server, tmp_path: Path) -> None:
    old = [s2orc_row(n, pmcid=str(n)) for n in (1, 2, 3)]
    (tmp_path / "base.jsonl.gz").write_bytes(shard(*old))
    newer = s2orc_row(1, pmcid="1", text="A newer text of paper one.", paragraph=[(0, 26)]) | {
        "updated": "2026-09-30T00:00:00Z"
    }
    s2.files["/shards/a_update.gz"] = shard(newer, s2orc_row(4, pmcid="4"))
    s2.files["/shards/b_delete.gz"] = shard({"corpusid": 3})
    download_diffs("s2orc", tmp_path / "diffs", start="2026-09-17", api=S2Api(s2.address), sleep=s2.pauses.append)
    source = {
        "name": "s2orc",
        "paths": ["base.jsonl.gz", "diffs/*/update/*.gz"],
        "deleted": ["diffs/*/delete/*.gz"],
    }
    build_corpus(section(source), tmp_path, tmp_path / "out", workers=1)
    summary = check_accounts(tmp_path / "out")
    assert summary["dropped"] == {"deleted": 1, "duplicate_pmcid": 1}
    kept = {row["corpusid"]: row["text"] for row in read_parts(tmp_path / "out").iter_rows(named=True)}
    assert sorted(kept) == [1, 2, 4]
    assert kept[1] == "A newer text of paper one."


class PmcServer(Server):
    """The bucket: articles, their metadata, and an inventory of the metadata."""

    def add(self, pmcid: int, version: int, **metadata: Any) -> None:
        name, xml = f"PMC{pmcid}.{version}", jats(pmcid, f"<p>Version {version} of {pmcid}.</p>", doi=f"10.1/{pmcid}")
        self.files[f"/{name}/{name}.xml"] = xml
        url = f"s3://pmc-oa-opendata/{name}/{name}.xml?md5={hashlib.md5(xml).hexdigest()}"
        value = {"pmcid": f"PMC{pmcid}", "version": version, "license_code": "CC BY", "xml_url": url} | metadata
        self.files[f"/metadata/{name}.json"] = json.dumps(value).encode()

    def content(self, path: str, query: str) -> bytes | None:
        folder = "/inventory-reports/pmc-oa-opendata/metadata/"
        if path == "/":
            dates = ["2026-01-08T01-00Z", "2026-01-09T01-00Z", "data"]
            inner = "".join(f"<CommonPrefixes><Prefix>{folder[1:]}{date}/</Prefix></CommonPrefixes>" for date in dates)
            return f'<R xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inner}</R>'.encode()
        if path == folder + "2026-01-09T01-00Z/manifest.json":
            return json.dumps({"files": [{"key": folder[1:] + "data/x.csv.gz"}]}).encode()
        if path == folder + "data/x.csv.gz":
            rows = (
                f'"pmc-oa-opendata","{name[1:]}","2026-01-08T11:47:59.000Z","{hashlib.md5(content).hexdigest()}"\n'
                for name, content in self.files.items()
                if name.startswith("/metadata/")
            )
            return gzip.compress("".join(rows).encode())
        return self.files.get(path)


def test_articles_of_the_bucket(tmp_path: Path) -> None:
    pmc = PmcServer()
    for pmcid in (1, 2, 10009416):
        pmc.add(pmcid, 1)
    pmc.add(2, 2)
    pmc.add(3, 1, is_retracted=True)
    pmc.add(4, 1, license_code="TDM", is_manuscript=True)
    pmc.add(5, 1, license_code="CC BY-NC")
    pmc.faults["/PMC1.1/PMC1.1.xml"] = [("short file", 40), ("cut", 10)]
    arguments: dict[str, Any] = {"bucket": pmc.address, "connections": 3, "sleep": pmc.pauses.append}
    try:
        out, wanted = tmp_path / "pmc", Wanted(licenses=("CC BY", "CC0"))
        assert download_pmc(out, wanted, **arguments) == {"fetched": 3, "retracted": 1, "manuscript": 1, "license": 1}
        assert (out / "PMC010xxxxxx" / "PMC10009416.1.xml").exists()
        assert not (out / "PMC000xxxxxx" / "PMC2.1.xml").exists()
        pmc.add(1, 1, license_code="CC0")  # changed metadata has another ETag
        again = download_pmc(out, wanted, **arguments)
        assert (again["fetched"], again["current"]) == (1, 2)
        (tmp_path / "ids.txt").write_text("# of a search\nPMC2\n\n 77\nPMC2.1\n")
        two = Wanted(pmcids=read_pmcids(tmp_path / "ids.txt"))
        assert download_pmc(tmp_path / "one", two, **arguments) == {"fetched": 1, "not in the bucket": 1}
        pmc.files["/PMC2.2/PMC2.2.xml"] += b"damaged"
        with pytest.raises(InputError, match=r"1 articles could not be fetched; the first: PMC2\.2\.xml.*MD5"):
            download_pmc(tmp_path / "two", wanted, **arguments)
    finally:
        pmc.http.shutdown()
        pmc.http.server_close()
    build_corpus(section({"name": "pmc", "paths": ["pmc/**/*.xml"]}), tmp_path, tmp_path / "out", workers=1)
    kept = {row["pmcid"]: row for row in read_parts(tmp_path / "out").iter_rows(named=True)}
    assert sorted(kept) == [1, 2, 10009416]
    assert "Version 2 of 2." in kept[2]["text"]
    assert kept[1]["license"] == "CC BY-NC 3.0"  # what the article says of itself is stricter than the bucket's CC0


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"PMC1\nten\n", "line 2: 'ten' is no PMC id"), (b"# none\n", "names no PMC id"), (b"\xff", "cannot be read")],
)
def test_a_list_of_ids_that_is_none_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "ids.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_pmcids(tmp_path / "ids.txt")
