"""Stamps for runs that a test puts together by hand, as the pipeline would have written them."""

from pathlib import Path

import msgspec

from pmc_llama.errors import PmcLlamaError
from pmc_llama.files import files_below, sha256_text, write_json, write_text
from pmc_llama.pipeline import making
from pmc_llama.pipeline.run import Pipeline
from pmc_llama.pipeline.stage import Work
from pmc_llama.pipeline.stamps import Stamps, plain
from pmc_llama.records.results import read_results
from pmc_llama.records.stamps import Stamp
from pmc_llama.release.trained import read_recipe
from pmc_llama.run_dir import RunDir


def adopt(run_dir: Path) -> Path:
    """Write a stamp for every piece of work of the run's recipe whose outputs are there."""
    recipe, run = read_recipe(run_dir), RunDir(run_dir)
    text = making.resolved(recipe)
    write_text(run.recipe_of(sha256_text(text)), text)
    pipeline = Pipeline(recipe)
    works = [work for stage in pipeline.stages for work in pipeline.works(stage)]
    for work in works:
        if all((run.root / place).exists() for place in work.outputs):
            write_json(run.stamp(work.name), _stamp(run, work, sha256_text(text)))
    if run.results.is_file():
        tokens = {work.name: Stamps(run).token(work.name) for work in works if work.trains or work.name == "base"}
        made_from = {name: token for name, token in tokens.items() if token is not None}
        write_json(run.results, msgspec.structs.replace(read_results(run.results), made_from=made_from))
    return run_dir


def _stamp(run: RunDir, work: Work, recipe: str) -> Stamp:
    places = [place for place in (*work.outputs, *work.beside) if (run.root / place).exists()]
    files = [file for place in places for file in files_below(run.root / place)]
    try:
        inputs = {one.name: one.record() for one in work.inputs()}
    except (PmcLlamaError, OSError):  # the test has no such files
        inputs = {}
    return Stamp(
        work=work.name,
        settings=plain(work.settings),
        code=work.code,
        inputs=inputs,
        upstream=Stamps(run).upstream(work),
        recipe=recipe,
        version="test",
        at=making.now(),
        token=work.token(run),
        files={file.relative_to(run.root).as_posix(): file.stat().st_size for file in files},
        places=[place.as_posix() for place in places],
        seconds=1.0,
    )
