"""Models and tokenizers on the Hugging Face hub."""

import re
from pathlib import Path

from pmc_llama.errors import InputError

_PAPERS = ["README.md", "LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*"]
_TEMPLATES = ["chat_template*", "*.jinja"]
TOKENIZER_FILES = [
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "config.json"),
    *_TEMPLATES,
    *_PAPERS,
]
MODEL_FILES = ["*.safetensors", "*.json", "*.model", *_TEMPLATES, *_PAPERS]
_HUB_ID = re.compile(r"(?!.*(--|\.\.))\w[\w.-]*/\w([\w.-]*\w)?", re.ASCII)


def is_hub_id(path: str) -> bool:
    """Whether a name is of the form `owner/name`, in the hub's letters, and no file or folder here."""
    return _HUB_ID.fullmatch(path) is not None and not Path(path).exists()


def hub_folder(hub_id: str, files: list[str], revision: str | None = None) -> Path:
    """Folder of a repository's files of these patterns, downloaded unless the cache has them.

    `revision`: a branch, tag or commit (None: the one in the cache, else the newest).

    Raises InputError where that fails.
    """
    from huggingface_hub import snapshot_download

    cached = cached_folder(hub_id, files, revision)
    revision = revision if cached is None else cached.name  # what was used stays the same, whatever the hub has since
    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=files))
    except hub_errors() as error:
        if cached is not None:  # it lacks licences or templates at most
            return cached
        why = " ".join(str(error).split())
        raise InputError(f"{hub_id!r} is neither here nor on the hub, as far as can be told from here: {why}") from None


def cached_folder(hub_id: str, files: list[str], revision: str | None = None) -> Path | None:
    """Folder of a repository that was downloaded before, without asking the hub; None where there is none.

    Licences and templates may be missing in it: earlier versions did not download them.
    """
    from huggingface_hub import snapshot_download

    needed = [pattern for pattern in files if pattern not in _PAPERS + _TEMPLATES]
    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=needed, local_files_only=True))
    except hub_errors():
        return None


def hub_errors() -> tuple[type[Exception], ...]:
    """What the hub's client raises where the hub refuses, cannot be reached, or must not be asked."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    any_of_http: type[Exception] = HfHubHTTPError.__bases__[0]  # of the library that the client is built on
    return HfHubHTTPError, any_of_http, HFValidationError, LocalEntryNotFoundError, ConnectionError, TimeoutError


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
    except hub_errors() as error:
        return f"{hub_id!r} is not on this machine, and {constants.ENDPOINT} cannot be reached: {type(error).__name__}"
    return None
