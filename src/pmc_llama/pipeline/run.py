"""Runs a recipe's stages in order: what is up to date stays, what was interrupted continues, the rest is made."""

import fcntl
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pmc_llama.errors import PmcLlamaError
from pmc_llama.pipeline import making
from pmc_llama.pipeline.authorship import write_own
from pmc_llama.pipeline.ends import stops_cleanly
from pmc_llama.pipeline.questions import with_sets
from pmc_llama.pipeline.retrain import Retraining
from pmc_llama.pipeline.stage import Context, Stage, Work
from pmc_llama.pipeline.stages import STAGES
from pmc_llama.pipeline.stamps import Stamps
from pmc_llama.pipeline.update import mode_of
from pmc_llama.recipe import Recipe, load_recipe
from pmc_llama.records.stamps import Event, read_stamp
from pmc_llama.run_dir import RunDir

if TYPE_CHECKING:
    from pmc_llama.train.world import World

Reasons = Mapping[str, str | None]
"""Why each piece of work must be made, None for what is up to date."""


def run_recipe(
    path: Path,
    settings: Sequence[str] | None = None,
    *,
    until: str | None = None,
    force: str | None = None,
    dry_run: bool = False,
    retrain: bool = False,
) -> Path:
    """Load a recipe and bring its stages up to date (all, or up to `until`); returns where the report's page is.

    `retrain` is the yes to training finished models again. As one process of several (torchrun) only stage `until` is
    run, and what it builds on must be ready: no process waits while another reads or encodes data.
    """
    recipe = load_recipe(path, list(settings or ()))
    page = RunDir(recipe.run_path).page.resolve()
    with stops_cleanly():
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            _run_as_one_of_several(recipe, until, retrain=retrain)
        elif dry_run:
            pipeline = Pipeline(recipe)
            for line in pipeline.preview(until):
                print(line)
            pipeline.check(until)
        else:
            Pipeline(with_sets(recipe)).run(until=until, force=force, retrain=retrain)
            if until in (None, "report"):
                _show_results(RunDir(recipe.run_path))
    return page


def _run_as_one_of_several(recipe: Recipe, until: str | None, *, retrain: bool) -> None:
    from pmc_llama.train.world import join_world

    with join_world() as world:
        Pipeline(recipe, world=world).run_together(until, retrain=retrain)


def _show_results(run: RunDir) -> None:
    from pmc_llama.records.results import read_results
    from pmc_llama.report.console import print_results

    print_results(read_results(run.results))
    print(f"report: {run.page.resolve()}")


class Pipeline:
    """The stages of one recipe, bound to its run directory."""

    def __init__(self, recipe: Recipe, stages: Sequence[Stage] = STAGES, world: "World | None" = None) -> None:
        self.recipe = recipe
        self.run_dir = RunDir(recipe.run_path)
        self.stages = [stage for stage in stages if stage.wanted(recipe)]
        self.context = Context(recipe, self.run_dir, mode_of(recipe), Stamps(self.run_dir), world)
        self._works: dict[str, list[Work]] = {}

    def works(self, stage: Stage) -> list[Work]:
        """The pieces of work of a stage."""
        if stage.name not in self._works:
            self._works[stage.name] = stage.works(self.context)
        return self._works[stage.name]

    def stale(self, until: str | None = None) -> Reasons:
        """Every piece of work up to a stage, with the reason why it must be made, or None if it is up to date.

        Work that builds on stale work is stale here, although it may turn out that the same was made again.
        """
        reasons: dict[str, str | None] = {}
        for stage in self._up_to(until):
            for work in self.works(stage):
                reason = self.context.stamps.why_stale(work)
                rebuilt = [name for name in work.upstream if reasons.get(name) is not None]
                if rebuilt and (reason is None or reason.endswith("is another one")):
                    reason = f"builds on {rebuilt[0]}"
                if reason is None and reasons.get("minimed") is not None and work.name != "minimed" and work.inputs():
                    reason = "its inputs are written anew by minimed"
                reasons[work.name] = reason
        return reasons

    def preview(self, until: str | None = None) -> Iterator[str]:
        """What a run would do, and why: a line per stage, with lines for the pieces of a stage that has some."""
        reasons = self.stale(until)
        for stage in self._up_to(until):
            works = self.works(stage)
            todo = {work.name: reasons[work.name] for work in works if reasons[work.name] is not None}
            if not todo:
                yield f"{stage.name}: up to date"
            elif len(works) == 1:
                yield f"{stage.name}: would run: {next(iter(todo.values()))}"
            else:
                name, reason = next(iter(todo.items()))
                yield f"{stage.name}: would run: {len(todo)} of {len(works)}, first {name}: {reason}"
            yield from stage.preview(self.context, reasons)

    def check(self, until: str | None = None) -> None:
        """Raise for everything that can be known to fail in the stages that would run."""
        reasons = self.stale(until)
        would_run = {
            stage.name for stage in self._up_to(until) if any(reasons[work.name] for work in self.works(stage))
        }
        if would_run:
            from pmc_llama.checks import check_recipe

            check_recipe(self.recipe, stages=would_run)

    def run(self, *, until: str | None = None, force: str | None = None, retrain: bool = False) -> None:
        """Bring all stages up to `until` up to date; `force` redoes that stage.

        Raises PmcLlamaError for an unknown stage, a run directory in use or with files of others where outputs belong,
        a trained model that would be trained again without `retrain`, and for what a stage itself refuses.
        """
        self._check_names(until, force)
        forced = [work.name for stage in self.stages if stage.name == force for work in self.works(stage)]
        retraining = Retraining(retrain, forced)
        with self._locked():
            self._prepare()
            self.check(until)
            reasons = self.stale(until)
            certain = {name: self.context.stamps.why_stale(work) for name, work in self._by_name(until).items()}
            surely = {name: why for name, why in certain.items() if why is None or reasons[name] == why}
            retraining.ask(self.context, list(self._by_name(until).values()), surely)
            self._describe(anything=bool(forced) or any(reasons.values()))
            for stage in self._up_to(until):
                self._run_stage(stage, retraining, forced)

    def run_together(self, name: str | None, *, retrain: bool = False) -> None:
        """Run one stage as one process of several; raises PmcLlamaError if what it builds on is not ready."""
        self._check_names(name, None)
        if name is None:
            raise PmcLlamaError("several processes run one stage: `torchrun … -m pmc_llama.cli pretrain RECIPE`")
        world = self.context.world
        assert world is not None
        with self._locked_together():
            todo, refused = world.from_first(lambda: self._plan_together(name, retrain))
            self._refuse_together(refused)
            stage = next(stage for stage in self.stages if stage.name == name)
            if todo:
                named = {work.name: work for work in self.works(stage)}
                self._make(stage, [named[one] for one in todo])

    def _plan_together(self, name: str, retrain: bool) -> tuple[list[str], str | None]:
        """(what is to be made, why it is refused), as the first process sees it for all."""
        try:
            self._prepare()
            self.check(name)
            reasons = self.stale(name)
            *before, stage = self._up_to(name)
            for other in before:
                stale = [reasons[work.name] for work in self.works(other) if reasons[work.name] is not None]
                if stale:
                    raise PmcLlamaError(
                        f"stage {other.name} is not ready ({stale[0]}): run it first in one process, "
                        f"`pmc-llama run RECIPE --until {other.name}`, so that no process waits on another's data work"
                    )
            Retraining(retrain).ask(self.context, self.works(stage), reasons)
            todo = [work.name for work in self.works(stage) if reasons[work.name] is not None]
            self._describe(anything=bool(todo))
            return todo, None
        except PmcLlamaError as error:
            return [], str(error)

    def _refuse_together(self, reason: str | None) -> None:
        """End all processes; the first one says why."""
        if reason is None:
            return
        if self.context.writes:
            raise PmcLlamaError(reason)
        raise SystemExit(2)

    def _run_stage(self, stage: Stage, retraining: Retraining, forced: Sequence[str]) -> None:
        works = self.works(stage)
        reasons = {work.name: self.context.stamps.why_stale(work) for work in works}
        reasons |= {name: reasons[name] or "asked for" for name in forced if name in reasons}
        todo = [work for work in works if reasons[work.name] is not None]
        for work in works:
            if reasons[work.name] is None:
                self.context.stamps.refresh(work)
        if not todo:
            print(f"{stage.name}: up to date", flush=True)
            return
        retraining.ask(self.context, todo, reasons)
        for work in todo:
            if work.name in forced:
                making.forget(self.run_dir, work)
        print(f"{stage.name}: {reasons[todo[0].name]}; {stage.doing}", flush=True)
        self._make(stage, todo)

    def _make(self, stage: Stage, todo: Sequence[Work]) -> None:
        started_s = time.monotonic()
        summary = stage.run(self.context, todo)
        if self.context.writes:
            seconds = time.monotonic() - started_s
            print(f"{stage.name}: {summary} ({seconds:.1f} s)", flush=True)
            for left in (home for work in todo for home in self.run_dir.all_making(work.name)):
                print(f"  unfinished training with other settings is kept in {left.root}", flush=True)
            self._log(Event(making.now(), "finished", work=stage.name, seconds=round(seconds, 3), summary=summary))

    def _prepare(self) -> None:
        """Finish what an interrupted call had made, and refuse a directory in which others' files are in the way."""
        making.finish_swaps(self.run_dir)
        for works in map(self.works, self.stages):
            for work in works:
                stamp = read_stamp(self.run_dir.stamp(work.name))
                listed = {} if stamp is None else stamp.files
                if not work.shares_folder:
                    places = [place.as_posix() for place in (*work.outputs, *work.beside)]
                    making.refuse_foreign(self.run_dir, places, listed)

    def _describe(self, *, anything: bool) -> None:
        """Write down what is run, and on what."""
        from pmc_llama.environment import describe_environment

        write_own(self.run_dir, making.resolved(self.recipe), describe_environment() if anything else None)
        self._log(Event(making.now(), "run", command=making.command()))

    def _up_to(self, until: str | None) -> list[Stage]:
        names = [stage.name for stage in self.stages]
        return self.stages if until is None else self.stages[: names.index(until) + 1]

    def _by_name(self, until: str | None) -> dict[str, Work]:
        return {work.name: work for stage in self._up_to(until) for work in self.works(stage)}

    def _check_names(self, until: str | None, force: str | None) -> None:
        names = [stage.name for stage in self.stages]
        for option, name in (("--until", until), ("--force", force)):
            if name is not None and name not in names:
                raise PmcLlamaError(f"{option} {name}: not a stage of this recipe; its stages are {', '.join(names)}")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the run directory against a second run."""
        self.run_dir.root.mkdir(parents=True, exist_ok=True)
        with self.run_dir.lock.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                busy = f"{self.run_dir.root} is in use by another run; give this one its own run_dir"
                raise PmcLlamaError(busy) from None
            yield

    @contextmanager
    def _locked_together(self) -> Iterator[None]:
        """The first process holds the lock for all."""
        world = self.context.world
        assert world is not None
        lock = self._locked()

        def take() -> str | None:
            try:
                lock.__enter__()
            except PmcLlamaError as error:
                return str(error)
            return None

        self._refuse_together(world.from_first(take))
        try:
            yield
        finally:
            if world.is_first:
                lock.__exit__(None, None, None)

    def _log(self, event: Event) -> None:
        """Append to the run's history: with the recipe and the environment it tells what was done, and when."""
        self.run_dir.history.parent.mkdir(parents=True, exist_ok=True)
        with self.run_dir.history.open("ab") as file:
            file.write(msgspec.json.encode(event) + b"\n")
