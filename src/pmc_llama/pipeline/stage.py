"""What a stage is: the pieces of work that it consists of, and how one of them is made."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pmc_llama.files import sha256_json
from pmc_llama.pipeline import making
from pmc_llama.pipeline.identity import Input
from pmc_llama.pipeline.stamps import Stamps
from pmc_llama.pipeline.update import Mode
from pmc_llama.recipe import Recipe
from pmc_llama.records.stamps import content_hash
from pmc_llama.run_dir import RunDir

if TYPE_CHECKING:
    from pmc_llama.train.world import World

RELATIVE = RunDir(Path())
"""Where things lie, seen from any run directory."""


@dataclass(frozen=True)
class Work:
    """The smallest piece that is made, or up to date, by itself: a stage's all, or one cell of the grid.

    `settings` and `inputs` are all that decides the result besides `upstream`, the pieces of work that it builds on.
    """

    name: str
    settings: Any
    outputs: tuple[Path, ...]
    """What others read of it, relative to the run directory; without them the work is to be done again."""
    beside: tuple[Path, ...] = ()
    """What it leaves besides, such as checkpoints; it may be deleted by hand."""
    upstream: tuple[str, ...] = ()
    inputs: Callable[[], list[Input]] = list
    code: str = ""
    """Hash of the code that makes it. Models have none: a new version of this package does not make them stale."""
    trains: bool = False
    """Whether it is a trained model, which is not made again without being asked for."""
    shares_folder: bool = False
    """Whether files of others may lie where its outputs lie."""
    in_place: bool = False
    """Whether it is written where it belongs at once, as each of its files is whole or absent."""
    content: Callable[[RunDir], Mapping[str, str]] | None = None
    """Hashes that stand for the result (None: those of all files of `outputs`)."""
    input_hashes: Callable[[RunDir], Mapping[str, str]] = field(default=lambda out: {})
    """Hashes of inputs that the work took while it read them."""

    def token(self, run: RunDir) -> str:
        """Hash of what was made."""
        if self.content is not None:
            return sha256_json(dict(self.content(run)))
        return content_hash(run.root, self.outputs)


@dataclass(frozen=True)
class Context:
    """What stages work with: the recipe, where its run lies, what was made there, and the processes of this call."""

    recipe: Recipe
    run: RunDir
    mode: Mode
    stamps: Stamps
    world: "World | None" = None
    """The processes that torchrun started (None: this process is the only one)."""

    @property
    def writes(self) -> bool:
        """Whether this process keeps the records."""
        return self.world is None or self.world.is_first

    def wait(self) -> None:
        """Wait for the other processes."""
        if self.world is not None:
            self.world.barrier()

    @contextmanager
    def making(self, work: Work) -> Iterator[RunDir]:
        """A folder to make `work` in; when the block ends well, the result takes the place of the one before."""
        self.wait()  # all have looked at what is there
        started = making.begin(self.run, work, self.recipe, writes=self.writes)
        self.wait()
        yield started.out
        self.wait()
        if self.writes:
            making.finish(self.run, work, started)
        self.wait()
        self.stamps.forget(work.name)


class Stage:
    """One stage of a run. Its instances hold nothing; all is in the context that its methods get."""

    name: ClassVar[str]
    doing: ClassVar[str]
    """What is printed when it begins."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Stages that come before it, as far as a recipe has them."""

    def wanted(self, recipe: Recipe) -> bool:
        """Whether the recipe has this stage."""
        return True

    def works(self, context: Context) -> list[Work]:
        """Its pieces of work, in the order in which they are made."""
        raise NotImplementedError

    def make(self, context: Context, work: Work, out: RunDir) -> str:
        """Make one piece into `out`, going on with what an interrupted call left there; returns a summary."""
        raise NotImplementedError

    def run(self, context: Context, todo: Sequence[Work]) -> str:
        """Make the pieces that are not up to date; returns a summary of one line."""
        summaries = []
        for work in todo:
            with context.making(work) as out:
                summaries.append(self.make(context, work, out))
        return "; ".join(dict.fromkeys(summaries))

    def preview(self, context: Context, reasons: Mapping[str, str | None]) -> Iterable[str]:
        """What a dry run says of the pieces; `reasons` tells why each would be made, None if it is up to date."""
        return ()
