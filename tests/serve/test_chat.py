import io
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from pmc_llama.serve.chat import chat, loops
from release.tiny import ANSWER, QUESTION

ASKED = QUESTION.removeprefix("Question: ").removesuffix("\nAnswer:")


def talk(folder: Path, lines: list[str]) -> str:
    screen = io.StringIO()
    chat(folder, max_tokens=20, read=reader(lines), console=Console(file=screen, width=100))
    return screen.getvalue()


def reader(lines: list[str]) -> Callable[[str], str]:
    left = iter(lines)

    def read(prompt: str) -> str:
        try:
            return next(left)
        except StopIteration:
            raise EOFError from None

    return read


def test_answers_after_forgetting(model_folder: Path) -> None:
    shown = talk(model_folder, [ASKED, "/new", ASKED])
    assert shown.count(ANSWER.strip()) == 2
    assert "no medical advice" in shown and "no chat template" in shown


def test_a_long_conversation_keeps_within_the_context(model_folder: Path) -> None:
    shown = talk(model_folder, ["word " * 12] * 4 + ["word " * 300, ASKED])
    assert "longer than the model's context of 128 tokens" in shown


def test_an_empty_line_ends(model_folder: Path) -> None:
    assert ANSWER.strip() not in talk(model_folder, ["", ASKED])


def test_commands_are_known_and_not_asked(model_folder: Path) -> None:
    shown = talk(model_folder, ["/help", "/nonsense", "/quit", ASKED])
    assert shown.count("/new forgets the conversation") == 3 and "There is no /nonsense" in shown
    assert ANSWER.strip() not in shown.replace("/help", "")


def test_an_answer_that_repeats_itself_is_noticed() -> None:
    assert loops("It is. " + "the pain of " * 6) and loops("-" * 60) and loops("ab\n" * 20)
    assert not loops("1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24")
    assert not loops("no no no") and not loops("")
