"""Publishing to the Hugging Face hub, or to a server that speaks its API (HF_ENDPOINT)."""

from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Literal

import yaml
from huggingface_hub import HfApi, ModelCard, constants
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from pmc_llama.errors import InputError
from pmc_llama.escape import terminal
from pmc_llama.files import read_record, sha256_file
from pmc_llama.hub import hub_errors
from pmc_llama.records.stamps import MADE_BY, Exported
from pmc_llama.release.contents import contents
from pmc_llama.run_dir import CorpusDir

RepoType = Literal["model", "dataset"]
MOST_LEFT_OUT = 20
"""Names of files that are left out, as many as are told."""


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
    left_out: tuple[str, ...] = ()
    """What else lies in the folder, and is not published."""
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
        if self.left_out:
            more = len(self.left_out) - MOST_LEFT_OUT
            told = [*self.left_out[:MOST_LEFT_OUT], *([f"and {more:,} more"] if more > 0 else [])]
            lines.append(f"  left out, as no part of the {self.repo_type}: {terminal(', '.join(told))}")
        return "\n".join(lines + ([f"  commit {self.commit}"] if self.commit else []))


def publish(
    folder: Path,
    repo: str,
    *,
    repo_type: RepoType | None = None,
    revision_tag: str | None = None,
    private: bool = True,
    dry_run: bool = True,
    token: str | None = None,
) -> PublishPlan:
    """Upload a model or corpus as the whole content of `repo` (`owner/name`); older files that it lacks go there.

    Only what export and corpus builds write is uploaded; what else lies in the folder is named in the plan. The
    repository is a private one unless `private` is False; one that exists stays what it is, and a public one is refused
    where a private one was asked for.
    Models and corpora are told apart by what the folder holds. `revision_tag` names the new commit; tags do not move,
    so one that exists is refused before anything is uploaded. Raises InputError for a folder without a valid card or
    without content to publish, and for what the hub refuses.
    """
    endpoint = constants.ENDPOINT  # HF_ENDPOINT, or the public hub
    kind = repo_type or _kind_of(folder)
    _check_name(repo)
    _check_card(folder)
    _check_unchanged(folder)
    found = contents(folder)
    files = tuple((file.relative_to(folder).as_posix(), file.stat().st_size) for file in found.files)
    plan = PublishPlan(folder, repo, kind, endpoint, files, revision_tag, private, tuple(found.left_out))
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
    if plan.private and not api.repo_info(plan.repo, repo_type=plan.repo_type).private:
        raise InputError(f"{plan.repo} is there already and public: publish with --public, or under another name")
    tags = [ref.name for ref in api.list_repo_refs(plan.repo, repo_type=plan.repo_type).tags]
    if plan.revision_tag in tags:
        raise InputError(f"{plan.repo} already has a revision {plan.revision_tag}: give the new one another tag")
    done = api.upload_folder(
        repo_id=plan.repo,
        repo_type=plan.repo_type,
        folder_path=plan.folder,
        commit_message=f"Publish {plan.revision_tag or plan.folder.name}",
        allow_patterns=[escape(name) for name, _ in plan.files],
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


def _reason(error: HfHubHTTPError) -> str:
    if error.response is not None and error.response.status_code in (401, 403):
        return "the token is missing or may not write there (set HF_TOKEN, or log in with `hf auth login`)"
    return str(error.server_message or error).strip()
