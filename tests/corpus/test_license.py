"""The licence of an article is the strictest that its permissions state."""

from pathlib import Path

import pytest
from tests.corpus.samples import jats, write_tar
from tests.corpus.test_build import check_accounts, read_parts, section

from pmc_llama.corpus.build import build_corpus
from pmc_llama.corpus.readers.jats import read_article
from pmc_llama.corpus.readers.jats_license import stricter

BY = "https://creativecommons.org/licenses/by/4.0/"


def article(permissions: str, pmcid: int = 7) -> bytes:
    before, _, rest = jats(pmcid, doi=f"10.1/{pmcid}").decode().partition("<permissions>")
    inside = permissions.replace("href=", "xlink:href=")
    return f"{before}<permissions>{inside}</permissions>{rest.partition('</permissions>')[2]}".encode()


@pytest.mark.parametrize(
    ("permissions", "name"),
    [
        (f'<license href="{BY}"><p>Open.</p></license>', "CC BY 4.0"),
        (f"<license><p>See <ext-link href='{BY}'>here</ext-link>.</p></license>", "CC BY 4.0"),
        (f"<copyright-statement>Jo, {BY}</copyright-statement>", "CC BY 4.0"),
        (f"<license><ali:license_ref xmlns:ali='a'>{BY}</ali:license_ref></license>", "CC BY 4.0"),
        ("<license href='http://creativecommons.org/licences/by-nc-nd/3.0'/>", "CC BY-NC-ND 3.0"),
        ("<license href='http://www.creativecommons.Org/license/by/4.0/legalcode'/>", "CC BY 4.0"),
        ("<license license-type='CC-BY-NC'><p>Open.</p></license>", "CC BY-NC"),
        ("<license><p>Under the Creative Commons Attribution License.</p></license>", "CC BY"),
        ("<license><p>Under a Creative Commons Attribution 4.0 International licence.</p></license>", "CC BY 4.0"),
        ("<license><p>A Creative Commons Attribution-NonCommercial-ShareAlike License</p></license>", "CC BY-NC-SA"),
        ("<license><p>Published under CC BY-NC-ND 4.0.</p></license>", "CC BY-NC-ND 4.0"),
        (f'<license href="{BY}"><p>which permits non-commercial use, if the work is cited</p></license>', "CC BY-NC"),
        (f'<license href="{BY}"><p>Attribution-NonCommercial-NoDerivatives</p></license>', "CC BY-NC-ND"),
        (f'<license href="{BY}"><p>It may not be used for commercial purposes.</p></license>', "CC BY-NC"),
        (f'<license href="{BY}"><p>for commercial and non-commercial purposes alike</p></license>', "CC BY 4.0"),
        (f'<license href="{BY}"><p>for any purpose, even commercially</p></license>', "CC BY 4.0"),
        (f'<license href="{BY}"/><license href="https://creativecommons.org/licenses/by-nc/4.0/"/>', "CC BY-NC 4.0"),
        (
            f'<license href="{BY}"><p>Data: http://creativecommons.org/publicdomain/zero/1.0/</p></license>',
            "CC BY 4.0",
        ),
        ("<license href='https://creativecommons.org/publicdomain/zero/1.0/'/>", "CC0"),
        ("<license><p>Under the Creative Commons CC0 public domain dedication.</p></license>", "CC0"),
        ("<license license-type='creativeCommonsBy-nc'><p>Open.</p></license>", "CC BY-NC"),
        (f'<license href="{BY}"><p>for any non-commercial or commercial purpose</p></license>', "CC BY 4.0"),
        (f'<license href="{BY}"><p>For commercial re-use, please contact the publisher.</p></license>', "CC BY-NC"),
        (f'<license href="{BY}"><p>Commercial use is not permitted.</p></license>', "CC BY-NC"),
        (f'<license href="{BY}"><p>for all purposes except commercial ones</p></license>', "CC BY-NC"),
        (f'<license href="{BY}"><p>if it is not altered, transformed, or built upon</p></license>', "CC BY-ND"),
        (f'<license href="{BY}"><p>CC0 1.0 applies to the data.</p></license>', "CC BY 4.0"),
        ("<license><p>For non-commercial use only. All rights reserved.</p></license>", None),
        ("<license><p>Free to read.</p></license>", None),
        ("", None),
    ],
)  # fmt: skip
def test_the_strictest_statement_wins(permissions: str, name: str | None) -> None:
    assert read_article(article(permissions)).license == name


@pytest.mark.parametrize(
    ("listed", "stated", "name"),
    [
        ("CC BY", "CC BY-NC 3.0", "CC BY-NC 3.0"),
        ("CC0", "CC BY 4.0", "CC BY 4.0"),
        ("CC BY-NC-ND", "CC BY-NC 4.0", "CC BY-NC-ND"),
        ("CC BY", "CC BY 4.0", "CC BY"),
        ("CC BY", "CC0", "CC BY"),
        ("NO-CC CODE", "CC BY 4.0", "NO-CC CODE"),
        (None, "CC BY 4.0", "CC BY 4.0"),
        ("TDM", None, "TDM"),
        (None, None, None),
    ],
)
def test_of_list_and_article_the_stricter_stands(listed: str | None, stated: str | None, name: str | None) -> None:
    assert stricter(listed, stated) == name


def test_only_what_may_be_used_enters_a_commercial_corpus(tmp_path: Path) -> None:
    members = {
        "PMC1.xml": article(f'<license href="{BY}"><p>Open.</p></license>', 1),
        "PMC2.xml": article(f'<license href="{BY}"><p>This permits noncommercial use only.</p></license>', 2),
        "PMC3.xml": article("<license><p>Creative Commons Attribution License</p></license>", 3),
    }
    write_tar(tmp_path / "a.tar.gz", members)
    source = {"name": "s", "paths": ["a.tar.gz"]}
    build_corpus(section(source, select={"licenses": ["CC BY"]}), tmp_path, tmp_path / "out", workers=1)
    assert check_accounts(tmp_path / "out")["dropped"] == {"license": 1}
    assert sorted(read_parts(tmp_path / "out")["paper_id"]) == ["pmc:1", "pmc:3"]
