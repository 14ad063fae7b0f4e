"""Publishing to the Hugging Face hub, or to a server that speaks its API (HF_ENDPOINT)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml
from huggingface_hub import HfApi, ModelCard, constants
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import filter_repo_objects, validate_repo_id  # type: ignore[attr-defined]

from pmc_llama.errors import InputError
from pmc_llama.files import read_record, sha256_file
from pmc_llama.hub import hub_errors
from pmc_llama.records.stamps import MADE_BY, Exported
from pmc_llama.run_dir import CorpusDir

RepoType = Literal["model", "dataset"]
LOCAL_ONLY = ("work/*", ".*", "*/.*", "*.partial")


@dataclass(frozen=True)
class PublishPlan:
    """What is uploaded, or, after a dry run, what would be."""

    folder: Path
    repo: str
    repo_type: RepoType
    endpoint: str
    files: tuple[tuple[str, int], ...]
    """Path in the repository and size in bytes."""
    revision_tag: str | None
    private: bool
    commit: str | None = None
    """Id of the commit that holds the files; None for a dry run."""

    @property
    def total_bytes(self) -> int:
        """Size of all files."""
        return sum(size for _, size in self.files)

    def __str__(self) -> str:
        verb = "published" if self.commit else "would publish"
        kind = f"{'private' if self.private else 'public'} {self.repo_type} repository"
        tag = f", tagged {self.revision_tag}" if self.revision_tag else ""
        lines = [f"{verb} {self.folder} as {kind} {self.endpoint}/{self.repo}{tag}"]
        lines += [f"  {size:>14,} bytes  {name}" for name, size in self.files]
        lines.append(f"  {self.total_bytes:>14,} bytes in {len(self.files)} files")
        return "\n".join(lines + ([f"  commit {self.commit}"] if self.commit else []))


def publish(
    folder: Path,
    repo: str,
    *,
    repo_type: RepoType | None = None,
    revision_tag: str | None = None,
    private: bool = False,
    dry_run: bool = True,
    token: str | None = None,
) -> PublishPlan:
    """Upload `folder` as the whole content of `repo` (`owner/name`); older files that it lacks are removed there.

    Models and corpora are told apart by what the folder holds. `revision_tag` names the new commit; tags do not move,
    so one that exists is refused before anything is uploaded. Raises InputError for a folder without a valid card or
    without content to publish, and for what the hub refuses.
    """
    endpoint = constants.ENDPOINT  # HF_ENDPOINT, or the public hub
    kind = repo_type or _kind_of(folder)
    _check_name(repo)
    _check_card(folder)
    _check_unchanged(folder)
    files = tuple((file.relative_to(folder).as_posix(), file.stat().st_size) for file in _files(folder))
    plan = PublishPlan(folder, repo, kind, endpoint, files, revision_tag, private)
    if dry_run:
        return plan
    api = HfApi(endpoint=endpoint, token=token)
    try:
        return _upload(api, plan)
    except HfHubHTTPError as error:
        raise InputError(f"{endpoint} refused to publish {repo}: {_reason(error)}") from None
    except hub_errors() as error:
        offline = " HF_HUB_OFFLINE forbids to ask it" if constants.HF_HUB_OFFLINE else f" {error}"
        raise InputError(f"{endpoint} cannot be reached, so {repo} was not published:{offline}") from None


def _upload(api: HfApi, plan: PublishPlan) -> PublishPlan:
    api.create_repo(plan.repo, repo_type=plan.repo_type, private=plan.private, exist_ok=True)
    tags = [ref.name for ref in api.list_repo_refs(plan.repo, repo_type=plan.repo_type).tags]
    if plan.revision_tag in tags:
        raise InputError(f"{plan.repo} already has a revision {plan.revision_tag}: give the new one another tag")
    done = api.upload_folder(
        repo_id=plan.repo,
        repo_type=plan.repo_type,
        folder_path=plan.folder,
        commit_message=f"Publish {plan.revision_tag or plan.folder.name}",
        ignore_patterns=list(LOCAL_ONLY),
        delete_patterns="*",
    )
    if plan.revision_tag is not None:
        api.create_tag(plan.repo, tag=plan.revision_tag, revision=done.oid, repo_type=plan.repo_type)
    return PublishPlan(**{**plan.__dict__, "commit": done.oid})


def _kind_of(folder: Path) -> RepoType:
    if CorpusDir(folder).summary.is_file():
        return "dataset"
    if (folder / "config.json").is_file() or (folder / "adapter_config.json").is_file():
        return "model"
    raise InputError(
        f"{folder} is neither an exported model nor a corpus: it has no config.json, adapter_config.json or corpus.json"
    )


def _check_name(repo: str) -> None:
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise InputError(f"repository {repo!r}: {error}") from None
    if repo.count("/") != 1:
        raise InputError(f"repository {repo!r}: expected owner/name")


def _check_card(folder: Path) -> None:
    card = folder / "README.md"
    if not card.is_file():
        raise InputError(f"{folder} has no card (README.md): export the model, or write the corpus' card, first")
    try:
        ModelCard.load(card)
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(f"the front matter of {card} is not valid: {error}") from None


def _check_unchanged(folder: Path) -> None:
    """Raise InputError for a model that is not the one that was exported; its card may be edited."""
    origin = folder / MADE_BY
    if not origin.is_file():
        return
    for name, digest in read_record(origin, Exported).files.items():
        if not (folder / name).is_file() or sha256_file(folder / name) != digest:
            raise InputError(
                f"{folder}: {name} is not the file that was exported, so the card would speak of something else: "
                "export the model again"
            )


def _files(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    kept = filter_repo_objects(files, ignore_patterns=list(LOCAL_ONLY), key=lambda path: str(path.relative_to(folder)))
    return list(kept)


def _reason(error: HfHubHTTPError) -> str:
    if error.response is not None and error.response.status_code in (401, 403):
        return "the token is missing or may not write there (set HF_TOKEN, or log in with `hf auth login`)"
    return str(error.server_message or error).strip()
