"""Models and tokenizers on the Hugging Face hub."""

from pathlib import Path

from pmc_llama.errors import InputError

TOKENIZER_FILES = ["tokenizer*", "special_tokens_map.json", "added_tokens.json", "config.json", "chat_template*"]
MODEL_FILES = ["*.safetensors", "*.json", "*.model"]


def is_hub_id(path: str) -> bool:
    """Whether a name is of the form `owner/name`, and no file or folder here."""
    return path.count("/") == 1 and all(path.split("/")) and not Path(path).is_absolute() and not Path(path).exists()


def hub_folder(hub_id: str, files: list[str]) -> Path:
    """Folder of a repository's files of these patterns, downloaded unless the cache has them.

    Raises InputError where that fails.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=files))
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise InputError(
            f"{hub_id!r} is neither here nor on the hub, as far as can be told from here: {error}"
        ) from None
