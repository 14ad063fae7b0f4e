"""Whether a model, the results and the recipe of a run belong together: what does not fit is not let out of the run."""

from dataclasses import replace
from pathlib import Path

from pmc_llama.errors import InputError
from pmc_llama.recipe import Recipe
from pmc_llama.records.results import Results, read_results
from pmc_llama.records.stamps import Stamp, content_hash, read_stamp
from pmc_llama.release.trained import Trained, recipe_from
from pmc_llama.run_dir import RunDir


def stamp_of(model: Trained) -> Stamp:
    """The stamp of a model. Raises InputError for a model that is not what its stamp says, or that has none."""
    run = model.run
    stamp = read_stamp(run.stamp(model.work))
    if stamp is None:
        raise InputError(
            f"{run.root}: nothing says what made the model {model.which!r}: it was put there by hand, or its run is "
            "older than this version. Run its recipe again; what is whole is not trained again"
        )
    folder = model.adapter or (model.folder if model.which != "base" or stamp.files else None)
    if folder is not None and stamp.places:
        place = run.root / stamp.places[0]
        if content_hash(run.root, [Path(stamp.places[0])]) != stamp.token:
            raise InputError(f"{place} is not the model that {model.work} made: it was changed or replaced since")
    for work, token in stamp.upstream.items():
        upstream = read_stamp(run.stamp(work))
        if upstream is not None and upstream.token != token:
            raise InputError(
                f"{run.root}: the model {model.which!r} was made from another {work} than the run holds now: "
                "run its recipe again first"
            )
    return stamp


def fitting_results(run: RunDir) -> Results:
    """The results of a run, empty where nothing was measured.

    Raises InputError where they were computed from other models than the run holds now.
    """
    results = read_results(run.results)
    for work, token in results.made_from.items():
        stamp = read_stamp(run.stamp(work))
        if stamp is None or stamp.token != token:
            raise InputError(
                f"{run.root}: results.json was computed from another {work} than the run holds now: run its recipe to "
                "the report first (`pmc-llama run`), so that the numbers are those of this model"
            )
    return results


def recipe_of(model: Trained, stamp: Stamp, results: Results) -> Recipe:
    """The recipe that a model, and the results where there are any, were made by."""
    report = read_stamp(model.run.stamp("report")) if results.rows else None
    file = model.run.recipe_of((report or stamp).recipe)
    if not file.is_file():
        raise InputError(f"{model.run.root}: the recipe that {model.work} was made by is gone ({file.name})")
    return recipe_from(file, model.run.root)


def checked(model: Trained) -> tuple[Trained, Stamp, Results]:
    """The model with the recipe that it was made by, its stamp, and the results that are its own."""
    stamp = stamp_of(model)
    results = fitting_results(model.run)
    return replace(model, recipe=recipe_of(model, stamp, results)), stamp, results
