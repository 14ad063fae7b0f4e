"""The stages of a run: what each is made from, what it builds on, what it writes, and the call that makes it."""

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pmc_llama.errors import InputError
from pmc_llama.files import link_tree, read_json
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.corpus import CorpusSection
from pmc_llama.recipe.inputs import (
    adapted_model_path,
    base_model_path,
    corpus_path,
    corpus_patterns,
    evaluation_settings,
    fingerprint,
    scratch_model_path,
    tokenizer_fingerprint,
    tokenizer_path,
)
from pmc_llama.recipe.qa import SCORED_BY
from pmc_llama.stamps import Stamp

if TYPE_CHECKING:
    from pmc_llama.corpus.contamination import Probe

Stamps = Mapping[str, Stamp]


def _no_pieces(recipe: Recipe, stamps: Stamps) -> list[Stamp]:
    return []


@dataclass(frozen=True)
class Stage:
    """One stage. Its stamp holds `settings`: all of the recipe and of the input files that can change the result."""

    name: str
    doing: str
    needs: tuple[str, ...]
    settings: Callable[[Recipe], Any]
    outputs: Callable[[Recipe], list[Path]]
    run: Callable[[Recipe, Stamps], str]
    """Makes the outputs, resuming what is there, and returns a summary of one line."""
    wanted: Callable[[Recipe], bool] = lambda recipe: True
    pieces: Callable[[Recipe, Stamps], list[Stamp]] = _no_pieces
    """Parts with stamps of their own, redone one by one (the cells of the grid)."""
    preview: Callable[[Recipe, Stamps, Collection[str]], Iterable[str]] = lambda recipe, stamps, stale: ()
    """What a dry run says of its pieces; the last argument names the stages that would run."""
    version: int = 1
    """Raised when the same settings would give another output than before, also when a recipe key's default changes:
    settings hold only what differs from the defaults, so that a new key with a default makes no work stale."""


def worker_count(recipe: Recipe) -> int:
    """Processes for work on CPUs: what the recipe says, else the cores this process may use."""
    if recipe.workers is not None:
        return recipe.workers
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _write_world(recipe: Recipe, stamps: Stamps) -> str:
    from pmc_llama.minimed.world import write_world

    assert recipe.minimed is not None
    world = write_world(recipe.minimed, recipe.seed, recipe.run_path / "data")
    drugs = len(world["tuning_drugs"]) + len(world["test_drugs"])
    return f"papers and questions about {drugs} invented drugs written to {recipe.run_path / 'data'}"


def _previous(recipe: Recipe, stage: str) -> list[Any]:
    """Of an update, what a stage is made from besides its own input: that stage of the revision before; the replay."""
    if recipe.update is None:
        return []
    record = recipe.update.run_path / "stamps" / f"{stage}.json"
    made = read_json(record)["token"] if record.is_file() else None
    return [made, *([recipe.update.replay] if stage == "pretrain" else [])]


def _corpus_settings(recipe: Recipe, section: CorpusSection | None) -> Any:
    if section is None:
        return None
    return {
        "section": section.settings(frozenset({"engine", "ray_address"})),
        "files": _corpus_files(recipe, section),
        "tests": evaluation_settings(recipe, exclude=frozenset({"prompt", "answers"}) | SCORED_BY),
    }


def _corpus_files(recipe: Recipe, section: CorpusSection) -> list[Any]:
    from pmc_llama.corpus.storage import find, is_remote, stat

    patterns = corpus_patterns(section)
    here = fingerprint(recipe, [pattern for pattern in patterns if not is_remote(pattern)])
    return here + [[url, *stat(url)] for pattern in patterns if is_remote(pattern) for url in find(pattern)]


def _build_corpus(recipe: Recipe, section: CorpusSection | None, name: str) -> str:
    from pmc_llama.corpus.build import build_corpus

    assert section is not None
    out, workers = corpus_path(recipe, name), worker_count(recipe)
    append_to = None if recipe.update is None else recipe.update.run_path / name
    totals = build_corpus(section, recipe.data_root, out, workers=workers, probes=_probes(recipe), append_to=append_to)
    totals = totals.get("appended", totals)
    reasons = sorted(totals["dropped"].items(), key=lambda item: (-item[1], item[0]))
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in reasons)
    return f"{totals['in']:,} documents in, {totals['kept']:,} kept; dropped: {dropped or 'none'}"


def _build_general(recipe: Recipe, stamps: Stamps) -> str:
    if recipe.update is None:
        return _build_corpus(recipe, recipe.general, "general")
    earlier = recipe.update.run_path / "general"
    if not (earlier / "corpus.json").is_file():
        raise InputError(f"update.previous: {recipe.update.previous} has no general corpus: run its recipe first")
    link_tree(earlier, recipe.run_path / "general")
    return f"taken over from {recipe.update.previous}"


def _build_extra(recipe: Recipe, stamps: Stamps) -> str:
    if recipe.update is None:
        return "; ".join(f"{name}: {_build_corpus(recipe, section, name)}" for name, section in recipe.extra.items())
    link_tree(recipe.update.run_path / "extra", recipe.run_path / "extra")
    return f"taken over from {recipe.update.previous}"


def _probes(recipe: Recipe) -> "list[Probe]":
    """The test questions, for the corpus to be checked for."""
    from pmc_llama.corpus.contamination import Probe
    from pmc_llama.qa.tasks import load_questions

    return [
        Probe(
            task=name,
            question_id=question.question_id,
            text=f"{question.question} {question.context or ''}".strip(),
            pmid=int(question.question_id) if task.format == "pubmedqa" and question.question_id.isdigit() else None,
        )
        for name, task in recipe.tasks.items()
        if task.test is not None
        for question in load_questions(name, task, recipe.data_root, "test")
    ]


def _encode(recipe: Recipe, stamps: Stamps) -> str:
    from pmc_llama.tokens.encode import append_corpus, encode_corpus

    parts = []
    for name in recipe.corpora:
        source, out = corpus_path(recipe, name), recipe.run_path / "tokens" / name
        if recipe.update is not None:
            link_tree(recipe.update.run_path / "tokens" / name, out)
        encode = encode_corpus if recipe.update is None else append_corpus
        totals = encode(recipe.tokens, source, tokenizer_path(recipe), out, workers=worker_count(recipe))
        parts.append(f"{name} {totals['tokens']:,} tokens in {totals['documents']:,} documents")
    return "; ".join(parts)


def _train_base(recipe: Recipe, stamps: Stamps) -> str:
    from pmc_llama.pretraining import train_base

    return f"{base_model_path(recipe)} is taken as it is" if recipe.base.train is None else train_base(recipe)


def _pretrain(recipe: Recipe, stamps: Stamps) -> str:
    from pmc_llama.pretraining import continue_pretraining

    return continue_pretraining(recipe)


def _tune(recipe: Recipe, stamps: Stamps) -> str:
    from pmc_llama.experiment.grid import tune_cells

    return tune_cells(recipe, stamps)


def _evaluate(recipe: Recipe, stamps: Stamps) -> str:
    from pmc_llama.experiment.grid import score_cells

    return score_cells(recipe, stamps)


def _tuned_cells(recipe: Recipe, stamps: Stamps) -> list[Stamp]:
    from pmc_llama.experiment.regimes import tuning_stamps

    return list(tuning_stamps(recipe, stamps).values())


def _scored_cells(recipe: Recipe, stamps: Stamps) -> list[Stamp]:
    from pmc_llama.experiment.regimes import scoring_stamps

    return list(scoring_stamps(recipe, stamps).values())


def _report(recipe: Recipe, stamps: Stamps) -> str:
    from pmc_llama.report.page import build_report
    from pmc_llama.report.run import Run
    from pmc_llama.report.tables import compute_results

    run = recipe.run_path
    compute_results(run / "predictions.parquet", run / "results.json", Run(run).contaminated)
    build_report(run)
    return "results.json and report.html written"


def _preview_grid(recipe: Recipe, stamps: Stamps, stale: Collection[str]) -> Iterable[str]:
    from pmc_llama.experiment.preview import grid_preview

    return grid_preview(recipe, stamps, stale)


def _grid_settings(recipe: Recipe) -> Any:
    """The names of the cells; what is inside them stands in the cells' own stamps."""
    return {"regimes": sorted(recipe.regimes), "seeds": recipe.seeds}


STAGES: tuple[Stage, ...] = (
    Stage(
        name="minimed",
        doing="writing the synthetic medical world",
        needs=(),
        settings=lambda recipe: [
            recipe.minimed and recipe.minimed.settings(),
            recipe.seed,
        ],
        outputs=lambda recipe: [recipe.run_path / "data"],
        run=_write_world,
        wanted=lambda recipe: recipe.minimed is not None,
        version=2,
    ),
    Stage(
        name="general",
        doing="building the general corpus",
        needs=("minimed",),
        settings=lambda recipe: _previous(recipe, "general") or _corpus_settings(recipe, recipe.general),
        outputs=lambda recipe: [recipe.run_path / "general"],
        run=_build_general,
        wanted=lambda recipe: recipe.general is not None,
        version=2,
    ),
    Stage(
        name="extra",
        doing="building the further corpora",
        needs=("minimed",),
        settings=lambda recipe: (
            _previous(recipe, "extra")
            or {name: _corpus_settings(recipe, section) for name, section in recipe.extra.items()}
        ),
        outputs=lambda recipe: [recipe.run_path / "extra"],
        run=_build_extra,
        wanted=lambda recipe: bool(recipe.extra),
    ),
    Stage(
        name="corpus",
        doing="reading, selecting, cleaning, deduplicating",
        needs=("minimed",),
        settings=lambda recipe: (
            _corpus_settings(recipe, recipe.corpus)
            | ({} if recipe.update is None else {"previous": _previous(recipe, "corpus")})
        ),
        outputs=lambda recipe: [recipe.run_path / "corpus"],
        run=lambda recipe, stamps: _build_corpus(recipe, recipe.corpus, "corpus"),
        version=2,
    ),
    Stage(
        name="tokens",
        doing="encoding",
        needs=("minimed", "corpus", "general", "extra"),
        settings=lambda recipe: [
            recipe.tokens.settings(),
            tokenizer_fingerprint(recipe),
            *_previous(recipe, "tokens"),
        ],
        outputs=lambda recipe: [recipe.run_path / "tokens"],
        run=_encode,
    ),
    Stage(
        name="base",
        doing="training the base model from scratch",
        needs=("tokens",),
        settings=lambda recipe: [recipe.base.settings(), recipe.seed],
        outputs=lambda recipe: (
            [] if recipe.base.train is None else [scratch_model_path(recipe), recipe.run_path / "train" / "base"]
        ),
        run=_train_base,
        version=2,
    ),
    Stage(
        name="pretrain",
        doing="continued pre-training on the papers",
        needs=("base", "tokens"),
        settings=lambda recipe: [recipe.pretrain.settings(), recipe.seed, *_previous(recipe, "pretrain")],
        outputs=lambda recipe: [adapted_model_path(recipe), recipe.run_path / "train" / "pretrain"],
        run=_pretrain,
        version=2,
    ),
    Stage(
        name="finetune",
        doing="tuning base and adapted",
        needs=("base", "pretrain"),
        settings=_grid_settings,
        outputs=lambda recipe: [],
        run=_tune,
        pieces=_tuned_cells,
    ),
    Stage(
        name="evaluate",
        doing="scoring the test questions",
        needs=("finetune",),
        settings=_grid_settings,
        outputs=lambda recipe: [recipe.run_path / "predictions.parquet", recipe.run_path / "questions.parquet"],
        run=_evaluate,
        pieces=_scored_cells,
        preview=_preview_grid,
    ),
    Stage(
        name="report",
        doing="computing the statistics and writing the page",
        needs=("corpus", "general", "extra", "tokens", "base", "pretrain", "evaluate"),
        settings=lambda recipe: [],
        outputs=lambda recipe: [recipe.run_path / "results.json", recipe.run_path / "report.html"],
        run=_report,
        version=2,
    ),
)
