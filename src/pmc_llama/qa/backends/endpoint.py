"""Models behind a server with OpenAI's API: asked question by question, several at a time, and never twice."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import msgspec
from torch import distributed

from pmc_llama import files
from pmc_llama.errors import InputError, PmcLlamaError
from pmc_llama.qa.backends.base import Answer, Model, answers_key
from pmc_llama.qa.backends.endpoint_client import Client, Refused, base_url
from pmc_llama.qa.backends.endpoint_shapes import Usage
from pmc_llama.qa.backends.endpoint_ways import WAYS, Item, NotOffered
from pmc_llama.qa.backends.folder import as_answer, tokenizer_hash
from pmc_llama.qa.generate import Generated
from pmc_llama.qa.harness import write_samples
from pmc_llama.qa.journal import Journal
from pmc_llama.qa.prompts import render
from pmc_llama.qa.question import Question
from pmc_llama.qa.score import Scored
from pmc_llama.qa.sharing import share
from pmc_llama.qa.shots import choose_shots
from pmc_llama.recipe.models import ModelSection
from pmc_llama.recipe.qa import EvaluateSection, TaskSection
from pmc_llama.records.models import ModelFacts

_WRITTEN = "written answers"


class Asked(msgspec.Struct, frozen=True):
    """One question's result as the journal keeps it, with what it cost."""

    scored: Scored | None = None
    generated: Generated | None = None
    usage: Usage = Usage()

    @property
    def result(self) -> Scored | Generated:
        """Whichever of the two it is."""
        found = self.scored or self.generated
        assert found is not None
        return found


class EndpointBackend:
    """A model of a server.

    Which of `WAYS` is taken is found out with the first question of a task and kept for all of it: the best that the
    server offers, `written answers` only where the task's method is generation or the model's own is not given.
    """

    def __init__(self, section: ModelSection, evaluate: EvaluateSection, tokenizer: Any = None) -> None:
        """`tokenizer`: the model's own; without it texts are sent, not ids."""
        self._section, self._evaluate, self._tokenizer = section, evaluate, tokenizer
        self._taken: list[str] = []
        self._counted: set[tuple[Path, str]] = set()

    @cached_property
    def _client(self) -> Client:
        """Raises InputError where the library or the key is not there."""
        return Client(self._section)

    @classmethod
    def opened(cls, model: Model) -> Self:
        """The backend of an endpoint."""
        return cls(model.section, model.evaluate, model.tokenizer)

    def answer(
        self,
        section: TaskSection,
        questions: Sequence[Question],
        *,
        pool: Sequence[Question] = (),
        journal: Path | None = None,
        samples: Path | None = None,
    ) -> list[Answer]:
        """See `Backend`. Raises InputError where the server refuses, is gone, or would cost more than the caps allow.

        What was answered before stays in the journal. The caps count what the journal's answers cost, too.
        """
        shots = choose_shots(questions, pool, section.shots, kind=section.shots_draw)
        asked: dict[str, Any] = {"prompt": section.prompt, "answers": section.answers, "shots": shots}
        items = [
            Item(one, render(section.prompt, one, section.answers, solved), self._evaluate, self._tokenizer)
            for one, solved in zip(questions, shots, strict=True)
        ]
        if not items:
            return []
        key = answers_key(section, self._evaluate, questions, pool)
        ways = [_WRITTEN] if section.method == "generation" else list(WAYS)
        if section.method == "likelihood" and self._section.method == "likelihood":
            ways.remove(_WRITTEN)
        way, first = self._agreed(items[0], ways, journal, key)
        self._taken += [way] if way not in self._taken else []
        kept = None if journal is None else self._journal(journal, key, way)
        found = share(len(items), Asked, lambda todo: self._asked(items, todo, way, first), journal=kept, label="ask")
        results = [one.result for one in found]
        if samples is not None and _rank() == 0:
            write_samples(samples, questions, results, **asked)
        return [as_answer(one) for one in results]

    def describe(self) -> ModelFacts:
        """See `Backend`. The server is asked nothing, and no key is needed."""
        asked = "_client" in self.__dict__
        return ModelFacts(
            kind="endpoint",
            where=base_url(str(self._section.endpoint)),
            revision=self._client.model_name if asked else self._section.model,
            tokenizer_sha256=None if self._tokenizer is None else tokenizer_hash(self._tokenizer),
            asked=", ".join(self._taken) or None,
        )

    def _journal(self, folder: Path, key: str, way: str) -> Journal:
        named = [key, way, self._client.url, self._client.served.id]
        return Journal(folder, files.sha256_json(named), _rank())

    def _agreed(self, item: Item, ways: Sequence[str], journal: Path | None, key: str) -> tuple[str, Asked | None]:
        """The way of a task, and the first question's result where it had to be asked to find out; on all processes."""
        if not distributed.is_initialized():
            return self._found_out(item, ways, journal, key)
        told: list[Any] = [None]
        if distributed.get_rank() == 0:
            try:
                told = [self._found_out(item, ways, journal, key)]
            except PmcLlamaError as error:
                told = [error]
        distributed.broadcast_object_list(told)
        if isinstance(told[0], PmcLlamaError):
            raise told[0]
        return told[0]  # type: ignore[no-any-return]

    def _found_out(self, item: Item, ways: Sequence[str], journal: Path | None, key: str) -> tuple[str, Asked | None]:
        if journal is not None:
            for way in ways:
                found = self._journal(journal, key, way).read(Asked)
                if found:
                    self._count(journal, key, found.values())
                    return way, None
            self._counted.add((journal, key))
        said, before = {}, self._client.budget.spent_here
        for way in ways:
            try:
                first = self._ask(item, way, before)
            except NotOffered as error:
                said[way] = str(error)
                continue
            return way, first
        reasons = "; ".join(f"{way}: {why}" for way, why in said.items())
        raise InputError(f"{self._client.url} cannot answer task {item.question.task!r}: {reasons}")

    def _count(self, journal: Path, key: str, found: Iterable[Asked]) -> None:
        """Count once what the answers that a journal holds have cost."""
        if (journal, key) not in self._counted:
            self._counted.add((journal, key))
            for one in found:
                self._client.budget.add(one.usage)

    def _ask(self, item: Item, way: str, before: Usage | None = None) -> Asked:
        before = before or self._client.budget.spent_here
        try:
            result = WAYS[way](self._client, item)
        except Refused as refused:
            hint = "" if self._tokenizer is not None else " (with the model's `tokenizer`, long questions are cut)"
            raise InputError(
                f"{self._client.url} refuses question {item.question.question_id!r} of task {item.question.task!r}: "
                f"{refused}{hint}"
            ) from None
        usage = self._client.budget.spent_here - before
        if isinstance(result, Scored):
            return Asked(scored=result, usage=usage)
        return Asked(generated=result, usage=usage)

    def _asked(
        self, items: Sequence[Item], todo: Sequence[int], way: str, first: Asked | None
    ) -> Iterator[tuple[int, Asked]]:
        """Results as they come. Where one fails, those under way are awaited and given before the error is raised."""
        waiting, failed = deque(todo), None
        if first is not None and 0 in todo:
            waiting.remove(0)
            yield 0, first
        running: dict[Future[Asked], int] = {}
        with ThreadPoolExecutor(self._section.concurrency) as pool:
            try:
                while running or (waiting and failed is None):
                    while waiting and failed is None and len(running) < self._section.concurrency:
                        i = waiting.popleft()
                        running[pool.submit(self._ask, items[i], way)] = i
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        i = running.pop(future)
                        error = future.exception()
                        if error is None:
                            yield i, future.result()
                        elif failed is None:
                            failed = self._explained(error, items[i], way)
            except BaseException:
                self._client.close()  # or Ctrl-C would wait for answers
                raise
        if failed is not None:
            raise failed

    def _explained(self, error: BaseException, item: Item, way: str) -> BaseException:
        if not isinstance(error, NotOffered):
            return error
        return InputError(
            f"{self._client.url} gave {way} for other questions, but not for {item.question.question_id!r} of task "
            f"{item.question.task!r}: {error}"
        )


def _rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0
