"""Building corpora: counts that add up, duplicates, resume, any number of workers."""

import functools
import json
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pytest
import yaml
from tests.builders import small_recipe
from tests.corpus.samples import jats, papers_row, s2orc_row, write_lines, write_tar

from pmc_llama.corpus.build import build_corpus
from pmc_llama.errors import InputError
from pmc_llama.pipeline.identity import tokenizer_inputs
from pmc_llama.pipeline.run import run_recipe
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.corpus import CorpusSection

FILE_LIST = "Article File,Article Citation,AccessionID,LastUpdated,PMID,License,Retracted\n"


def section(*sources: dict, **keys: Any) -> CorpusSection:
    return CorpusSection.model_validate({"sources": list(sources), **keys})


def read_parts(out: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted((out / "parts").glob("*.parquet"))])


def part_bytes(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "parts").iterdir()}


def check_accounts(out: Path) -> dict:
    summary = json.loads((out / "corpus.json").read_text())
    ledgers = [json.loads(path.read_text()) for path in sorted((out / "ledger").iterdir())]
    for account in [summary, *ledgers, *summary["sources"].values()]:
        assert account["in"] == account["kept"] + sum(account["dropped"].values())
    assert summary["in"] == sum(ledger["in"] for ledger in ledgers)
    assert summary["kept"] == sum(part["rows"] for part in summary["parts"])
    assert {f"parts/{path.name}" for path in (out / "parts").iterdir()} == {p["file"] for p in summary["parts"]}
    return summary


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Shards with papers of every fate, and a tarball that repeats some of them."""
    root = tmp_path / "data"
    rows = [
        s2orc_row(1, pmcid="101", doi="10.1/one"),
        s2orc_row(2),
        s2orc_row(3, doi="10.1/three"),
        s2orc_row(4, pmcid="PMC0104"),
        s2orc_row(5, pmcid=105, text=None),
        b"{broken",
        s2orc_row(6, pmcid="106", title=[(0, 5)], paragraph=[(7, 99999), (7, 30), (7, 30)], bibref="no json"),
    ]
    write_lines(root / "s2orc" / "a.jsonl.gz", rows)
    write_lines(root / "s2orc" / "b.jsonl", [s2orc_row(7, pmcid="107"), s2orc_row(8, pmcid="104"), s2orc_row(9)])
    write_lines(root / "papers" / "p.jsonl.gz", [papers_row(3, "103"), papers_row(2, None), papers_row(99, "199")])
    members = {
        "PMC000xxxxxx/PMC101.xml": jats(101),
        "PMC000xxxxxx/PMC300.xml": jats(300, doi="10.1/retracted"),
        "PMC000xxxxxx/PMC301.xml": b"<article><oops></article>",
        "PMC000xxxxxx/PMC302.xml": jats(302, doi="10.1/Three"),
        "../PMC303.xml": jats(303, doi="10.1/303"),
        "notes.txt": b"not an article",
    }
    rows_listed = "".join(
        f"PMC000xxxxxx/PMC{n}.xml,,PMC{n},2026-06-18,0,CC BY,{'yes' if n == 300 else 'no'}\n"
        for n in (101, 300, 301, 302)
    )
    write_tar(root / "pmc" / "x.tar.gz", members, FILE_LIST + rows_listed)
    return root


BOTH = (
    {"name": "s2orc", "paths": ["s2orc/*"], "papers": ["papers/*.gz"]},
    {"name": "pmc", "paths": ["pmc/*.tar.gz"]},
)


def test_every_record_is_kept_or_has_a_reason(world: Path, tmp_path: Path) -> None:
    build_corpus(section(*BOTH), world, tmp_path / "out", workers=1)
    summary = check_accounts(tmp_path / "out")
    assert summary["in"] == 15
    assert summary["dropped"] == {
        "no_pmcid": 2,
        "no_text": 1,
        "bad_json": 1,
        "duplicate_pmcid": 2,  # 101 in both forms, 104 in two shards
        "duplicate_doi": 1,  # PMC103 and PMC302 are one DOI
        "retracted": 1,
        "bad_xml": 1,
        "unsafe_member_name": 1,
    }
    kept = read_parts(tmp_path / "out")
    assert sorted(kept["paper_id"]) == ["pmc:101", "pmc:104", "pmc:106", "pmc:107", "pmc:302"]
    by_id = {row["paper_id"]: row for row in kept.iter_rows(named=True)}
    assert by_id["pmc:101"]["source"] == "pmc"  # JATS is preferred
    assert by_id["pmc:104"]["corpusid"] == 4  # among equals the first
    assert by_id["pmc:101"]["license"] == "CC BY-NC 3.0"
    ledger = json.loads((tmp_path / "out" / "ledger" / "00000-a.jsonl.gz.json").read_text())
    assert ledger["invalid_spans"] == 2


def test_preference_decides_which_version_stays(world: Path, tmp_path: Path) -> None:
    build_corpus(section(*BOTH, dedup={"prefer": ["s2orc_v1", "jats"]}), world, tmp_path / "out", workers=1)
    kept = read_parts(tmp_path / "out")
    assert set(kept["paper_id"]) == {"pmc:101", "pmc:103", "pmc:104", "pmc:106", "pmc:107"}
    assert set(kept["source"]) == {"s2orc"}
    assert kept.filter(pl.col("paper_id") == "pmc:103")["year"].item() == 2019  # from the papers shard


def test_papers_without_pmc_id_can_be_asked_for(world: Path, tmp_path: Path) -> None:
    build_corpus(section(BOTH[0], select={"pmcid": "absent"}), world, tmp_path / "out", workers=1)
    summary = check_accounts(tmp_path / "out")
    assert sorted(read_parts(tmp_path / "out")["paper_id"]) == ["s2:2", "s2:9"]
    assert summary["dropped"] == {"bad_json": 1, "has_pmcid": 7}


@pytest.mark.parametrize(
    ("select", "reason"),
    [({"licenses": ["CC-BY-NC 4.0"]}, None), ({"licenses": ["CC0"]}, "license"), ({"min_chars": 10**6}, "too_short")],
)
def test_filters(world: Path, tmp_path: Path, select: dict, reason: str | None) -> None:
    sources = section(BOTH[1], select=select)
    if reason is not None:
        with pytest.raises(InputError, match=f"keeps none of its 5 records: 2 {reason}"):
            build_corpus(sources, world, tmp_path / "out", workers=1)
        return
    build_corpus(sources, world, tmp_path / "out", workers=1)
    assert check_accounts(tmp_path / "out")["kept"] == 2


def test_word_counts_lie_under_the_data_root_and_count_as_input(world: Path, tmp_path: Path) -> None:
    clean = {"profile": "pes2o", "word_counts": "counts.csv"}
    with pytest.raises(InputError, match=r"clean.word_counts: 'counts.csv' matches no file"):
        build_corpus(section(BOTH[1], clean=clean), world, tmp_path / "out", workers=1)
    (world / "counts.csv").write_text("words,12\nof,100000000000000\n")
    (world / "plain.txt").write_text("Words of the body.\n")
    both = section(BOTH[1], {"name": "plain", "paths": ["plain.txt"]}, clean=clean)
    build_corpus(both, world, tmp_path / "out", workers=1)
    first = check_accounts(tmp_path / "out")
    (world / "counts.csv").write_text("words,12\nof,1000\nthe,1000\nbody,1000\n")
    build_corpus(both, world, tmp_path / "out", workers=1)
    assert check_accounts(tmp_path / "out")["fingerprint"] != first["fingerprint"], "other counts, another corpus"


def test_parts_do_not_depend_on_the_number_of_workers(world: Path, tmp_path: Path) -> None:
    outs = []
    for workers in (1, 2, 5):  # 3 inputs: more and fewer workers than inputs
        outs.append(tmp_path / f"out{workers}")
        build_corpus(section(*BOTH), world, outs[-1], workers=workers)
        check_accounts(outs[-1])
    assert part_bytes(outs[0]) == part_bytes(outs[1]) == part_bytes(outs[2])


def test_failed_input_is_named_after_all_others_are_done(world: Path, tmp_path: Path) -> None:
    whole = (world / "s2orc" / "a.jsonl.gz").read_bytes()
    (world / "s2orc" / "a.jsonl.gz").write_bytes(whole[:-40])
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"1 of 3 inputs.*\n.*a\.jsonl\.gz"):
        build_corpus(section(*BOTH), world, out, workers=1)
    assert not (out / "corpus.json").exists()
    assert len(list((out / "work" / "staged").glob("?????.json"))) == 2
    (world / "s2orc" / "a.jsonl.gz").write_bytes(whole)
    build_corpus(section(*BOTH), world, out, workers=1)
    assert check_accounts(out)["kept"] == 5


def test_another_recipe_or_input_rebuilds(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = build_corpus(section(*BOTH), world, out, workers=1)
    assert build_corpus(section(*BOTH), world, out, workers=1) == first
    write_lines(world / "s2orc" / "b.jsonl", [s2orc_row(7, pmcid="107")])
    assert build_corpus(section(*BOTH), world, out, workers=1).documents_in == first.documents_in - 2
    build_corpus(section(BOTH[0], clean={"profile": "raw"}), world, out, workers=1)
    assert check_accounts(out)["in"] == 8
    assert "Title 7\n\nBody of paper 7, long enough to stay." in list(read_parts(out)["text"])


def test_missing_input_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="matches no file"):
        build_corpus(section({"name": "x", "paths": ["nothing/*.gz"]}), tmp_path, tmp_path / "out", workers=1)


@pytest.mark.slow
def test_real_papers(shared_data: Path, tmp_path: Path) -> None:
    sources = (
        {"name": "s2orc", "paths": ["s2orc_v1/s2orc_*.jsonl.gz"], "papers": ["s2orc_v1/papers_*.jsonl.gz"]},
        {"name": "pmc", "paths": ["pmc_oa/*.tar.gz"]},
    )
    build_corpus(section(*sources), shared_data, tmp_path / "out", workers=2)
    summary = check_accounts(tmp_path / "out")
    assert (summary["in"], summary["kept"]) == (1060, 460)
    assert summary["dropped"] == {"no_pmcid": 140, "duplicate_pmcid": 460}
    kept = read_parts(tmp_path / "out")
    assert kept["paper_id"].n_unique() == 460
    assert kept["pmcid"].null_count() == 0


def test_wikitext_articles(shared_data: Path, tmp_path: Path) -> None:
    source = {"name": "wikitext", "format": "text", "paths": ["general/wikitext-2/*.txt"], "split_on": " = [^=].* = ?"}
    build_corpus(section(source, select={"pmcid": "any"}, clean={"profile": "raw"}), shared_data, tmp_path, workers=1)
    kept = read_parts(tmp_path)
    assert len(kept) > 100
    assert all(text.startswith(" = ") for text in kept["text"])
    assert kept["paper_id"].n_unique() == len(kept)


def test_inputs_may_be_urls(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    write_lines(tmp_path / "local.jsonl.gz", [s2orc_row(1, pmcid="1"), s2orc_row(2, pmcid="2")])
    memory.pipe("/bucket/s2orc/a.jsonl.gz", (tmp_path / "local.jsonl.gz").read_bytes())
    memory.pipe("/bucket/pmc/PMC3.1/PMC3.1.xml", jats(3))
    memory.pipe("/bucket/pmc/PMC3.1/PMC3.1.json", b'{"pmcid": "PMC3", "version": 1, "license_code": "CC BY-NC-ND"}')
    sources = (
        {"name": "s2orc", "paths": ["memory://bucket/s2orc/*.gz"]},
        {"name": "pmc", "paths": ["memory://bucket/pmc/*/*.xml"]},
    )
    build_corpus(section(*sources), tmp_path, tmp_path / "out", workers=1)
    check_accounts(tmp_path / "out")
    kept = read_parts(tmp_path / "out")
    assert kept["paper_id"].to_list() == ["pmc:1", "pmc:2", "pmc:3"]
    assert kept["license"].to_list()[2] == "CC BY-NC-ND"
    with pytest.raises(InputError, match="matches no file"):
        build_corpus(section({"name": "x", "paths": ["memory://bucket/none/*"]}), tmp_path, tmp_path / "x", workers=1)
    with pytest.raises(InputError, match="nosuch"):
        build_corpus(section({"name": "x", "paths": ["nosuch://b/*"]}), tmp_path, tmp_path / "x", workers=1)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The address of a web server over the folder `data`; it knows no ranges, as the simplest ones do."""
    (tmp_path / "data").mkdir()
    handler = functools.partial(Quiet, directory=str(tmp_path / "data"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_inputs_may_be_on_the_web(tmp_path: Path, web: str) -> None:
    pytest.importorskip("aiohttp")
    write_lines(tmp_path / "data" / "a.jsonl.gz", [s2orc_row(1, pmcid="1"), s2orc_row(2, doi="10.1/B")])
    write_lines(tmp_path / "data" / "p.jsonl.gz", [papers_row(2, "102")])
    write_tar(
        tmp_path / "data" / "x.tar.gz",
        {"PMC3.xml": jats(3)},
        FILE_LIST + "PMC3.xml,,PMC3,2026-06-18,5,CC BY-NC-ND,no\n",
    )
    sources = (
        {"name": "s2orc", "paths": [f"{web}/a.jsonl.gz"], "papers": [f"{web}/p.jsonl.gz"]},
        {"name": "pmc", "paths": [f"{web}/x.tar.gz"]},
    )
    build_corpus(section(*sources), tmp_path, tmp_path / "out", workers=1)
    check_accounts(tmp_path / "out")
    kept = read_parts(tmp_path / "out")
    assert kept["paper_id"].to_list() == ["pmc:1", "pmc:102", "pmc:3"]
    assert kept["license"].to_list()[2] == "CC BY-NC-ND"
    with pytest.raises(InputError, match="matches no file"):
        build_corpus(section({"name": "x", "paths": [f"{web}/none.gz"]}), tmp_path, tmp_path / "x", workers=1)


def test_inputs_may_be_in_a_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    for name, value in {"AWS_ENDPOINT_URL": address, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}.items():
        monkeypatch.setenv(name, value)
    write_lines(tmp_path / "a.jsonl.gz", [s2orc_row(1, pmcid="1"), s2orc_row(2, pmcid="2")])
    try:
        store = fsspec.filesystem("s3", skip_instance_cache=True)
        store.mkdir("bucket")
        store.pipe("bucket/s2orc/a.jsonl.gz", (tmp_path / "a.jsonl.gz").read_bytes())
        store.pipe("bucket/PMC3.1/PMC3.1.xml", jats(3))
        store.pipe("bucket/PMC3.1/PMC3.1.json", b'{"pmcid": "PMC3", "version": 1, "is_retracted": true}')
        sources = (
            {"name": "s2orc", "paths": ["s3://bucket/s2orc/*.gz"]},
            {"name": "pmc", "paths": ["s3://bucket/PMC*/*.xml"]},
        )
        build_corpus(section(*sources), tmp_path, tmp_path / "out", workers=2)
        assert check_accounts(tmp_path / "out")["dropped"] == {"retracted": 1}
        assert read_parts(tmp_path / "out")["paper_id"].to_list() == ["pmc:1", "pmc:2"]
    finally:
        server.stop()


def test_a_recipe_may_name_its_inputs_by_url_and_sees_when_they_change(tmp_path: Path) -> None:
    data = tmp_path / "data"
    shard = write_lines(data / "a.jsonl", [s2orc_row(1, pmcid="11"), s2orc_row(2)])
    question = {
        "question": "Which?",
        "options": {"A": "x", "B": "y"},
        "answer_idx": "A",
        "answer": "x",
        "meta_info": "",
    }
    write_lines(data / "test.jsonl", [question])
    recipe = small_recipe() | {"run_dir": str(tmp_path / "run"), "data": {"root": str(data)}}
    recipe["tokenizer"] = {"path": "owner/name"}  # on the hub, and not needed so far
    recipe["corpus"] = {"sources": [{"name": "s2orc", "paths": [f"file://{shard}"]}]}
    recipe["tasks"] = {"medqa": {"format": "medqa", "train": "test.jsonl", "test": "test.jsonl"}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    for rows, kept in ((None, 1), ([s2orc_row(1, pmcid="11"), s2orc_row(2, pmcid="22")], 2)):
        if rows is not None:
            write_lines(shard, rows)
        run_recipe(tmp_path / "recipe.yaml", until="corpus")
        assert check_accounts(tmp_path / "run" / "corpus")["kept"] == kept


def test_a_tokenizer_file_that_is_missing_is_told_at_once_and_not_looked_for_on_the_hub(tmp_path: Path) -> None:
    recipe = Recipe.model_validate(
        small_recipe() | {"data": {"root": str(tmp_path)}, "tokenizer": {"path": "owner/tokenizer.model"}}
    )
    with pytest.raises(InputError, match=r"tokenizer.path: .*owner/tokenizer.model holds no tokenizer"):
        tokenizer_inputs(recipe, template=False)
