"""The files that corpora are built from, and the revision that an update goes on from."""

from collections.abc import Iterator, Set

from pmc_llama.checks.common import told, written_later
from pmc_llama.corpus.addresses import is_remote
from pmc_llama.corpus.items import find_files, plan_items, with_word_counts
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.corpus import CorpusSection
from pmc_llama.records.stamps import corpus_work, read_stamp
from pmc_llama.run_dir import RunDir


def corpus_problems(recipe: Recipe, stages: Set[str]) -> Iterator[str]:
    """Patterns that match no file."""
    for name, section in recipe.corpora.items():
        if corpus_work(name).partition("/")[0] in stages and (recipe.update is None or name == "corpus"):
            yield from _files(recipe, corpus_work(name).replace("/", "."), section)


def update_problems(recipe: Recipe, stages: Set[str]) -> Iterator[str]:
    """A revision that was not finished."""
    if recipe.update is None:
        return
    previous = RunDir(recipe.update.run_path)
    needed = {name: corpus_work(name) for name in recipe.corpora} | {"tokens": "tokens/corpus", "pretrain": "pretrain"}
    for stage, work in needed.items():
        stamp = read_stamp(previous.stamp(work))
        if stage in stages and (stamp is None or not stamp.finished):
            yield f"update.previous: {previous.root} has no finished {work}: run its recipe first"


def _files(recipe: Recipe, key: str, section: CorpusSection) -> Iterator[str]:
    found: list[str] = []
    named = [path for source in section.sources for path in source.paths if not is_remote(path)]
    if any(written_later(recipe, path) for path in named):
        return
    with told(found, key):
        plan_items(section, recipe.data_root)
    for number, source in enumerate(section.sources):
        tables = [*source.papers, *filter(None, [source.pmc_ids]), *source.deleted]
        with told(found, f"{key}.sources.{number}"):
            find_files(tables, recipe.data_root, f"{key}.sources.{number}")
    with told(found, f"{key}.clean.word_counts"):
        with_word_counts(section, recipe.data_root)
    yield from found
