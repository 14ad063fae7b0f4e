"""PMC's open-data bucket: articles by its daily inventory, filtered by their metadata, checked by MD5."""

import csv
import hashlib
import io
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import msgspec
from lxml import etree

from pmc_llama.corpus.bounds import gunzip
from pmc_llama.corpus.download.fetch import fetch, get
from pmc_llama.corpus.paper import parse_pmcid
from pmc_llama.corpus.select import license_key
from pmc_llama.errors import InputError
from pmc_llama.files import write_bytes
from pmc_llama.progress import Progress

BUCKET = "https://pmc-oa-opendata.s3.amazonaws.com"
INVENTORIES = "inventory-reports/pmc-oa-opendata/metadata/"
KEY = re.compile(r"metadata/PMC(\d+)\.(\d+)\.json")


class Wanted(msgspec.Struct, frozen=True):
    """Which articles are fetched."""

    licenses: tuple[str, ...] | None = None
    """Allowed licences in any spelling (None: all)."""
    manuscripts: bool = False
    ocr: bool = False
    retracted: bool = False
    pmcids: frozenset[int] | None = None
    """Only these articles (None: all)."""


class _Metadata(msgspec.Struct):
    xml_url: str | None = None
    license_code: str | None = None
    is_retracted: bool | None = None
    is_manuscript: bool | None = None
    is_historical_ocr: bool | None = None


_decoder = msgspec.json.Decoder(_Metadata)
ALL = Wanted()


def read_pmcids(file: Path) -> frozenset[int]:
    """The PMC ids that a text file names, one per line as PMC9798118 or 9798118; empty lines and `#` lines are none.

    Raises InputError for a file that cannot be read, for a line that is no PMC id, and where there is none at all.
    """
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read as a list of PMC ids: {error}") from None
    found = set()
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        pmcid = parse_pmcid(line)
        if pmcid is None:
            raise InputError(f"{file}, line {number}: {line.strip()[:40]!r} is no PMC id (expected PMC9798118)")
        found.add(pmcid)
    if not found:
        raise InputError(f"{file} names no PMC id")
    return frozenset(found)


def download_pmc(
    out: Path,
    wanted: Wanted = ALL,
    *,
    bucket: str = BUCKET,
    connections: int = 32,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, int]:
    """Fetch the newest version of each wanted article as `out/PMC010xxxxxx/PMC10009416.1.{xml,json}`.

    An article whose metadata is on disk with the inventory's ETag is whole and current, and is passed over: a second
    call fetches only what is new or changed. Returns how many articles were fetched, current, or refused and why, and
    how many of `wanted.pmcids` the bucket does not have.
    Raises InputError after all others were tried when articles could not be fetched.
    """
    entries = list(_newest(bucket, wanted, sleep))
    counts: Counter[str] = Counter()
    if wanted.pmcids is not None and len(entries) < len(wanted.pmcids):
        counts["not in the bucket"] = len(wanted.pmcids) - len(entries)
    failures: list[str] = []
    lock = threading.Lock()

    def one(entry: tuple[int, int, str]) -> None:
        try:
            outcome = _article(bucket, out, wanted, entry, sleep)
        except InputError as error:
            outcome = "failed"
            failures.append(str(error))
        with lock:
            counts[outcome] += 1
            progress.advance()

    progress = Progress("download pmc", total=len(entries), unit="articles")
    with progress, ThreadPoolExecutor(connections) as threads:
        for _ in threads.map(one, entries):
            pass
    if failures:
        raise InputError(f"{len(failures)} articles could not be fetched; the first: {sorted(failures)[0]}")
    return dict(counts)


def _newest(bucket: str, wanted: Wanted, sleep: Callable[[float], None]) -> Iterator[tuple[int, int, str]]:
    """(pmcid, version, ETag of the metadata) of the newest version of each article in the newest inventory."""
    newest: dict[int, tuple[int, str]] = {}
    for rows in _inventory(bucket, sleep):
        for _, key, _, etag in csv.reader(io.StringIO(rows)):
            match = KEY.fullmatch(key)
            if match is None:
                continue
            pmcid, version = parse_pmcid(match.group(1)) or 0, int(match.group(2))
            if wanted.pmcids is not None and pmcid not in wanted.pmcids:
                continue
            if version > newest.get(pmcid, (0, ""))[0]:
                newest[pmcid] = (version, etag.strip('"'))
    return ((pmcid, version, etag) for pmcid, (version, etag) in sorted(newest.items()))


def _inventory(bucket: str, sleep: Callable[[float], None]) -> Iterator[str]:
    listing = get(f"{bucket}/?list-type=2&delimiter=/&prefix={quote(INVENTORIES, safe='')}", sleep=sleep)
    prefixes = etree.fromstring(listing, etree.XMLParser(resolve_entities=False, no_network=True))
    dated = [folder for element in prefixes.iterfind(".//{*}CommonPrefixes/{*}Prefix")
             if re.search(r"/\d{4}-\d\d-\d\dT[\d-]+Z/$", folder := element.text or "")]  # fmt: skip
    if not dated:
        raise InputError(f"{bucket}: there is no inventory under {INVENTORIES}")
    manifest = msgspec.json.decode(get(f"{bucket}/{max(dated)}manifest.json", sleep=sleep))
    for file in manifest["files"]:
        yield gunzip(get(f"{bucket}/{file['key']}", sleep=sleep), file["key"]).decode()


def _article(
    bucket: str, out: Path, wanted: Wanted, entry: tuple[int, int, str], sleep: Callable[[float], None]
) -> str:
    """Fetch one article; the metadata is written last, so that its presence says that the article is whole."""
    pmcid, version, etag = entry
    name = f"PMC{pmcid}.{version}"
    folder = out / f"PMC{pmcid // 1_000_000:03d}xxxxxx"
    if (folder / f"{name}.json").exists() and _md5((folder / f"{name}.json").read_bytes()) == etag:
        return "current"
    content = get(f"{bucket}/metadata/{name}.json", sleep=sleep)
    try:
        found = _decoder.decode(content)
    except msgspec.DecodeError as error:
        raise InputError(f"{name}: its metadata is not what PMC documents ({error})") from error
    reason = _refusal(found, wanted)
    if reason is not None:
        return reason
    if found.xml_url is None:
        return "no_xml"
    parts = urlsplit(found.xml_url)
    md5 = parse_qs(parts.query).get("md5", [None])[0]
    fetch(lambda: f"{bucket}{parts.path}", folder / f"{name}.xml", md5=md5, sleep=sleep)
    write_bytes(folder / f"{name}.json", content)
    return "fetched"


def _refusal(found: _Metadata, wanted: Wanted) -> str | None:
    if found.is_retracted and not wanted.retracted:
        return "retracted"
    if found.is_manuscript and not wanted.manuscripts:
        return "manuscript"
    if found.is_historical_ocr and not wanted.ocr:
        return "ocr"
    allowed = None if wanted.licenses is None else {license_key(name) for name in wanted.licenses}
    return "license" if allowed is not None and license_key(found.license_code or "") not in allowed else None


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
