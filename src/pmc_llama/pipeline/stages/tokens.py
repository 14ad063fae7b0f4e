"""The corpora become token stores, each a piece of work of its own."""

from collections.abc import Mapping

from pmc_llama.code import code_hash
from pmc_llama.pipeline.identity import tokenizer_inputs
from pmc_llama.pipeline.stage import RELATIVE, Context, Stage, Work
from pmc_llama.pipeline.stages.corpora import worker_count
from pmc_llama.recipe.inputs import tokenizer_path
from pmc_llama.records.stamps import corpus_work, store_work
from pmc_llama.records.tokens import read_store_info
from pmc_llama.run_dir import RunDir


class Tokens(Stage):
    """Encodes."""

    name = "tokens"
    doing = "encoding"
    needs = ("minimed", "corpus", "general", "extra")

    def works(self, context: Context) -> list[Work]:
        """One piece per corpus."""
        return [_work(context, name) for name in context.recipe.corpora]

    def make(self, context: Context, work: Work, out: RunDir) -> str:
        """Encode one corpus, or append what came in to the store of the revision before."""
        from pmc_llama.tokens.encode import append_corpus, encode_corpus

        recipe, name = context.recipe, work.name.removeprefix("tokens/")
        encode = append_corpus if context.mode.start_store(name, out) else encode_corpus
        source = context.run.corpus(name).root
        totals = encode(recipe.tokens, source, tokenizer_path(recipe), out.store(name), workers=worker_count(recipe))
        return f"{name} {totals.tokens:,} tokens in {totals.documents:,} documents"


def _work(context: Context, name: str) -> Work:
    recipe, work = context.recipe, store_work(name)
    settings: dict[str, object] = {"previous": before} if (before := context.mode.made_from(work)) else {}

    def content(run: RunDir) -> Mapping[str, str]:
        return read_store_info(run.store(name)).content()

    return Work(
        work,
        settings | recipe.tokens.settings("tokens"),
        (RELATIVE.store(name),),
        upstream=(corpus_work(name),),
        inputs=lambda: tokenizer_inputs(recipe, template=False),
        code=code_hash("pmc_llama.tokens.encode"),
        content=content,
    )
