"""What of a folder is published: the files that export and corpus builds write, and nothing else that lies there."""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from pmc_llama.errors import InputError
from pmc_llama.files import read_record
from pmc_llama.hub import MODEL_FILES
from pmc_llama.records.corpus import read_corpus_summary
from pmc_llama.records.stamps import MADE_BY, Exported
from pmc_llama.run_dir import CorpusDir, ExportDir

PAPERS = ("README.md", "LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*")
_NAMES_OF_JSON = (
    *("config.json", "generation_config.json", "*.safetensors.index.json", "adapter_config.json", "chat_template.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json"),
)


class Contents(NamedTuple):
    """The files of a folder that are published, and the names of what is left out."""

    files: list[Path]
    left_out: list[str]


def contents(folder: Path) -> Contents:
    """What of an exported model or a corpus is published.

    Links are never followed, and a folder of which nothing is published is named as a whole. Raises InputError where a
    file that belongs to the model or corpus is a link.
    """
    allowed = _of_corpus(folder) if CorpusDir(folder).summary.is_file() else _of_model(folder)
    files: list[Path] = []
    left_out: list[str] = []
    _sort(folder, folder, allowed, files, left_out)
    return Contents(sorted(files), sorted(left_out))


def _sort(folder: Path, root: Path, allowed: tuple[str, ...], files: list[Path], left_out: list[str]) -> None:
    for path in folder.iterdir():
        name = path.relative_to(root).as_posix()
        wanted = _matches(name, allowed)
        if path.is_symlink():
            if wanted:
                raise InputError(f"{path} is a link, and links are not published: put the file itself there")
            left_out.append(f"{name} (a link)")
        elif path.is_dir() and any(pattern.startswith(f"{name}/") for pattern in allowed):
            _sort(path, root, allowed, files, left_out)
        elif path.is_file() and wanted:
            files.append(path)
        else:
            left_out.append(name + "/" * path.is_dir())


def _matches(name: str, allowed: tuple[str, ...]) -> bool:
    """A pattern's star stands for no slash."""
    return any(name.count("/") == one.count("/") and fnmatchcase(name, one) for one in allowed)


def _of_corpus(folder: Path) -> tuple[str, ...]:
    corpus = CorpusDir(folder)
    named = [corpus.summary, corpus.decontamination]
    names = [path.relative_to(folder).as_posix() for path in named]
    parts = [part.file for part in read_corpus_summary(corpus.summary).parts]
    return (*PAPERS, *names, *parts, f"{corpus.ledger.relative_to(folder)}/[0-9]*.json")


def _of_model(folder: Path) -> tuple[str, ...]:
    """What was exported, by name; of a model that another program wrote, what makes up a Hugging Face folder."""
    origin = folder / MADE_BY
    if origin.is_file():
        return (*PAPERS, MADE_BY, *read_record(origin, Exported).files)
    exported = ExportDir(folder)
    own = [path.relative_to(folder).as_posix() for path in (exported.recipe, exported.results)]
    patterns = [pattern for pattern in MODEL_FILES if pattern != "*.json"]
    return (*PAPERS, *patterns, *_NAMES_OF_JSON, *own)
