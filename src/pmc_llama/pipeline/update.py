"""How a run begins: from nothing, or as the next revision of another run. Stages ask their context's mode."""

from pathlib import Path

from pmc_llama.corpus.build import build_corpus
from pmc_llama.corpus.contamination import Probe
from pmc_llama.errors import InputError
from pmc_llama.files import link_tree
from pmc_llama.recipe import Recipe
from pmc_llama.recipe.tokens import MixtureSection
from pmc_llama.recipe.training import PretrainSection
from pmc_llama.records.corpus import CorpusSummary
from pmc_llama.records.stamps import read_stamp
from pmc_llama.run_dir import RunDir

EARLIER = "earlier"
"""In an update's mixture, the papers of the revisions before."""


class Fresh:
    """A run from nothing."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def made_from(self, work: str) -> dict[str, str]:
        """What a piece of work builds on besides this run's own: content hash by name."""
        return {}

    def builds(self, corpus: str) -> bool:
        """Whether a corpus is built from its sources."""
        return True

    def build(self, corpus: str, out: RunDir, *, workers: int, probes: list[Probe]) -> CorpusSummary:
        """Build a corpus into `out`."""
        return self._build(corpus, out, workers, probes, None)

    def start_store(self, corpus: str, out: RunDir) -> bool:
        """Prepare a token store in `out`; whether there is something to append to."""
        return False

    def start_contamination(self, out: RunDir) -> None:
        """Give the measurement what is known of texts that were checked before."""

    def continues(self) -> Path | None:
        """The checkpoints that continued pre-training goes on from, instead of the base's weights."""
        return None

    def earlier_documents(self, corpus: str) -> int:
        """How many of a corpus' first documents were trained on by revisions before."""
        return 0

    def mixture(self, options: PretrainSection) -> MixtureSection | None:
        """What the batches of pre-training are mixed of."""
        return options.mixture

    def _build(
        self, corpus: str, out: RunDir, workers: int, probes: list[Probe], append_to: Path | None
    ) -> CorpusSummary:
        section, root = self.recipe.corpora[corpus], self.recipe.data_root
        folder = out.corpus(corpus).root
        return build_corpus(section, root, folder, workers=workers, probes=probes, append_to=append_to)


class Append(Fresh):
    """The next revision of the run `previous`: new papers are added to its corpus, its model is trained on."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        assert recipe.update is not None
        self.previous = RunDir(recipe.update.run_path)
        self.replay = recipe.update.replay

    def made_from(self, work: str) -> dict[str, str]:
        """The same piece of work of the revision before, by the hash of what it made."""
        stamp = read_stamp(self.previous.stamp(work))
        return {work: "not finished" if stamp is None or stamp.token is None else stamp.token}

    def builds(self, corpus: str) -> bool:
        """Only new papers are read; other corpora are the revision's before."""
        return corpus == "corpus"

    def build(self, corpus: str, out: RunDir, *, workers: int, probes: list[Probe]) -> CorpusSummary:
        """Append the new papers to the corpus; take over any other."""
        before = self.previous.corpus(corpus)
        if not before.summary.is_file():
            raise InputError(f"update.previous: {self.previous.root} has no corpus {corpus!r}: run its recipe first")
        if self.builds(corpus):
            return self._build(corpus, out, workers, probes, before.root)
        link_tree(before.root, out.corpus(corpus).root)
        return _summary(out, corpus)

    def start_store(self, corpus: str, out: RunDir) -> bool:
        """Begin with the store of the revision before."""
        link_tree(self.previous.store(corpus), out.store(corpus))
        return True

    def start_contamination(self, out: RunDir) -> None:
        """Parts that were checked by the revision before are not read again."""
        if self.previous.contamination.is_dir():
            link_tree(self.previous.contamination_cache, out.contamination_cache)

    def continues(self) -> Path | None:
        """The checkpoints of the revision before."""
        return self.previous.training("pretrain").checkpoints

    def earlier_documents(self, corpus: str) -> int:
        """The documents of the store of the revision before."""
        from pmc_llama.tokens.store import TokenStore

        return len(TokenStore.open(self.previous.store(corpus))) if corpus == "corpus" else 0

    def mixture(self, options: PretrainSection) -> MixtureSection | None:
        """The papers' share is divided between new and earlier ones."""
        mixed = options.mixture
        if not self.replay:
            return mixed
        ratios = {"corpus": 1.0} if mixed is None else dict(mixed.ratios)
        papers = ratios.pop("corpus", 0.0)
        ratios |= {"corpus": papers * (1 - self.replay), EARLIER: papers * self.replay}
        orders = {} if mixed is None else dict(mixed.orders)
        if "corpus" in orders:
            orders[EARLIER] = orders["corpus"]
        return MixtureSection(ratios=ratios, epochs_of="corpus" if mixed is None else mixed.epochs_of, orders=orders)


Mode = Fresh
"""Fresh, or Append, which is one too."""


def mode_of(recipe: Recipe) -> Mode:
    """How a recipe's run begins."""
    return Fresh(recipe) if recipe.update is None else Append(recipe)


def _summary(out: RunDir, corpus: str) -> CorpusSummary:
    from pmc_llama.records.corpus import read_corpus_summary

    return read_corpus_summary(out.corpus(corpus).summary)
