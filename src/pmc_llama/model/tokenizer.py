"""The transformers tokenizer of a Hugging Face folder, as its `tokenizer.json` describes it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pmc_llama.errors import InputError
from pmc_llama.files import read_json, write_json

_NAMED = ("bos_token", "eos_token", "unk_token", "pad_token")


def folder_tokenizer(path: Path) -> Any:
    """The tokenizer of `tokenizer.json` with the settings that lie beside it.

    AutoTokenizer alone would not do: for many classes (GPT-2, Qwen2, Cohere and others) transformers (5.23) takes only
    vocabulary and merges from the file and cuts text by rules of its own. Raises InputError where there is none.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    loader = PreTrainedTokenizerFast if (path / "tokenizer.json").is_file() else AutoTokenizer
    try:
        with _without_empty_tokens(path) as folder:
            tokenizer = loader.from_pretrained(str(folder), trust_remote_code=False, local_files_only=folder.exists())
            if loader is PreTrainedTokenizerFast:
                _take_tokens_of_class(tokenizer, folder)
    except Exception as error:  # tokenizers' own errors are plain Exceptions
        from pmc_llama.model.folders import first_line

        expected = "expected a SentencePiece `tokenizer.model` or a Hugging Face folder"
        raise InputError(f"tokenizer {path}: {expected}: {first_line(error)}") from None
    return tokenizer


def spelled_tokens(tokenizer: Any) -> dict[int, list[int]]:
    """The special tokens that this vocabulary finds in plain text, by id, with the ids of their characters.

    Byte-level vocabularies find none. Those of Unigram's type list special tokens among their pieces, and their files
    cannot say that a text never means them.
    """
    names = [name for name in tokenizer.SPECIAL_TOKENS_ATTRIBUTES if name != "unk_token"]
    found = {}
    for content in sorted({getattr(tokenizer, name) for name in names} - {None, tokenizer.unk_token}):
        number = tokenizer.convert_tokens_to_ids(content)
        if number in tokenizer(content, add_special_tokens=False, split_special_tokens=True)["input_ids"]:
            model = tokenizer.backend_tokenizer.model
            found[number] = [token.id for character in content for token in model.tokenize(character)]
    return found


def as_spelled(ids: list[int], spelled: dict[int, list[int]]) -> list[int]:
    """The ids of a plain text, with the characters of special tokens in place of these."""
    if spelled.keys().isdisjoint(ids):
        return ids
    return [one for number in ids for one in spelled.get(number, [number])]


def _take_tokens_of_class(tokenizer: Any, path: Path) -> None:
    """Some folders, as GPT-2's, name no special tokens: their class in transformers knows them."""
    from transformers import AutoTokenizer

    config = path / "tokenizer_config.json"
    said = read_json(config) if config.is_file() else {}
    unsaid = [name for name in _NAMED if name not in said and getattr(tokenizer, name) is None]
    if not {"bos_token", "eos_token"} & set(unsaid):
        return
    try:
        of_class = AutoTokenizer.from_pretrained(str(path), trust_remote_code=False, local_files_only=True)
    except Exception:  # a class that cannot be loaded adds nothing
        return
    known = tokenizer.get_vocab()
    found = {name: getattr(of_class, name) for name in unsaid}
    tokenizer.add_special_tokens({name: token for name, token in found.items() if token in known})


@contextmanager
def _without_empty_tokens(path: Path) -> Iterator[Path]:
    """The folder, or one like it where special tokens are empty strings: these mean none, and break the library."""
    cleaned = {}
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        value = read_json(path / name) if (path / name).is_file() else {}
        clean = {key: _no_empty(item) if key.endswith(("_token", "_tokens")) else item for key, item in value.items()}
        if clean != value:
            cleaned[name] = clean
    if not cleaned:
        yield path
        return
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for file in path.iterdir():
            (folder / file.name).symlink_to(file.resolve())
        for name, clean in cleaned.items():
            (folder / name).unlink()
            write_json(folder / name, clean)
        yield folder


def _no_empty(token: Any) -> Any:
    """A special token, or a list of such, without the empty ones."""
    if isinstance(token, list):
        return [one for one in token if _no_empty(one) is not None]
    content = token.get("content") if isinstance(token, dict) else token
    return None if content == "" else token
