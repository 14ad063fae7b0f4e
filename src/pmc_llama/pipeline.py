"""Runs a recipe's stages in order: what is up to date stays, what was interrupted continues, the rest is made."""

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import yaml

from pmc_llama.errors import PmcLlamaError
from pmc_llama.files import read_json, write_json, write_text
from pmc_llama.recipe import Recipe, load_recipe
from pmc_llama.stages import STAGES, Stage
from pmc_llama.stamps import Stamp


def run_recipe(
    path: Path,
    settings: list[str] | None = None,
    *,
    until: str | None = None,
    force: str | None = None,
    dry_run: bool = False,
) -> Path:
    """Load a recipe and bring its stages up to date (all, or up to `until`); returns where the report's page is.

    As one process of several (torchrun) only stage `until` is run, and what it builds on must be ready: no
    process waits while another reads or encodes data.
    """
    pipeline = Pipeline(load_recipe(path, settings))
    page = (pipeline.recipe.run_path / "report.html").resolve()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        pipeline.run_alone(until)
    elif dry_run:
        for line in pipeline.preview():
            print(line)
    else:
        pipeline.run(until=until, force=force)
        if until in (None, "report"):
            from pmc_llama.report.console import print_results

            print_results(read_json(pipeline.recipe.run_path / "results.json"))
            print(f"report: {page}")
    return page


class Pipeline:
    """The stages of one recipe, bound to its run directory."""

    def __init__(self, recipe: Recipe, stages: tuple[Stage, ...] = STAGES) -> None:
        self.recipe = recipe
        self.stages = [stage for stage in stages if stage.wanted(recipe)]
        self.stamps: dict[str, Stamp] = {}
        for stage in self.stages:
            upstream = [self.stamps[name] for name in stage.needs if name in self.stamps]
            record = recipe.run_path / "stamps" / f"{stage.name}.json"
            settings = {"version": stage.version, "settings": stage.settings(recipe)}
            self.stamps[stage.name] = Stamp(record, settings, upstream, stage.outputs(recipe))

    def stale_stages(self) -> dict[str, str | None]:
        """Every stage with the reason why it must run, or None if it is up to date."""
        reasons: dict[str, str | None] = {}
        for stage in self.stages:
            reasons[stage.name] = self._why_stale(stage)
            rebuilt = [name for name in stage.needs if reasons.get(name) is not None]
            if reasons[stage.name] is None and rebuilt:
                reasons[stage.name] = f"builds on {rebuilt[0]}"
        return reasons

    def preview(self) -> Iterator[str]:
        """What a run would do, and why: a line a stage, with lines for the parts of a stage that has some."""
        reasons = self.stale_stages()
        stale = [name for name, reason in reasons.items() if reason is not None]
        for stage in self.stages:
            reason = reasons[stage.name]
            yield f"{stage.name}: {'up to date' if reason is None else 'would run: ' + reason}"
            yield from stage.preview(self.recipe, self.stamps, stale)

    def run(self, *, until: str | None = None, force: str | None = None) -> None:
        """Bring all stages up to `until` up to date; `force` redoes that stage and, with it, what depends on it.

        Raises PmcLlamaError for an unknown stage, a run directory in use, and for what a stage itself refuses.
        """
        self._check_names(until, force)
        with self._locked_run_directory():
            if force is not None:
                self._discard(force)
            for stage in self.stages:
                self._run_stage(stage)
                if stage.name == until:
                    break

    def run_alone(self, name: str | None) -> None:
        """Run one stage as one process of several; raises PmcLlamaError if what it builds on is not ready."""
        self._check_names(name, None)
        reasons = self.stale_stages()
        for stage in self.stages:
            if stage.name == name:
                break
            if reasons[stage.name] is not None:
                raise PmcLlamaError(
                    f"stage {stage.name} is not ready ({reasons[stage.name]}): run it first in one process, "
                    f"`pmc-llama run RECIPE --until {stage.name}`, so that no process waits on another's data work"
                )
        else:
            raise PmcLlamaError("several processes run one stage: `torchrun … -m pmc_llama.cli pretrain RECIPE`")
        if reasons[stage.name] is not None:
            self._run_stage(stage, record=int(os.environ.get("RANK", "0")) == 0)

    def _run_stage(self, stage: Stage, record: bool = True) -> None:
        stamp, reason = self.stamps[stage.name], self._why_stale(stage)
        if reason is None:
            print(f"{stage.name}: up to date", flush=True)
            return
        if record:
            print(f"{stage.name}: {reason}; {stage.doing}", flush=True)
            stamp.begin()
        started_s = time.monotonic()
        summary = stage.run(self.recipe, self.stamps)
        if record:
            seconds = time.monotonic() - started_s
            stamp.finish(seconds)
            print(f"{stage.name}: {summary} ({seconds:.1f} s)", flush=True)
            self._log({"event": "finished", "stage": stage.name, "seconds": round(seconds, 3), "summary": summary})

    def _why_stale(self, stage: Stage) -> str | None:
        reason = self.stamps[stage.name].why_stale()
        if reason is not None:
            return reason
        return next((why for piece in stage.pieces(self.recipe, self.stamps) if (why := piece.why_stale())), None)

    def _discard(self, name: str) -> None:
        stage = next(stage for stage in self.stages if stage.name == name)
        for stamp in (self.stamps[name], *stage.pieces(self.recipe, self.stamps)):
            stamp.discard()

    def _check_names(self, until: str | None, force: str | None) -> None:
        names = [stage.name for stage in self.stages]
        for option, name in (("--until", until), ("--force", force)):
            if name is not None and name not in names:
                raise PmcLlamaError(f"{option} {name}: not a stage of this recipe; its stages are {', '.join(names)}")

    @contextmanager
    def _locked_run_directory(self) -> Iterator[None]:
        """Hold the run directory against a second run, and write down what is run and on what."""
        from pmc_llama.environment import describe_environment

        run = self.recipe.run_path
        run.mkdir(parents=True, exist_ok=True)
        with (run / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise PmcLlamaError(f"{run} is in use by another run; give this one its own run_dir") from None
            resolved = self.recipe.model_dump(mode="json", exclude_none=True)
            write_text(run / "recipe.yaml", yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True))
            if any(reason is not None for reason in self.stale_stages().values()):
                write_json(run / "environment.json", describe_environment())
            self._log({"event": "run", "command": sys.argv})
            yield

    def _log(self, event: dict[str, Any]) -> None:
        """Append to the run's history: with the recipe and the environment it tells what was done, and when."""
        path = self.recipe.run_path / "logs" / "history.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        stamped = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **event}
        with path.open("ab") as file:
            file.write(msgspec.json.encode(stamped) + b"\n")
