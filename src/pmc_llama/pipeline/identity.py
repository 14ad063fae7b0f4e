"""What tells that an input is the same: its content, which is read again only where its file looks touched."""

import hashlib
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pmc_llama.corpus.addresses import is_remote
from pmc_llama.corpus.items import find_files, plan_items, printable
from pmc_llama.corpus.storage import InputFile, stat
from pmc_llama.errors import InputError
from pmc_llama.files import read_json, sha256_file, sha256_json
from pmc_llama.model.weights import INDEX, weight_files
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.corpus import CorpusSection
from pmc_llama.recipe.effects import Read
from pmc_llama.recipe.inputs import base_model_path, input_files, tokenizer_path
from pmc_llama.records.stamps import InputRecord

SETTLED_S = 2.0
"""A file changed so recently could be changed again within the same tick of its clock."""
READ_AT_ONCE_BYTES = 2**28
"""Inputs up to this size are read when work begins; larger ones are hashed by the work that reads them."""
TOKENIZER_FILES = ("tokenizer.model", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                   "added_tokens.json", "vocab.json", "merges.txt")  # fmt: skip
TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json")
MODEL_FILES = ("config.json", "generation_config.json", INDEX)
SET_FILES = ("*.csv", "*.json", "*.jsonl", "*.parquet", "*.arrow")
"""Files that a question set may have in its folder."""


@dataclass(frozen=True)
class Input:
    """One unit of input: a file, or small files that count together. Of a JSON file `without` keys can be left out."""

    name: str
    files: tuple[str, ...]
    without: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Bytes of its files."""
        return sum(stat(file).size_bytes for file in self.files)

    def stat(self) -> str | None:
        """Hash over the files' names, sizes, times and inodes; None where that could not tell a change."""
        known: list[object] = []
        for file in self.files:
            if is_remote(file):
                known.append([file, *stat(file)])
                continue
            found = Path(file).stat()
            changed_ns = max(found.st_mtime_ns, found.st_ctime_ns)
            if time.time() - changed_ns / 1e9 < SETTLED_S:
                return None
            known.append(
                [os.fsencode(Path(file).name).hex(), found.st_size, changed_ns, found.st_ctime_ns, found.st_ino]
            )
        return sha256_json(known)

    def sha256(self) -> str:
        """Hash of the content; of several files, of their hashes in a row, as the ledgers of corpora have it."""
        hashes = [self._hash(file) for file in self.files]
        return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()

    def _hash(self, file: str) -> str:
        if self.without:
            value = {name: item for name, item in read_json(Path(file)).items() if name not in self.without}
            return sha256_json(value)
        if not is_remote(file):
            return sha256_file(Path(file))
        opened = InputFile(file)
        opened.hash_all()
        return opened.sha256

    def record(self) -> InputRecord:
        """The input as it is now, read where it is small or looks too fresh to be told apart later."""
        before = self.stat()
        read = before is None or self.size_bytes <= READ_AT_ONCE_BYTES
        return InputRecord(before, self.sha256() if read else None)

    def is_still(self, record: InputRecord) -> bool:
        """Whether the content is what it was."""
        now = self.stat()
        if now is not None and now == record.stat:
            return True
        return record.sha256 is not None and self.sha256() == record.sha256


def completed(
    inputs: Iterable[Input], begun: Mapping[str, InputRecord], known: Mapping[str, str]
) -> dict[str, InputRecord]:
    """The records of finished work: with the hashes that the work itself took, and read now where it took none.

    An input that was touched meanwhile keeps no hash, so that the result counts as made from something else.
    """
    found = {}
    for one in inputs:
        record = begun[one.name]
        if record.sha256 is None:
            untouched = one.stat() == record.stat
            digest = known.get(one.name) or (one.sha256() if untouched else None)
            record = msgspec.structs.replace(record, sha256=digest)
        found[one.name] = record
    return found


def corpus_inputs(section: CorpusSection, data_root: Path) -> list[Input]:
    """The files of a corpus, in the units that its ledgers count, and the tables that complete its sources."""
    items = plan_items(section, data_root)
    found = [
        Input(f"{section.sources[item.source].name}/{printable(item.name)}", tuple(path for path, _, _ in item.files))
        for item in items
    ]
    for source in section.sources:
        tables = [*source.papers, *filter(None, [source.pmc_ids]), *source.deleted]
        files = find_files(tables, data_root, f"corpus source {source.name!r}")
        found += [Input(f"{source.name}/table/{_name(file, data_root)}", (file,)) for file in files]
    counts = find_files(list(filter(None, [section.clean.word_counts])), data_root, "clean.word_counts")
    return found + [Input(f"clean/{_name(file, data_root)}", (file,)) for file in counts]


def file_inputs(recipe: Recipe, named: Iterable[Read]) -> list[Input]:
    """The files that fields name; of a folder, the files that a question set may have there."""
    found: dict[str, Input] = {}
    for read in named:
        for path in input_files(recipe.data_root, [read.value]):
            files = sorted(file for kind in SET_FILES for file in path.glob(kind)) if path.is_dir() else [path]
            for file in files:
                name = f"{read.key}/{_name(str(file), recipe.data_root)}"
                found[name] = Input(name, (str(file),))
    return list(found.values())


def tokenizer_inputs(recipe: Recipe, *, template: bool) -> list[Input]:
    """The files that decide a tokenizer's ids, and with `template` how conversations are written."""
    return tokenizer_files(tokenizer_path(recipe), "tokenizer.path", template=template)


def tokenizer_files(path: Path, key: str, *, template: bool) -> list[Input]:
    """The same of a tokenizer's file or folder. Raises InputError, which names `key`, where there is no tokenizer."""
    if path.is_file():
        return [Input("tokenizer/tokenizer.model", (str(path),))]
    names = [*TOKENIZER_FILES, *(TEMPLATE_FILES if template else ())]
    files = [path / name for name in names if (path / name).is_file()]
    if not files:
        raise InputError(f"{key}: {path} holds no tokenizer: expected tokenizer.model or tokenizer.json")
    left_out = () if template else ("chat_template",)
    return [
        Input(f"tokenizer/{file.name}", (str(file),), left_out if file.name == "tokenizer_config.json" else ())
        for file in files
    ]


def model_inputs(folder: Path) -> list[Input]:
    """Weights and configurations of a model's folder; nothing that lies beside them."""
    files = [folder / name for name in MODEL_FILES if (folder / name).is_file()] + weight_files(folder)
    return [Input(f"model/{file.name}", (str(file),)) for file in files]


def base_inputs(recipe: Recipe) -> list[Input]:
    """The base model that a recipe names, downloaded where it is a hub id that is not here yet."""
    from pmc_llama.model.load import local_folder

    return model_inputs(local_folder(base_model_path(recipe)))


def _name(path: str, data_root: Path) -> str:
    if is_remote(path):
        return path
    local = Path(path)
    return local.relative_to(data_root).as_posix() if local.is_relative_to(data_root) else local.name
