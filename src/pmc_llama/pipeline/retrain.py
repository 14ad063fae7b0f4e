"""A model that was trained is not trained again without a yes: what it cost is said, and what changed."""

import sys
from collections.abc import Collection, Mapping, Sequence

from pmc_llama.errors import PmcLlamaError
from pmc_llama.pipeline.preview import about
from pmc_llama.pipeline.stage import Context, Work
from pmc_llama.records.stamps import Stamp


class Retraining:
    """What of the trained models may be made again in this call: all (`allowed`), or what was said yes to."""

    def __init__(self, allowed: bool, forced: Collection[str] = ()) -> None:
        self._allowed, self._forced, self._agreed = allowed, set(forced), set[str]()

    def ask(self, context: Context, works: Sequence[Work], reasons: Mapping[str, str | None]) -> None:
        """Ask for the finished models among `works` that would be trained again.

        Raises PmcLlamaError where the answer is no, or where there is nobody to ask.
        """
        if self._allowed:
            return
        finished = {work.name: stamp for work in works if (stamp := _trained(context, work, reasons)) is not None}
        unasked = {name: stamp for name, stamp in finished.items() if name not in self._agreed | self._forced}
        if not unasked:
            return
        lines = [f"  {name}: trained in {about(stamp.seconds)}, {reasons[name]}" for name, stamp in unasked.items()]
        models = "a trained model" if len(unasked) == 1 else f"{len(unasked)} trained models"
        said = "\n".join([f"{models} would be trained again:", *lines])
        if not (sys.stdin.isatty() and sys.stderr.isatty()) or context.world is not None:
            raise PmcLlamaError(
                f"{said}\nnothing was changed. Give --retrain to train again, or another run_dir "
                "(--set run_dir=…) to keep both"
            )
        print(said, file=sys.stderr)
        print(
            "The old ones stay until the new ones are whole. Train again? [y/N] ", end="", file=sys.stderr, flush=True
        )
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise PmcLlamaError("nothing was trained again; another run_dir (--set run_dir=…) keeps both")
        self._agreed |= unasked.keys()


def _trained(context: Context, work: Work, reasons: Mapping[str, str | None]) -> Stamp | None:
    """The stamp of a model that was finished and would be trained again, not just exported from its checkpoint."""
    stamp = context.stamps.of(work.name)
    if not work.trains or stamp is None or not stamp.files or reasons.get(work.name) is None:
        return None
    moved_away = not any((context.run.root / place).exists() for place in work.outputs)
    kept = any((context.run.root / place).glob("checkpoints/step-*/COMPLETE") for place in work.beside)
    return None if moved_away and kept and _same_work(context, work, stamp) else stamp


def _same_work(context: Context, work: Work, stamp: Stamp) -> bool:
    from pmc_llama.pipeline.stamps import plain

    return stamp.settings == plain(work.settings) and stamp.upstream == context.stamps.upstream(work)
