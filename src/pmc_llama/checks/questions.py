"""Questions and instructions: whether their files can be read, tuned on and asked as the recipe says."""

from collections.abc import Iterator, Set
from typing import Any, Literal

from pmc_llama.checks.common import told, written_later
from pmc_llama.checks.models import max_positions
from pmc_llama.errors import RecipeError
from pmc_llama.experiment.cells import asked_as
from pmc_llama.experiment.instructions import instruction_examples, read_instructions
from pmc_llama.qa.encoding import encode_prompts
from pmc_llama.qa.examples import question_examples
from pmc_llama.qa.prompts import render
from pmc_llama.qa.question import Question
from pmc_llama.qa.shots import choose_shots, shot_pool
from pmc_llama.qa.tasks import load_questions
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.inputs import input_files, tokenizer_path
from pmc_llama.tokens.encode import hf_tokenizer
from pmc_llama.train.batches import IGNORE

LOOKED_AT = 100
"""Questions of a set that are rendered and encoded before a run; all are read."""


def file_problems(recipe: Recipe, stages: Set[str]) -> Iterator[str]:
    """Question and instruction files that are not there, or whose rows cannot be read."""
    found: list[str] = []
    for name in recipe.tasks:
        for split in ("train", "test"):
            _questions(recipe, name, split, found)
    for name, regime in recipe.regimes.items():
        if regime.files and not any(written_later(recipe, file) for file in regime.files):
            with told(found, f"regimes.{name}.files"):
                read_instructions(input_files(recipe.data_root, regime.files))
    yield from found


def tuning_problems(recipe: Recipe, stages: Set[str]) -> Iterator[str]:
    """Examples that cannot be made, or of which `seq_len` leaves no answer."""
    found: list[str] = []
    tokenizer = _tokenizer(recipe)
    for name, regime in recipe.regimes.items():
        if tokenizer is None or not regime.tuned:
            continue
        with told(found, f"regimes.{name}"):
            if regime.files:
                if any(written_later(recipe, file) for file in regime.files):
                    continue
                rows, tally = read_instructions(input_files(recipe.data_root, regime.files))
                some = instruction_examples(
                    rows[:LOOKED_AT], tally, tokenizer=tokenizer, seq_len=regime.seq_len, loss_on=regime.loss_on
                )
                if not some:
                    raise RecipeError(f"seq_len: {regime.seq_len} leaves no room for any of the responses")
                continue
            for task in regime.tasks:
                _tune_on(recipe, name, task, tokenizer)
    yield from found


def asking_problems(recipe: Recipe, stages: Set[str]) -> Iterator[str]:
    """Prompts that do not fit their questions, shots that the pool does not have, answers that leave no room."""
    found: list[str] = []
    tokenizer = _tokenizer(recipe)
    room = recipe.evaluate.max_length or max_positions(recipe)
    for name, task in recipe.tasks.items():
        asked = _questions(recipe, name, "test", [])
        if not asked:
            continue
        for regime in recipe.regimes:
            section = asked_as(recipe, regime, name)
            place = f"regimes.{regime}.shots" if not recipe.regimes[regime].tuned else f"tasks.{name}.shots"
            with told(found, place):
                pool = shot_pool(name, section, recipe.data_root) if section.shots else []
                choose_shots(asked[:LOOKED_AT], pool, section.shots, kind=section.shots_draw)
        with told(found, f"tasks.{name}"):
            prompts = [render(task.prompt, question, task.answers) for question in asked[:LOOKED_AT]]
            if tokenizer is not None:
                encode_prompts(tokenizer, prompts)
        longest = recipe.evaluate.generation.max_new_tokens
        if task.method == "generation" and room is not None and longest >= room:
            found.append(
                f"evaluate.generation.max_new_tokens: {longest} leave no room for a question in a context of "
                f"{room} tokens"
            )
    yield from found


def _tune_on(recipe: Recipe, regime: str, task: str, tokenizer: Any) -> None:
    section, options = recipe.tasks[task], recipe.regimes[regime]
    questions = _questions(recipe, task, "train", [])[:LOOKED_AT]
    if not questions:
        return
    examples = question_examples(
        questions,
        prompt=section.prompt,
        answers=section.answers,
        tokenizer=tokenizer,
        seq_len=options.seq_len,
        loss_on="answer",
    )
    cut = sum(one.truncated for one in examples)
    # what is left of an example that lost its beginning must be more than its answer
    useless = sum(one.truncated and bool((one.labels[1:] != IGNORE).all()) for one in examples)
    if useless == len(examples) or (cut == len(examples) and options.seq_len < MIN_PROMPT):
        raise RecipeError(
            f"seq_len: {options.seq_len} leaves nothing of the questions of {task!r} before their answers"
        )


MIN_PROMPT = 32
"""Where every example is cut to fewer tokens than this, nothing of a question is left to learn from."""


def _questions(recipe: Recipe, task: str, split: Literal["train", "test"], found: list[str]) -> list[Question]:
    section = recipe.tasks[task]
    path = section.train if split == "train" else section.test
    named = [path, section.test_ids]
    if path is None or any(one is not None and written_later(recipe, one) for one in named):
        return []
    with told(found, f"tasks.{task}.{split}"):
        return load_questions(task, section, recipe.data_root, split)
    return []


def _tokenizer(recipe: Recipe) -> Any:
    if written_later(recipe, recipe.tokenizer.path):
        return None
    with told([]):
        tokenizer = hf_tokenizer(tokenizer_path(recipe))
        return None if tokenizer.eos_token_id is None else tokenizer  # which `tokenizer_problems` tells
    return None
