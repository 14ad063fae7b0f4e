"""Writing the primary question down before anything is scored."""

import msgspec

from pmc_llama.experiment.cells import cells
from pmc_llama.files import write_json
from pmc_llama.pipeline.questions import tested
from pmc_llama.pipeline.stage import Context


def write_primary(context: Context) -> None:
    """Write `primary.json` if there is none yet; it is never written again, whatever the recipe becomes."""
    from pmc_llama.results.primary import primary_question

    recipe, run = context.recipe, context.run
    question = primary_question(recipe)
    if not context.writes or question is None or run.primary.exists():
        return
    answers = (run.task_predictions(cell.name, task) for cell in cells(recipe) for task in tested(recipe))
    late = any(file.is_file() for file in answers)
    write_json(run.primary, msgspec.structs.replace(question, after_scores=late))
