"""`pmc-llama chat`: a conversation in the terminal, shown as it is written."""

import queue
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from pmc_llama.escape import markup, terminal
from pmc_llama.serve.engine import Engine
from pmc_llama.serve.jobs import Job, Piece
from pmc_llama.serve.prompting import chat_ids
from pmc_llama.serve.sampling import Sampling

DISCLAIMER = "Research only: answers may be wrong, and are no medical advice."
HELP = "/help shows this, /new forgets the conversation; /quit, an empty line or Ctrl-D ends. Ctrl-C stops an answer."
LONGEST_LOOP = 200
LOOPED_CHARS = 60
"""An answer is stopped when its end repeats one text at least five times over at least so many characters."""


def chat(
    folder: Path | str,
    *,
    max_tokens: int = 256,
    temperature: float = 0.0,
    read: Callable[[str], str] = input,
    console: Console | None = None,
) -> None:
    """Talk with the model in `folder` (or a hub id) until the input ends. Ctrl-C stops the answer alone."""
    console = console or Console()
    engine = Engine(folder)
    console.print(f"[bold]{markup(engine.name)}[/]. {DISCLAIMER}\n[dim]{HELP}[/]")
    if engine.tokenizer.chat_template is None:
        console.print(
            "[dim]This model has no chat template: it was not tuned on conversations, and gets plain questions.[/]"
        )
    messages: list[dict[str, str]] = []
    try:
        while (said := _read(read)) is not None:
            if said.startswith("/"):
                messages = [] if said == "/new" else messages
                if said == "/quit":
                    break
                told = "The conversation is forgotten." if said == "/new" else HELP
                console.print(told if said in ("/new", "/help") else f"There is no {said}. {HELP}", markup=False)
                continue
            messages.append({"role": "user", "content": said})
            answer = _answer(engine, messages, max_tokens, Sampling(temperature, 0.95), console)
            messages.append({"role": "assistant", "content": answer})
    finally:
        engine.close()


def loops(text: str) -> bool:
    """Whether the end of a text is one and the same piece again and again."""
    for size in range(1, LONGEST_LOOP + 1):
        times = max(5, -(-LOOPED_CHARS // size))
        if size * times <= len(text) and text.endswith(text[-size:] * times):
            return True
    return False


def _read(read: Callable[[str], str]) -> str | None:
    try:
        return read("\n> ").strip() or None
    except (EOFError, KeyboardInterrupt):
        return None


def _answer(
    engine: Engine, messages: list[dict[str, str]], max_tokens: int, sampling: Sampling, console: Console
) -> str:
    """Print the answer as it comes and return it; the oldest turns are forgotten where the context is full."""
    ids = chat_ids(engine.tokenizer, messages)
    while len(ids) + max_tokens > engine.context and len(messages) > 2:
        del messages[:2]
        ids = chat_ids(engine.tokenizer, messages)
    room = engine.context - len(ids)
    if room < 1:
        console.print(f"[red]That is longer than the model's context of {engine.context} tokens.[/]")
        return ""
    pieces: queue.SimpleQueue[Piece] = queue.SimpleQueue()
    job = Job(ids, min(max_tokens, room), pieces.put, sampling)
    engine.submit(job)
    text, piece = "", Piece()
    try:
        while not piece.finish:
            piece = pieces.get()
            shown = piece.text if text else piece.text.lstrip()
            text += shown
            console.print(terminal(shown), end="", markup=False, highlight=False, soft_wrap=True)
            if loops(text):
                job.cancelled.set()
                console.print(" [stopped: it repeats itself]", end="", markup=False)
                break
    except KeyboardInterrupt:
        job.cancelled.set()
    console.print(
        {"length": " […]", "timeout": " [stopped]", "error": " [failed]"}.get(piece.finish or "", ""), markup=False
    )
    return text
