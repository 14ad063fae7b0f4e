"""What is secret in the address of an input stands in no record of a corpus or run, and in no message."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from tests.corpus.test_build import check_accounts, read_parts, section

from pmc_llama.corpus.addresses import is_pattern
from pmc_llama.corpus.build import build_corpus
from pmc_llama.errors import InputError, RecipeError
from pmc_llama.escape import secret_in
from pmc_llama.pipeline import making
from pmc_llama.recipe import load_recipe

PASSWORD = "S3CRET-PW"


class Locked(MemoryFileSystem):
    """A store in memory that wants a password in its addresses, and says in its errors what it was given."""

    protocol = "locked"
    store: dict[str, Any] = {}
    pseudo_dirs = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        if path.startswith("locked://"):
            who, _, rest = path.removeprefix("locked://").rpartition("@")
            if who != f"me:{PASSWORD}":
                raise PermissionError(f"{path}: {who} may not read this")
            path = rest
        return "/" + path.strip("/")

    def unstrip_protocol(self, name: str) -> str:
        return f"locked://me:{PASSWORD}@{name.lstrip('/')}"


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    fsspec.register_implementation("locked", Locked, clobber=True)
    monkeypatch.setenv("STORE_PASSWORD", PASSWORD)
    for name in ("a.txt", "b.txt"):
        Locked().pipe_file(f"/box/{name}", f"Text of {name}".encode())
    yield "locked://me:${STORE_PASSWORD}@box/"
    Locked.store.clear()


@pytest.mark.parametrize("pattern", ["*.txt", "a.txt"])
def test_no_record_of_a_corpus_holds_the_value(tmp_path: Path, locked: str, pattern: str) -> None:
    build_corpus(section({"name": "s", "paths": [locked + pattern]}), tmp_path, tmp_path / "out", workers=1)
    check_accounts(tmp_path / "out")
    ids = sorted(read_parts(tmp_path / "out").get_column("paper_id").to_list())
    assert ids[0] == f"s:{locked}a.txt" and len(ids) == (2 if "*" in pattern else 1)
    records = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(records) > 3
    assert [path for path in records if PASSWORD.encode() in path.read_bytes()] == []


def test_no_message_holds_the_value(tmp_path: Path, locked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = section({"name": "s", "paths": [locked + "absent.txt"]})
    with pytest.raises(InputError, match="matches no file") as error:
        build_corpus(found, tmp_path, tmp_path / "out", workers=1)
    assert PASSWORD not in str(error.value)
    monkeypatch.setenv("STORE_PASSWORD", "WR0NG-PW")
    with pytest.raises(InputError, match="may not read this") as error:
        build_corpus(found, tmp_path, tmp_path / "out", workers=1)
    assert "WR0NG-PW" not in str(error.value) and error.value.__cause__ is None
    monkeypatch.delenv("STORE_PASSWORD")
    with pytest.raises(InputError, match="the environment variable STORE_PASSWORD is not set"):
        build_corpus(found, tmp_path, tmp_path / "out", workers=1)


@pytest.mark.parametrize(
    ("address", "what"),
    [
        (f"http://alice:{PASSWORD}@host/own.jsonl", "a user name or password"),
        (f"https://{PASSWORD}@host/own.jsonl", "a user name or password"),
        (f"ftp://alice:{PASSWORD}@host/own.jsonl", "a user name or password"),
        (f"https://host/own.jsonl?X-Amz-Signature={PASSWORD}", "the value of 'X-Amz-Signature'"),
        (f"https://host/own.jsonl?v=1&x={PASSWORD * 5}", "the value of 'x'"),
    ],
)
def test_a_recipe_with_a_secret_is_refused_without_showing_it(tmp_path: Path, address: str, what: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"run_dir: {tmp_path / 'run'}\ncorpus: {{sources: [{{name: a, paths: ['{address}']}}]}}\n")
    with pytest.raises(RecipeError, match=f"an address holds {what}") as error:
        load_recipe(recipe)
    assert PASSWORD not in str(error.value)
    recipe.write_text(f"corpus: {{sources: [{{name: a, paths: [a], url: '{address}'}}]}}\n")
    with pytest.raises(RecipeError, match="unknown key") as error:
        load_recipe(recipe)
    assert PASSWORD not in str(error.value)


def test_addresses_without_secrets_are_taken() -> None:
    for address in (
        *(
            "https://host/own.jsonl?download=true",
            "s3://bucket/part-?.jsonl",
            "sftp://me@host/a",
            "a/b@c?token=1.jsonl",
        ),
        *("https://${ME}:${PW}@host/a?X-Amz-Signature=${SIGNATURE}", "hf://datasets/org/name@main/*.parquet"),
    ):
        assert secret_in(address) is None, address
    assert not is_pattern("https://${ME}@host/a?x=*") and is_pattern("s3://b/a?.jsonl") and is_pattern("https://h/*.gz")


def test_the_history_holds_no_secret_of_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    said = f"corpus.sources=[{{name: own, paths: ['https://me:{PASSWORD}@host/a?sig={PASSWORD}']}}]"
    monkeypatch.setattr(sys, "argv", ["pmc-llama", "run", "r.yaml", "--set", said])
    assert making.command()[:4] == ["pmc-llama", "run", "r.yaml", "--set"]
    assert PASSWORD not in "".join(making.command()) and "https://host/a" in making.command()[-1]
