import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from transformers import AutoModelForCausalLM, AutoTokenizer

from pmc_llama.errors import InputError
from pmc_llama.files import write_json
from pmc_llama.model.load import local_folder
from pmc_llama.qa.question import Question
from pmc_llama.qa.score import score
from pmc_llama.recipe import Recipe, load_recipe
from pmc_llama.recipe.inputs import base_model_path, tokenizer_path
from pmc_llama.release.export import export_model
from pmc_llama.release.hub import publish
from pmc_llama.tokens.encoders import load_encoder
from release.fake_hub import TOKEN, FakeHub, fake_hub
from release.tiny import ANSWER, QUESTION, write_run


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hub")
    return export_model(write_run(root), root / "exported")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with fake_hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", "")
        yield hub


LOAD = """
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
repo, revision, question, out = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(repo, revision=revision).eval()
tokenizer = AutoTokenizer.from_pretrained(repo, revision=revision)
ids = tokenizer(question, return_tensors="pt")
with torch.inference_mode():
    torch.save(model(**ids).logits, out)
    answer = model.generate(**ids, max_new_tokens=40)[0, ids["input_ids"].shape[1]:]
assert answer[-1] == tokenizer.eos_token_id and len(answer) < 10, answer
print(tokenizer.decode(answer, skip_special_tokens=True))
"""


def load_elsewhere(hub: FakeHub, repo: str, revision: str, tmp_path: Path) -> tuple[str, torch.Tensor]:
    """Load a model in a fresh process with an empty cache, which knows nothing but the hub's address."""
    env = os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    env.pop("HF_HUB_OFFLINE", None)
    command = [sys.executable, "-c", LOAD, repo, revision, QUESTION, str(tmp_path / "logits.pt")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), torch.load(tmp_path / "logits.pt")


def test_round_trip_gives_the_same_logits_and_stops_at_eos(exported: Path, hub: FakeHub, tmp_path: Path) -> None:
    plan = publish(exported, "org/tiny", revision_tag="v1", dry_run=False, token=TOKEN)
    assert plan.commit == hub.repos["model", "org/tiny"].tags["v1"]
    assert "model.safetensors" in {path.rpartition("/")[2] for path in plan_paths(hub)}
    answer, logits = load_elsewhere(hub, "org/tiny", "v1", tmp_path)
    assert answer == ANSWER.strip()
    model, tokenizer = AutoModelForCausalLM.from_pretrained(exported).eval(), AutoTokenizer.from_pretrained(exported)
    with torch.inference_mode():
        assert torch.equal(logits, model(**tokenizer(QUESTION, return_tensors="pt")).logits)


def test_a_recipe_may_name_base_and_tokenizer_by_their_hub_id(
    exported: Path, hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(exported, "org/base", revision_tag="v1", dry_run=False, token=TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)

    def recipe_of(tokenizer: str) -> Recipe:
        settings = ["base.path=org/base", f"tokenizer.path={tokenizer}", f"data.root={tmp_path}"]
        return load_recipe(Path(__file__).parents[2] / "recipes" / "pmc-llama-7b.yaml", settings)

    recipe = recipe_of("org/base")
    folder = tokenizer_path(recipe)
    assert not list(folder.glob("*.safetensors")), "a tokenizer needs no weights"
    ids = AutoTokenizer.from_pretrained(exported).encode(QUESTION, add_special_tokens=False)
    assert load_encoder(folder).encode(QUESTION).tolist() == ids
    assert (local_folder(base_model_path(recipe)) / "model.safetensors").is_file()
    with pytest.raises(InputError, match="'org/absent' is neither here nor on the hub"):
        tokenizer_path(recipe_of("org/absent"))


PEER = """
import json, sys
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
question = sys.argv[1]
lm = HFLM(pretrained="org/tiny", revision="v1", device="cpu", dtype="float32", batch_size=1)
asked = [Instance("loglikelihood", {}, (question, answer), i) for i, answer in enumerate((" yes", " no"))]
settings = {"until": [], "max_gen_toks": 40, "do_sample": False}
written = lm.generate_until([Instance("generate_until", {}, (question, settings), 0)])
print("RESULT", json.dumps([[value for value, _ in lm.loglikelihood(asked)], written]))
"""


def harness() -> str | None:
    """A Python that has lm-evaluation-harness: this one, or the benchmarks' own environment."""
    if importlib.util.find_spec("lm_eval") is not None:
        return sys.executable
    own = Path(__file__).parents[2] / ".venvs" / "lm_eval" / "bin" / "python"
    return str(own) if own.is_file() else None


@pytest.mark.slow
@pytest.mark.skipif(harness() is None, reason="lm-evaluation-harness is not installed")
def test_the_harness_loads_it_from_the_hub_and_scores_alike(exported: Path, hub: FakeHub, tmp_path: Path) -> None:
    publish(exported, "org/tiny", revision_tag="v1", dry_run=False, token=TOKEN)
    env = os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    env.pop("HF_HUB_OFFLINE", None)
    done = subprocess.run([str(harness()), "-c", PEER, QUESTION], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))
    scores, written = json.loads(line.removeprefix("RESULT "))
    assert written == [ANSWER.strip()]
    model, tokenizer = AutoModelForCausalLM.from_pretrained(exported).eval(), AutoTokenizer.from_pretrained(exported)
    question = Question("t", "0", QUESTION.removeprefix("Question: ").removesuffix("\nAnswer:"), ("yes", "no"), 0)
    (expected,) = score(model, tokenizer, [question], prompt="plain")
    assert scores == pytest.approx(expected.option_logprobs, abs=5e-5)


def plan_paths(hub: FakeHub) -> set[str]:
    repo = hub.repos["model", "org/tiny"]
    return set(repo.commits[repo.refs["main"]])


def test_dry_run_touches_nothing_and_lists_everything(exported: Path, hub: FakeHub) -> None:
    plan = publish(exported, "org/tiny", revision_tag="v1")
    assert not hub.requests and plan.commit is None
    assert {name for name, _ in plan.files} == {file.name for file in exported.iterdir()}
    text = str(plan)
    assert f"would publish {exported} as private model repository {hub.url}/org/tiny, tagged v1" in text
    assert f"{plan.total_bytes:,} bytes in {len(plan.files)} files" in " ".join(text.split())


def test_a_new_revision_replaces_files_and_keeps_the_old_tag(exported: Path, hub: FakeHub, tmp_path: Path) -> None:
    first = tmp_path / "first"
    copy(exported, first)
    (first / "NOTICE.txt").write_text("of the first revision only")
    publish(first, "org/tiny", revision_tag="v1", private=True, dry_run=False, token=TOKEN)
    with pytest.raises(InputError, match="already has a revision v1"):
        publish(exported, "org/tiny", revision_tag="v1", dry_run=False, token=TOKEN)
    publish(exported, "org/tiny", revision_tag="v2", dry_run=False, token=TOKEN)
    repo = hub.repos["model", "org/tiny"]
    assert repo.private
    assert "NOTICE.txt" in repo.commits[repo.tags["v1"]] and "NOTICE.txt" not in repo.commits[repo.tags["v2"]]
    assert repo.refs["main"] == repo.tags["v2"]


def copy(source: Path, target: Path) -> None:
    target.mkdir()
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())


def test_a_corpus_is_published_as_a_data_set(hub: FakeHub, tmp_path: Path) -> None:
    parts = [{"file": "parts/part-00000.parquet", "rows": 1, "sha256": ""}]
    write_json(tmp_path / "corpus.json", {"in": 1, "kept": 1, "dropped": {}, "sources": {}, "parts": parts})
    for name in ("parts/part-00000.parquet", "parts/old.parquet", "ledger/00000-a.json", "work/state.json", "notes"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "README.md").write_text("---\ntask_categories:\n- text-generation\n---\n# Papers\n")
    (tmp_path / ".hidden").write_text("x")
    plan = publish(tmp_path, "org/papers", dry_run=False, token=TOKEN)
    names = ["README.md", "corpus.json", "ledger/00000-a.json", "parts/part-00000.parquet"]
    assert plan.repo_type == "dataset" and [name for name, _ in plan.files] == names
    assert plan.left_out == (".hidden", "notes", "parts/old.parquet", "work/")
    repo = hub.repos["dataset", "org/papers"]
    assert set(repo.commits[repo.refs["main"]]) == set(names)


SECRETS = (
    *(".env", ".git/config", "sub/.git/config", "checkpoints/step-1/optimizer.bin", "credentials.json", "id_rsa"),
    *("notes.txt~", "hf_token.txt", "env.sh", "history.jsonl", "sub/model.safetensors", "tokens.json"),
)


@pytest.mark.parametrize("ours", [True, False])
def test_only_what_belongs_to_the_model_is_published(exported: Path, hub: FakeHub, tmp_path: Path, ours: bool) -> None:
    folder = tmp_path / "model"
    copy(exported, folder)
    expected = {file.name for file in exported.iterdir()}
    if not ours:  # a folder that another program wrote
        (folder / "pmc_llama.json").unlink()
        expected.remove("pmc_llama.json")
    for name in SECRETS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("secret")
    (folder / "passwd.txt").symlink_to("/etc/passwd")
    (folder / "etc").symlink_to("/etc")
    plan = publish(folder, "org/tiny", dry_run=False, token=TOKEN)
    repo = hub.repos["model", "org/tiny"]
    assert set(repo.commits[repo.refs["main"]]) == expected and repo.private
    tops = {name.split("/")[0] + "/" * ("/" in name) for name in SECRETS}
    assert set(plan.left_out) == tops | {"passwd.txt (a link)", "etc (a link)"}
    assert all(name in str(plan) for name in plan.left_out), "what is left out is told"


def test_a_weight_file_that_is_a_link_is_refused(exported: Path, hub: FakeHub, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    copy(exported, folder)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(exported / "model.safetensors")
    with pytest.raises(InputError, match="is a link, and links are not published"):
        publish(folder, "org/tiny")


def test_what_is_private_does_not_go_to_a_public_repository(exported: Path, hub: FakeHub) -> None:
    publish(exported, "org/open", private=False, dry_run=False, token=TOKEN)
    assert not hub.repos["model", "org/open"].private
    with pytest.raises(InputError, match="is there already and public: publish with --public"):
        publish(exported, "org/open", dry_run=False, token=TOKEN)


def test_refusals_are_sentences(exported: Path, hub: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="token is missing or may not write"):
        publish(exported, "org/tiny", dry_run=False, token="hf_wrong")
    with pytest.raises(InputError, match="expected owner/name"):
        publish(exported, "tiny")
    with pytest.raises(InputError, match="neither an exported model nor a corpus"):
        publish(tmp_path, "org/tiny")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="has no card"):
        publish(tmp_path, "org/tiny")
    (tmp_path / "README.md").write_text("---\nlicense: [broken\n---\n")
    with pytest.raises(InputError, match="not valid"):
        publish(tmp_path, "org/tiny")


def test_publishing_the_same_again_makes_no_new_commit(exported: Path, hub: FakeHub) -> None:
    plans: list[Any] = [publish(exported, "org/tiny", dry_run=False, token=TOKEN) for _ in range(2)]
    assert all(plan.commit for plan in plans)
