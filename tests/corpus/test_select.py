"""Selection by joins and filters."""

import gzip
from pathlib import Path

import pytest
from tests.builders import small_recipe
from tests.corpus.samples import papers_row, write_lines

from pmc_llama.corpus.join import PaperMap, PmcIds, read_papers_shard, write_paper_map, write_pmc_ids
from pmc_llama.corpus.paper import Paper
from pmc_llama.corpus.select import Selector, license_key
from pmc_llama.errors import InputError, RecipeError
from pmc_llama.recipe import parse_recipe
from pmc_llama.recipe.corpus import SelectSection

HEADER = "Journal Title,ISSN,eISSN,Year,Volume,Issue,Page,DOI,PMCID,PMID,Manuscript Id,Release Date\n"


def refused(paper: Paper, **section: object) -> str | None:
    return Selector(SelectSection.model_validate({"pmcid": "any", **section})).refuse(paper)


def test_licences_are_compared_in_one_spelling() -> None:
    assert license_key("CC BY-NC 4.0") == license_key("CCBYNC") == license_key("cc-by-nc")
    assert license_key("CC0 1.0") == license_key("CC0")
    assert len({license_key(name) for name in ("CC BY", "CC BY-NC", "CC BY-ND", "CC0", "NO-CC CODE", "")}) == 6


@pytest.mark.parametrize(
    ("paper", "section", "reason"),
    [
        ({"retracted": True}, {}, "retracted"),
        ({"retracted": True}, {"retracted": True}, None),
        ({"manuscript": True}, {}, None),
        ({"manuscript": True}, {"manuscripts": False}, "manuscript"),
        ({"ocr": True}, {"ocr": False}, "ocr"),
        ({"license": "CCBY"}, {"licenses": ["CC BY 4.0"]}, None),
        ({"license": None}, {"licenses": ["CC BY"]}, "license"),
        ({"year": 1969}, {"min_year": 1970}, "year"),
        ({"year": 1970}, {"min_year": 1970, "max_year": 1970}, None),
        ({}, {"max_year": 2000}, "year"),
        ({"fields": ("Biology",)}, {"fields": ["Medicine", "Biology"]}, None),
        ({}, {"fields": ["Medicine"]}, "field"),
        ({"pmcid": 7}, {"pmcid": "absent"}, "has_pmcid"),
        ({}, {"pmcid": "required"}, "no_pmcid"),
        ({"text": "  \n"}, {}, "no_text"),
    ],
)
def test_refusals(paper: dict, section: dict, reason: str | None) -> None:
    assert refused(Paper(**{"text": "words"} | paper), **section) == reason


@pytest.mark.parametrize(
    ("text", "section", "reason"),
    [
        ("", {}, "nothing_left"),
        ("abc", {"min_chars": 4}, "too_short"),
        ("abcde", {"max_chars": 4}, "too_long"),
        ("The patients were given two tablets every morning. " * 5, {"languages": ["en"]}, None),
        ("Die Patienten bekamen jeden Morgen zwei Tabletten. " * 5, {"languages": ["en"]}, "language"),
        ("\x00\x01\ufffe", {"languages": ["en"]}, "language"),
    ],
)
def test_texts_refused(text: str, section: dict, reason: str | None) -> None:
    assert Selector(SelectSection.model_validate(section)).refuse_text(text) == reason


def test_papers_are_joined_by_corpusid(tmp_path: Path) -> None:
    rows = [papers_row(3, "103"), papers_row(2, None, 2000), papers_row(9, "PMC109", None)]
    rows[0]["s2fieldsofstudy"] = [{"category": "Medicine", "source": "x"}, {"category": "Biology", "source": "y"}]
    shards = [write_lines(tmp_path / f"{n}.gz", part) for n, part in enumerate((rows[:2], rows[2:], rows[:1], []))]
    for all_rows in (False, True):
        write_paper_map([read_papers_shard((str(shard), all_rows)) for shard in shards], tmp_path / "map.npy")
        papers = PaperMap(tmp_path / "map.npy")
        known = papers.find(3)
        assert (known.pmcid, known.year, set(known.fields)) == (103, 2019, {"Biology", "Medicine"})
        assert (papers.find(9).pmcid, papers.find(9).year) == (109, None)
        assert papers.find(2).year == (2000 if all_rows else None)
        assert papers.find(None) == papers.find(4) == papers.find(10**15)
    with pytest.raises(InputError, match="no row of a `papers` shard"):
        read_papers_shard((str(write_lines(tmp_path / "bad.gz", [b"{oops"])), False))


def test_pmc_ids_are_joined_by_doi_then_pmid(tmp_path: Path) -> None:
    path = tmp_path / "PMC-ids.csv.gz"
    rows = 'J,,,2011,,,,10.1/ABC,PMC11,21,,live\n"J, x",,,2011,,,,,PMC12,22,,live\nJ,,,,,,,10.1/x,,,,live\n'
    path.write_bytes(gzip.compress((HEADER + rows).encode()))
    write_pmc_ids(str(path), tmp_path / "ids.npz")
    ids = PmcIds(tmp_path / "ids.npz")
    assert [ids.find("10.1/abc", None), ids.find(None, 22), ids.find("10.1/zzz", 21), ids.find("10.1/x", 5)] == [
        11,
        12,
        11,
        None,
    ]
    selector = Selector(SelectSection(), pmc_ids=ids)
    assert not selector.decides_on_ids
    paper = Paper(text="x", doi="10.1/abc")
    assert (selector.refuse(paper), paper.pmcid) == (None, 11)
    path.write_bytes(gzip.compress(b"a,b\n1,2\n"))
    with pytest.raises(InputError, match="no column 'DOI'"):
        write_pmc_ids(str(path), tmp_path / "ids.npz")


def test_recipe_names_unknown_fields_rules_and_names() -> None:
    recipe = small_recipe()
    recipe["corpus"] |= {"select": {"fields": ["Medcine"]}, "clean": {"profile": "clean", "off": ["rejoinn"]}}
    recipe["corpus"]["sources"] += recipe["corpus"]["sources"]
    with pytest.raises(RecipeError) as error:
        parse_recipe(recipe)
    for part in ("'Medcine' is no field of study", "no rule 'rejoinn'", "two sources are named 's2orc'"):
        assert part in str(error.value)
