"""The questions of a recipe as the pipeline needs them: to look for in texts, and to tell when they changed."""

from collections.abc import Iterator

from pmc_llama.corpus.contamination import Probe
from pmc_llama.qa.download import download_set, told
from pmc_llama.qa.tasks import kind_of, load_questions
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.effects import Read
from pmc_llama.recipe.question_sets import by_name


def with_sets(recipe: Recipe) -> Recipe:
    """The recipe, once the sets that its tasks take by name are there; what is missing is downloaded.

    Raises InputError where that fails.
    """
    for task in recipe.tasks.values():
        named = by_name(task.format)
        wanted = [path for key in ("test", "train") if (path := getattr(task, key)) and path == named.get(key)]
        if any(not (recipe.data_root / path).exists() for path in wanted):
            print(told(task.format, download_set(task.format, recipe.data_root), recipe.data_root), flush=True)
    return recipe


def tested(recipe: Recipe) -> list[str]:
    """The tasks that have test questions."""
    return [name for name, task in recipe.tasks.items() if task.test is not None]


def tuned_on(recipe: Recipe) -> list[str]:
    """The tasks of which a regime tunes on the training questions."""
    regimes = [regime for regime in recipe.regimes.values() if regime.tuned and not regime.files]
    return list(dict.fromkeys(task for regime in regimes for task in regime.tasks))


def instructed(recipe: Recipe) -> list[str]:
    """The regimes that tune on instructions."""
    return [name for name, regime in recipe.regimes.items() if regime.files]


def probes(recipe: Recipe) -> list[Probe]:
    """The test questions, to be looked for in texts."""
    return [
        Probe(
            task=name,
            question_id=question.question_id,
            text=f"{question.question} {question.context or ''}".strip(),
            pmid=int(question.question_id) if _is_pmid(recipe, name, question.question_id) else None,
        )
        for name in tested(recipe)
        for question in load_questions(name, recipe.tasks[name], recipe.data_root, "test")
    ]


def training_texts(recipe: Recipe, task: str) -> Iterator[tuple[str, str]]:
    """(question id, text) of a task's training questions."""
    for question in load_questions(task, recipe.tasks[task], recipe.data_root, "train"):
        yield question.question_id, f"{question.question} {question.context or ''}".strip()


def test_settings(recipe: Recipe) -> dict[str, object]:
    """What decides which test questions there are."""
    return {name: recipe.tasks[name].settings("contamination") for name in tested(recipe)}


def test_reads(recipe: Recipe) -> list[Read]:
    """The files that the test questions are in."""
    named = [read for name in tested(recipe) for read in recipe.tasks[name].reads("contamination", f"tasks.{name}")]
    return [read for read in named if not read.key.endswith(".train")]


def _is_pmid(recipe: Recipe, task: str, question_id: str) -> bool:
    kind = kind_of(recipe.tasks[task].format)
    return kind is not None and kind.ids_are_pmids and question_id.isdigit()
