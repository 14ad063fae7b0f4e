"""Chat templates are programs of others: what they write is what transformers writes, and none harms the process."""

import os
import time
from pathlib import Path

import psutil
import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from pmc_llama.errors import InputError
from pmc_llama.model import templates
from pmc_llama.model.templates import render

TURNS = [{"role": "system", "content": "Be <b>brief</b> \ud83e\ude7a 'é'"}, {"role": "user", "content": "line\nline"}]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}\n  {% if m.role == 'user' %}[{{ m.content | trim }}]\n  {% else %}"
    "{{ m | tojson }}{% endif %}{% endfor %}{% if add_generation_prompt %}<answer>{% endif %}"
)


def test_what_is_written_is_what_transformers_writes() -> None:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE()), bos_token="<s>", eos_token="</s>", chat_template=TEMPLATE
    )
    turns = [{"role": "user", "content": "a 🩺 ä\n"}, {"role": "assistant", "content": 'say "x"'}]
    expected = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert render(TEMPLATE, turns, tokenizer.special_tokens_map) == expected
    assert "<s>[a 🩺 ä]" in expected


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "more than 0.5 s"),
        ("{{ 'a' * 10**10 }}", "chat template"),
        ("{% set n = namespace(t='a' * 1000) %}{% for i in range(60) %}{% set n.t = n.t + n.t %}{% endfor %}", "chat"),
        ("{% for i in range(90000) %}{{ 'a' * 100 }}{% endfor %}", "it writes 9,000,000 characters"),
        ("{{ raise_exception('no system message') }}", "no system message"),
        ("{{ messages.__class__.__mro__[-1].__subclasses__() }}", "unsafe"),
        ("{% for %}", "chat template cannot be used"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "chat template"),
    ],
)
def test_a_hostile_template_is_a_sentence(monkeypatch: pytest.MonkeyPatch, template: str, words: str) -> None:
    monkeypatch.setattr(templates, "TIME_S", 0.5)
    before_bytes, started_s = psutil.Process().memory_info().rss, time.monotonic()
    with pytest.raises(InputError, match=words):
        render(template, TURNS, {})
    assert time.monotonic() - started_s < 30
    assert psutil.Process().memory_info().rss - before_bytes < 2**28
    assert render("{{ messages[1].content }}!", TURNS, {}) == "line\nline!", "the next one finds a process as before"


def test_the_process_ends_with_the_one_that_asks(tmp_path: Path) -> None:
    render("x", TURNS, {})
    assert templates._process is not None
    child = psutil.Process(templates._process.pid)
    assert child.ppid() == os.getpid()
    templates._process.stdin.close()  # type: ignore[union-attr]  # as the end of this process closes it
    assert child.wait(20) == 0
    assert render("x", TURNS, {}) == "x"
