"""Small inputs that tests write: S2ORC rows, shards, JATS articles, tarballs."""

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any


def s2orc_row(corpusid: int, *, pmcid: Any = None, doi: str | None = None, text: str | None = "", **lists: Any) -> dict:
    """A Datasets API v1 row. `lists`: kind -> list of (start, end) or (start, end, attributes), or a raw string."""
    if text == "":
        text = f"Title {corpusid}\n\nBody of paper {corpusid}, long enough to stay."
        lists = lists or {
            "title": [(0, len(f"Title {corpusid}"))],
            "paragraph": [(len(f"Title {corpusid}") + 2, len(text))],
        }
    annotations: dict[str, Any] = dict.fromkeys(("abstract", "author", "bibref", "sectionheader", "publisher"))
    for kind, spans in lists.items():
        annotations[kind] = spans if isinstance(spans, str) else json.dumps([_span(*span) for span in spans])
    ids = dict.fromkeys(("arxiv", "mag", "acl", "pubmed", "pubmedcentral", "dblp", "doi"))
    return {
        "corpusid": corpusid,
        "externalids": ids | {"pubmedcentral": pmcid, "doi": doi},
        "content": {
            "source": {"pdfurls": None, "pdfsha": "0", "oainfo": {"license": "CCBY", "status": "GOLD"}},
            "text": text,
            "annotations": annotations,
        },
        "updated": "2023-01-01T00:00:00Z",
    }


def _span(start: int, end: int, attributes: dict | None = None) -> dict:
    return {"start": start, "end": end} | ({"attributes": attributes} if attributes else {})


def papers_row(corpusid: int, pmcid: str | None, year: int | None = 2019) -> dict:
    return {"corpusid": corpusid, "externalids": {"DOI": None, "PubMedCentral": pmcid}, "title": "x", "year": year}


def write_lines(path: Path, rows: list[Any]) -> Path:
    """JSON lines, gzip when the name says so; bytes are written as they are."""
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    content = b"".join(line + b"\n" for line in lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return path


def jats(pmcid: int | None = 7, body: str | None = None, *, doi: str = "10.1/x", prolog: str = "") -> bytes:
    body = body if body is not None else f"<p>Words of the body of {pmcid}.</p>"
    pmc = f'<article-id pub-id-type="pmc">{pmcid}</article-id>' if pmcid else ""
    return (
        f'<?xml version="1.0"?>{prolog}<article xmlns:xlink="http://www.w3.org/1999/xlink"><front><journal-meta>'
        f"<journal-title>J Test</journal-title></journal-meta><article-meta>{pmc}"
        f'<article-id pub-id-type="doi">{doi}</article-id><title-group><article-title>On <italic>E. coli</italic>'
        "</article-title></title-group><pub-date><year>2011</year></pub-date><permissions>"
        '<license xlink:href="http://creativecommons.org/licenses/by-nc/3.0/"><p>Open.</p></license></permissions>'
        f"<abstract><p>Short.</p></abstract></article-meta></front><body>{body}</body></article>"
    ).encode()


def write_tar(path: Path, members: dict[str, bytes], file_list: str | None = None) -> Path:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(buffer.getvalue(), mtime=0))
    if file_list is not None:
        Path(str(path).removesuffix(".tar.gz") + ".filelist.csv").write_text(file_list)
    return path
