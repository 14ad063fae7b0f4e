"""Instruction files: every row is used or counted with a reason, and the loss is on the response alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from builders import small_recipe
from pmc_llama.errors import InputError
from pmc_llama.experiment.cells import Cell
from pmc_llama.experiment.instructions import instruction_examples, read_instructions
from pmc_llama.experiment.tuning import TuningData, enough_epochs
from pmc_llama.recipe import parse_recipe
from pmc_llama.recipe.qa import RegimeSection

ROWS: list[dict[str, Any]] = [
    {
        "instruction": "Explain why the option is right.",
        "input": "###Question: Which {vitamin} prevents scurvy?\n###Options:\nA. C\nB. D",
        "output": "###Rationale: Scurvy is a lack of vitamin C.\n###Answer: OPTION A IS CORRECT.",
        "source": "medqa_rationale",
        "sample_id": 7,
    },
    {"instruction": "If you are a doctor, answer.", "input": "My knee hurts.", "output": "Rest it.", "source": "chat"},
    {
        "instruction": "Describe dacrocyte.",
        "input": "",
        "output": "A red cell like a tear.",
        "source": "umls",
    },
]


def write_lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_lists_and_lines_give_the_same_rows(tmp_path: Path) -> None:
    lines = write_lines(tmp_path / "rows.jsonl", ROWS)
    (tmp_path / "rows.json").write_text(json.dumps(ROWS, indent=1))
    found, tally = read_instructions([lines])
    assert found == read_instructions([tmp_path / "rows.json"])[0]
    assert [one.output for one in found] == [row["output"] for row in ROWS]
    assert (tally.rows, tally.kept, tally.dropped) == (3, 3, {})
    assert "### Input:\n" in found[1].prompt and "### Input:" not in found[2].prompt
    assert "{vitamin}" in found[0].prompt and found[0].prompt.endswith("### Response:")


def test_every_row_is_used_or_counted_with_a_reason(tmp_path: Path) -> None:
    bad = ["{broken", [1], {"instruction": "x"}, {"output": "y"}, {"instruction": "x", "output": 3}]
    found, tally = read_instructions([write_lines(tmp_path / "rows.jsonl", [*ROWS, *bad])])
    assert tally.dropped == {"not_json": 1, "not_an_object": 1, "no_output": 1, "no_instruction": 1, "not_text": 1}
    assert tally.rows == tally.kept + sum(tally.dropped.values()) == 8
    assert len(found) == tally.kept


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"question": "q", "answer": "a"}\n', "has no row with `instruction` and `output`: 1 no_instruction"),
        ('[{"instruction": "x", ', "begins like a JSON list, but is none"),
        ("", "it is empty"),
    ],
)
def test_a_file_without_any_usable_row_is_refused(content: str, message: str, tmp_path: Path) -> None:
    good = write_lines(tmp_path / "good.jsonl", ROWS)
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(InputError, match=message):
        read_instructions([good, tmp_path / "bad.json"])


@pytest.mark.parametrize("spare", [1000, 10, 1])
def test_the_loss_is_on_the_response_and_long_rows_are_counted(spare: int, tmp_path: Path, tokenizer: Any) -> None:
    found, tally = read_instructions([write_lines(tmp_path / "rows.jsonl", ROWS)])
    lengths = [len(tokenizer(one.output, add_special_tokens=False)["input_ids"]) for one in found]
    made = instruction_examples(found, tally, tokenizer=tokenizer, seq_len=sorted(lengths)[1] + spare, loss_on="answer")
    assert len(made) == tally.kept == sum(tally.sources.values()) == {1000: 3, 10: 2, 1: 1}[spare]
    assert tally.dropped.get("response_too_long", 0) == tally.rows - tally.kept
    assert tally.truncated == (0 if spare == 1000 else tally.kept)
    for one in made:
        learnt = tokenizer.decode([token for token in one.labels.tolist() if token >= 0], skip_special_tokens=True)
        assert learnt.strip() in [row.output for row in found]
        assert one.labels[-1] == tokenizer.eos_token_id


def regime(**values: Any) -> RegimeSection:
    return RegimeSection(**{"kind": "instruct", "files": ["rows.jsonl"], "seq_len": 400, "global_batch": 2} | values)


def test_small_shares_are_tuned_long_enough() -> None:
    assert enough_epochs(regime(epochs=3), 10) == 3
    assert enough_epochs(regime(epochs=3, min_steps=15), 10) == 3
    assert enough_epochs(regime(epochs=3, min_steps=40), 10) * 10 / 2 == 40


def test_cells_of_a_regime_share_its_examples_and_each_takes_its_share(
    tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pmc_llama.experiment.tuning.hf_tokenizer", lambda path: tokenizer)
    write_lines(tmp_path / "rows.jsonl", ROWS * 4)
    about = {"kind": "instruct", "files": ["rows.jsonl"], "seq_len": 400, "global_batch": 2, "fractions": [0.25, 1]}
    recipe = parse_recipe(small_recipe() | {"data": {"root": str(tmp_path)}, "regimes": {"mine": about}})
    data = TuningData(recipe)
    few, many = (data.batches(Cell(name, "base", 0)) for name in ("mine_25", "mine_100"))
    assert (len(few.examples), len(many.examples)) == (3, 12)
    assert {id(one) for one in few.examples} < {id(one) for one in many.examples}
    tally = data.tally(Cell("mine_25", "base", 0))
    assert tally is not None and tally.sources == {"medqa_rationale": 4, "chat": 4, "umls": 4}
