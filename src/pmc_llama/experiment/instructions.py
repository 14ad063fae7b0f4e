"""Instruction rows of one's own files: read, what cannot be used counted by reason, and made into training examples.

The form is that of the later PMC-LLaMA's instruction data (and of Stanford Alpaca): `instruction`, `input`, `output`,
and optionally `source`. Rationale questions, single turns of conversations and descriptions from a knowledge graph all
have it. The prompt is Alpaca's, which that paper tuned with.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pmc_llama.errors import InputError
from pmc_llama.qa.encoding import encode_all
from pmc_llama.qa.examples import Example, LossOn, example
from pmc_llama.records.instructions import InstructionRows

PREAMBLE = "Below is an instruction that describes a task"
WITH_INPUT = (
    f"{PREAMBLE}, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:"
)
WITHOUT_INPUT = (
    f"{PREAMBLE}. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:"
)


class Instruction(msgspec.Struct, frozen=True):
    """One row: what is asked, and the response to learn."""

    prompt: str
    output: str
    source: str


def read_instructions(paths: Sequence[Path]) -> tuple[list[Instruction], InstructionRows]:
    """The usable rows of JSON (one list) or JSON-lines files, in their order, and what became of all.

    Raises InputError for a file that is neither, or of which no row can be used.
    """
    found: list[Instruction] = []
    dropped: Counter[str] = Counter()
    for path in paths:
        before, reasons = len(found), Counter[str]()
        for row in _rows(path):
            read = _instruction(row)
            if isinstance(read, Instruction):
                found.append(read)
            else:
                reasons[read] += 1
        if len(found) == before:
            why = ", ".join(f"{number:,} {reason}" for reason, number in reasons.most_common()) or "it is empty"
            raise InputError(f"{path} has no row with `instruction` and `output`: {why}")
        dropped += reasons
    total = len(found) + dropped.total()
    return found, InstructionRows(rows=total, kept=len(found), dropped=dict(dropped))


def instruction_examples(
    instructions: Sequence[Instruction], tally: InstructionRows, *, tokenizer: Any, seq_len: int, loss_on: LossOn
) -> list[Example]:
    """The rows as training sees them: prompt, response, end of text.

    A row longer than `seq_len` loses the beginning of its prompt; one whose response alone does not fit is dropped, for
    what is left of it would be no response to anything. Both are counted in `tally`.
    """
    found = []
    for one, encoded in zip(
        instructions, encode_all(tokenizer, [(one.prompt, [one.output]) for one in instructions]), strict=True
    ):
        if len(encoded.continuations[0]) + 1 >= seq_len:
            tally.dropped["response_too_long"] = tally.dropped.get("response_too_long", 0) + 1
            tally.kept -= 1
            continue
        made = example(encoded, tokenizer.eos_token_id, seq_len=seq_len, loss_on=loss_on)
        tally.truncated += made.truncated
        tally.sources[one.source] = tally.sources.get(one.source, 0) + 1
        found.append(made)
    return found


def _rows(path: Path) -> Iterator[Any]:
    """The rows of a file; a line that is not JSON is given as None."""
    content = path.read_bytes()
    if content.lstrip()[:1] == b"[":
        try:
            yield from msgspec.json.decode(content)
        except msgspec.DecodeError as error:
            raise InputError(f"{path} begins like a JSON list, but is none: {error}") from None
        return
    for line in content.splitlines():
        if line.strip():
            try:
                yield msgspec.json.decode(line)
            except msgspec.DecodeError:
                yield None


def _instruction(row: Any) -> Instruction | str:
    """The row, or the reason why it cannot be used."""
    if row is None:
        return "not_json"
    if not isinstance(row, dict):
        return "not_an_object"
    instruction, given, output = (row.get(name) or "" for name in ("instruction", "input", "output"))
    if not all(isinstance(text, str) for text in (instruction, given, output)):
        return "not_text"
    if not instruction.strip():
        return "no_instruction"
    if not output.strip():
        return "no_output"
    form = WITH_INPUT if given.strip() else WITHOUT_INPUT
    prompt = form.format(instruction=instruction.strip(), input=given.strip())
    return Instruction(prompt, output.strip(), str(row.get("source") or "not stated"))
