"""The transformers tokenizer of a Hugging Face folder, as its `tokenizer.json` describes it."""

from pathlib import Path
from typing import Any

from pmc_llama.errors import InputError
from pmc_llama.files import read_json

_NAMED = ("bos_token", "eos_token", "unk_token", "pad_token")


def folder_tokenizer(path: Path) -> Any:
    """The tokenizer of `tokenizer.json` with the settings that lie beside it.

    AutoTokenizer alone would not do: for many classes (GPT-2, Qwen2, Cohere and others) transformers (5.23) takes only
    vocabulary and merges from the file and cuts text by rules of its own. Raises InputError where there is none.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    described = (path / "tokenizer.json").is_file()
    how = {"trust_remote_code": False, "local_files_only": path.exists()}
    try:
        loader = PreTrainedTokenizerFast if described else AutoTokenizer
        tokenizer = loader.from_pretrained(str(path), **how)
        if described:
            _take_tokens_of_class(tokenizer, path)
    except Exception as error:  # tokenizers' own errors are plain Exceptions
        raise InputError(
            f"tokenizer {path}: expected a SentencePiece `tokenizer.model` or a Hugging Face folder: {error}"
        ) from None
    _drop_empty_tokens(tokenizer)
    return tokenizer


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


def _drop_empty_tokens(tokenizer: Any) -> None:
    """An empty string is no token, though some `tokenizer_config.json` say so where they mean none."""
    for name in tokenizer.SPECIAL_TOKENS_ATTRIBUTES:
        if getattr(tokenizer, name) == "":
            setattr(tokenizer, name, None)
    tokenizer.extra_special_tokens = [token for token in tokenizer.extra_special_tokens if token]
