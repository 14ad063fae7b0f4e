"""Models asked question sets by name, without a recipe or a corpus; one of them is compared with the others."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
from pydantic import ValidationError

from pmc_llama.errors import RecipeError
from pmc_llama.experiment.cells import Cell
from pmc_llama.experiment.grid import PREDICTIONS, prediction_row, with_groups, write_table
from pmc_llama.experiment.models import found_model
from pmc_llama.files import sha256_json, write_json
from pmc_llama.model.folders import local_folder
from pmc_llama.qa.backends import Backend, Model, open_backend
from pmc_llama.qa.question import Question
from pmc_llama.qa.shots import shot_pool
from pmc_llama.qa.tasks import load_questions
from pmc_llama.qa.tasks.usual import usual_task
from pmc_llama.recipe.models import ChooseSection, ModelSection
from pmc_llama.recipe.qa import EvaluateSection, TaskSection
from pmc_llama.recipe.yaml_text import read_yaml
from pmc_llama.records.models import ModelFacts
from pmc_llama.records.results import Results
from pmc_llama.report.console import print_accuracies, print_results
from pmc_llama.results.table import compute_results
from pmc_llama.run_dir import RunDir

REGIME = "asked"
"""What stands for a regime: models are asked as they are, each with shots of its own if it has any."""
_MODEL_FILES = ("*.safetensors", "*.json", "*.model", "*.jinja")


@dataclass(frozen=True)
class Asking:
    """What is asked, and how."""

    tasks: Sequence[str]
    data: Path
    """The folder of the question sets."""
    task_keys: Mapping[str, Any]
    """Keys of a task's section that all tasks get: limit, prompt, answers, method, shots."""
    evaluate: EvaluateSection

    @classmethod
    def of(cls, tasks: Sequence[str], data: Path, task_keys: Mapping[str, Any], how: Mapping[str, Any]) -> "Asking":
        """From plain values. Raises RecipeError for those that cannot be used."""
        try:
            TaskSection.model_validate({"format": "medqa", **task_keys})
            return cls(tasks, data, task_keys, EvaluateSection.model_validate(how))
        except ValidationError as error:
            raise RecipeError(_sentence("what was asked for", error)) from None


def evaluate_and_print(model: str, against: Sequence[str], asking: Asking, out: Path | None) -> None:
    """`evaluate_models`, then its tables on the terminal; without `out` nothing is kept."""
    with TemporaryDirectory() as temporary:
        results = evaluate_models(model, against, asking, out or Path(temporary))
    print_accuracies(results)
    if results.summary:
        print_results(results)
    if out is not None:
        print(f"answers and results are in {out}")


def evaluate_models(model: str, against: Sequence[str], asking: Asking, out: Path) -> Results:
    """Ask models the test questions of tasks, and compare `model` with each of `against` on the same ones.

    Models are given as `section_of` takes them. `out` gets predictions.parquet, models.json and results.json, and every
    answer as it comes, so that the same call goes on. Raises InputError and RecipeError with a sentence for what is
    wrong with a model, a task or a file.
    """
    sections = [section_of(text) for text in (model, *against)]
    models = dict(zip(names_of(sections), sections, strict=True))
    tasks = {name: usual_task(name, asking.data, dict(asking.task_keys)) for name in dict.fromkeys(asking.tasks)}
    questions = {name: load_questions(name, section, asking.data, "test") for name, section in tasks.items()}
    found = {
        name: found_model(section, asking.evaluate, Path(), f"model {name}") for name, section in models.items()
    }  # all, before the first is asked for hours
    run, facts, rows = RunDir(out), dict[str, ModelFacts](), list[dict[str, object]]()
    for name, section in models.items():
        backend, state = open_backend(found[name]), _state_of(found[name])
        for task, asked in questions.items():
            print(f"ask {name}: {task}, {len(asked):,} questions", flush=True)
            rows += _answers(name, backend, _asked_as(tasks[task], section), asked, asking.data, run, state)
        facts[name] = backend.describe()
    write_table(with_groups(pa.Table.from_pylist(rows, PREDICTIONS), questions), run.predictions)
    write_json(run.models, facts)
    first, *others = models
    return compute_results(run.predictions, run.results, compared=[(other, first) for other in others])


def section_of(text: str) -> ModelSection:
    """A model as the command line names it.

    A folder or hub id, a run directory (its adapted model), a URL, a file of predictions (`.parquet`), or, for anything
    more, the keys of a recipe's `models` as a YAML mapping: `{endpoint: https://host/v1, model: x, key_env: KEY}`.
    Raises RecipeError for keys or values that cannot be used.
    """
    try:
        if text.startswith("{"):
            return ModelSection.model_validate(read_yaml(text.encode(), "a model that was given"))
        return ModelSection.model_validate({_key_of(text): text})
    except ValidationError as error:
        raise RecipeError(_sentence("a model that was given", error)) from None  # not shown: it may hold a key


def names_of(sections: Sequence[ModelSection]) -> list[str]:
    """A name for each model, in letters that a file's name may have; numbered where two would get the same."""
    found: list[str] = []
    for section in sections:
        plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", _name_of(section)).strip("-.") or "model"
        name, number = plain, 1
        while name.lower() in [one.lower() for one in found]:
            number += 1
            name = f"{plain}-{number}"
        found.append(name)
    return found


def _key_of(text: str) -> str:
    if re.match(r"https?://", text):
        return "endpoint"
    if text.endswith(".parquet"):
        return "predictions"
    folder = Path(text)
    is_run = RunDir(folder).recipe.is_file() and not (folder / "config.json").is_file()
    return "run" if is_run else "path"


def _name_of(section: ModelSection) -> str:
    if section.endpoint is not None:
        return section.model or urlsplit(section.endpoint).netloc
    place = Path(str(section.path or section.run or section.predictions))
    if section.run is not None:
        return f"{place.resolve().name}-{section.model or 'adapted'}"
    if section.predictions is not None:
        return "-".join([place.resolve().parent.name, *filter(None, [section.model])])
    return place.resolve().name


def _asked_as(task: TaskSection, model: ModelSection) -> TaskSection:
    """A task with the prompt, method and shots that a model has of its own."""
    if isinstance(model.prompt, ChooseSection):
        raise RecipeError("a prompt is chosen in a recipe only: name one prompt here")
    own = {"prompt": model.prompt, "method": model.method, "shots": model.shots}
    return task.model_copy(update={key: value for key, value in own.items() if value is not None})


def _answers(
    name: str,
    backend: Backend,
    section: TaskSection,
    questions: Sequence[Question],
    data: Path,
    run: RunDir,
    state: str,
) -> list[dict[str, object]]:
    """The rows of one model's answers to one task."""
    task = questions[0].task
    cell = Cell(REGIME, name, 0)
    answers = backend.answer(
        section,
        questions,
        pool=shot_pool(task, section, data),
        journal=run.journal(cell.name, task) / state,
        samples=run.samples(cell.name, task),
    )
    return [prediction_row(cell, task, "out_of_domain", *pair) for pair in zip(questions, answers, strict=True)]


def _state_of(model: Model) -> str:
    """Hash of a local model's files, as far as their names, sizes and times tell: answers are of one state alone."""
    if model.folder is None:
        return "any"
    folders = [local_folder(model.folder), *([model.adapter] if model.adapter is not None else [])]
    files = sorted({file for folder in folders for kind in _MODEL_FILES for file in folder.glob(kind)})
    known = [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    return sha256_json([known, str(model.adapter)])[:16]


def _sentence(what: str, error: ValidationError) -> str:
    said = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}".lstrip(": ") for one in error.errors()]
    return f"{what} cannot be used: {'; '.join(one.replace('Value error, ', '') for one in said)}"
