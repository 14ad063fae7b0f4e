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

    cached = cached_folder(hub_id, files)
    revision = None if cached is None else cached.name  # what was used stays the same, whatever the hub has since
    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=files))
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise InputError(
            f"{hub_id!r} is neither here nor on the hub, as far as can be told from here: {error}"
        ) from None


def cached_folder(hub_id: str, files: list[str]) -> Path | None:
    """Folder of a repository that was downloaded before, without asking the hub; None where there is none."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=files, local_files_only=True))
    except (HfHubHTTPError, LocalEntryNotFoundError):
        return None


def hub_problem(hub_id: str) -> str | None:
    """Why a model cannot be downloaded, or None; only its description is asked for."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if constants.HF_HUB_OFFLINE:
        return f"{hub_id!r} is not on this machine, and HF_HUB_OFFLINE forbids to download it"
    try:
        info = HfApi().model_info(hub_id, timeout=10)
        if info.gated:
            HfApi().auth_check(hub_id)
    except GatedRepoError:
        return f"{hub_id!r} is gated: accept its licence on {constants.ENDPOINT}/{hub_id}, and set HF_TOKEN"
    except RepositoryNotFoundError:
        return f"{hub_id!r} is neither a folder here nor a model on {constants.ENDPOINT} (a private one needs HF_TOKEN)"
    except Exception as error:  # of the client's HTTP library, which is another one in each of its major versions
        return f"{hub_id!r} is not on this machine, and {constants.ENDPOINT} cannot be reached: {type(error).__name__}"
    return None
