"""Recipe section of further models beside the base and the adapted one: where each is, and how it is asked."""

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from pmc_llama.recipe.base import Section
from pmc_llama.recipe.effects import HERE, NOTHING, affects, reads
from pmc_llama.recipe.qa import PromptName

ModelKind = Literal["folder", "run", "endpoint", "predictions", "merge"]
_KEYS: dict[ModelKind, tuple[str, ...]] = {
    "folder": ("path", "revision"),
    "run": ("run", "model"),
    "endpoint": ("endpoint", "model", "key_env", "concurrency", "timeout_s", "max_tokens_total", "max_cost",
                 "price_in", "price_out"),
    "predictions": ("predictions", "model"),
    "merge": ("merge",),
}  # fmt: skip
"""The keys of each kind of model; the first says where it is. All others belong to every kind."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ChooseSection(Section):
    """Choose a model's prompt by its accuracy on questions that are not tested."""

    choose: Annotated[list[PromptName], affects(HERE)] = Field(min_length=2)
    """The prompts to try; on equal accuracy the one named first is taken."""
    on: Annotated[Literal["dev"], affects(HERE)] = "dev"
    """`dev`: questions of each task's training split."""

    @field_validator("choose")
    @classmethod
    def _differ(cls, names: list[PromptName]) -> list[PromptName]:
        if len(set(names)) < len(names):
            raise ValueError(f"{names} names a prompt twice")
        return names


class MergeSection(Section):
    """One model out of several: their weights averaged, or what training changed in them added to the first."""

    of: Annotated[list[str], affects(HERE)] = Field(min_length=2)
    """`base`, `adapted`, or further models with a `path` or `run`, of one architecture and shape."""
    method: Annotated[Literal["linear", "slerp", "dare_ties"], affects(HERE)] = "linear"
    """`linear`: the straight line from the first to the mean of the others. `slerp`: the arc between two. `dare_ties`:
    the first, and of each other's difference to it a random share (`density`), where most agree on the direction."""
    weight: Annotated[float, affects(HERE)] = Field(default=0.5, ge=0, le=1)
    """How far from the first model: 0 is the first, 1 the second."""
    density: Annotated[float, affects(HERE)] = Field(default=0.5, gt=0, le=1)
    """`dare_ties`: share of each difference that is kept."""

    @model_validator(mode="after")
    def _of_can_be_merged(self) -> "MergeSection":
        if len(set(self.of)) < len(self.of):
            raise ValueError(f"merge.of names a model twice: {self.of}")
        if self.method == "slerp" and len(self.of) != 2:
            raise ValueError(f"`slerp` is the way between two models, and merge.of names {len(self.of)}")
        return self


class ModelSection(Section):
    """One model: a folder or hub id, a model of another run, an OpenAI-compatible endpoint, a file of answers, or a
    merge of other models.

    Exactly one of `path`, `run`, `endpoint`, `predictions` and `merge` is given.
    """

    path: Annotated[str | None, reads("tuning", "score", as_="model")] = None
    """A Hugging Face folder, relative to `data.root`, or a hub id."""
    revision: Annotated[str | None, affects("tuning", "score")] = None
    """Of a hub id: a branch, tag or commit (none: the one that was downloaded before, else the newest)."""
    run: Annotated[str | None, reads("tuning", "score", as_="run")] = None
    """A run directory; its `model` is asked."""
    endpoint: Annotated[str | None, affects("score")] = None
    """Base URL of a server with OpenAI's API (OpenAI, vLLM, Ollama, llama.cpp, `pmc-llama serve`)."""
    predictions: Annotated[str | None, reads("score")] = None
    """A Parquet file in the form of a run's predictions.parquet, relative to `data.root`: its answers are taken."""
    merge: Annotated[MergeSection | None, affects("tuning", "score")] = None
    """A merge of other models, as `{of: [base, adapted], weight: 0.5}`."""
    model: Annotated[str | None, affects("tuning", "score")] = None
    """`run`: base, adapted (none: this), or a tuned one as full/adapted/seed-0. `endpoint`: the model's name there
    (none: the only one). `predictions`: model, or regime/model/seed-N, where the file has several."""
    key_env: Annotated[str | None, NOTHING] = None
    """`endpoint`: the environment variable that holds the key. The key itself is written nowhere."""
    concurrency: Annotated[int, NOTHING] = Field(default=8, ge=1, le=256)
    """`endpoint`: requests under way at a time."""
    timeout_s: Annotated[float, NOTHING] = Field(default=120.0, gt=0)
    """`endpoint`: how long one answer may take before it is asked for again."""
    max_tokens_total: Annotated[int | None, NOTHING] = Field(default=None, ge=1)
    """`endpoint`: stop when so many tokens were read and written, as the server counts them."""
    max_cost: Annotated[float | None, NOTHING] = Field(default=None, gt=0)
    """`endpoint`: stop when so much was spent, in the currency of the prices."""
    price_in: Annotated[float | None, NOTHING] = Field(default=None, ge=0)
    """`endpoint`: price of a million tokens that are read."""
    price_out: Annotated[float | None, NOTHING] = Field(default=None, ge=0)
    """`endpoint`: price of a million tokens that are written."""
    tokenizer: Annotated[str | None, reads("tuning", "score", as_="tokenizer")] = None
    """A tokenizer's folder, file or hub id (none: the model's own). An endpoint without one is sent texts, not ids."""
    prompt: Annotated[PromptName | ChooseSection | None, affects("tuning", "score")] = None
    """Replaces the prompt of each task: a name, or `{choose: [lm-eval, chat], on: dev}`."""
    method: Annotated[Literal["likelihood", "generation"] | None, affects("score")] = None
    """Replaces the method of each task. An endpoint without it is asked for log-probabilities, and for answers in words
    where it offers none."""
    shots: Annotated[int | None, affects("score")] = Field(default=None, ge=0)
    """Replaces the shots of each task."""
    tuned: Annotated[bool, affects("tuning", "score")] = False
    """Tune it in the regimes too, as the base and the adapted model are; models of folders and runs only."""

    @property
    def kind(self) -> ModelKind:
        """Which of the five it is."""
        return next(kind for kind, keys in _KEYS.items() if getattr(self, keys[0]) is not None)

    @property
    def local(self) -> bool:
        """Whether its weights can be loaded here."""
        return self.kind in ("folder", "run", "merge")

    @field_validator("endpoint")
    @classmethod
    def _is_url_without_secrets(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("expected a URL as http://127.0.0.1:8000 or https://host/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("a URL with a user, password or query may hold a key: name its variable in `key_env`")
        return url.rstrip("/")

    @field_validator("key_env")
    @classmethod
    def _is_variable(cls, name: str | None) -> str | None:
        if name is not None and not _VARIABLE.fullmatch(name):  # not shown: it may be the key
            raise ValueError("expected the name of an environment variable, as OPENAI_API_KEY, not the key itself")
        return name

    @model_validator(mode="after")
    def _one_kind(self) -> "ModelSection":
        given = [keys[0] for keys in _KEYS.values() if getattr(self, keys[0]) is not None]
        if len(given) != 1:
            said = f"{', '.join(given)} are given" if given else "none is given"
            raise ValueError(f"give exactly one of path, run, endpoint, predictions and merge; {said}")
        mine = _KEYS[self.kind]
        of_kinds = {key for keys in _KEYS.values() for key in keys}
        for key in sorted(self.model_fields_set & (of_kinds - set(mine))):
            if getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"`{key}` does not belong to a model given by `{mine[0]}`")
        if self.tuned and not self.local:
            raise ValueError(f"`tuned` needs weights, and a model given by `{mine[0]}` has none here")
        if self.max_cost is not None and (self.price_in is None or self.price_out is None):
            raise ValueError("`max_cost` needs `price_in` and `price_out`, the prices of a million tokens")
        return self._asked_where_it_answers()

    def _asked_where_it_answers(self) -> "ModelSection":
        asking = ("prompt", "method", "shots", "tokenizer")
        if self.kind == "predictions" and any(getattr(self, key) is not None for key in asking):
            raise ValueError("answers of a file are taken as they are: leave out prompt, method, shots and tokenizer")
        return self
