"""Writes sets_golden.json with lm-evaluation-harness 0.4.13: `.venvs/lm_eval/bin/python tests/qa/make_sets_golden.py`.

The harness' own task files are pointed at a few made-up rows in the form of the hub's files; only the data are
replaced, never a prompt. Kept are the rows, and what the harness makes of them: contexts, continuations, the right one.
"""

import json
import os
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_HOME="/nonexistent")

LETTERS = "ABCDEFGHIJ"
WORDS = ("one", "  two ", "three\nlines", "fo[ur]r", "five", "six", "seven", "eight", "nine", "ten")


def mmlu(subject: str, **more: Any) -> list[dict[str, Any]]:
    return [
        {"question": f" Which of {i}? ", "subject": subject, "choices": [f"{word}{i}" for word in WORDS[:4]]}
        | {"answer": i % 4}
        | more
        for i in range(3)
    ]


def mmlu_pro() -> list[dict[str, Any]]:
    return [
        {"question_id": i, "question": f"What is {i}?\n", "options": list(WORDS[:n]), "answer": LETTERS[n - 1]}
        | {"answer_index": n - 1, "category": "health"}
        for i, n in enumerate((4, 10, 3))
    ]


def medqa() -> list[dict[str, Any]]:
    return [
        {"sent1": f"A man of {i}?", "label": i} | {f"ending{j}": f"{WORDS[j]}{i}" for j in range(4)} for i in range(3)
    ]


def careqa() -> list[dict[str, Any]]:
    return [
        {"unique_id": f"u{i}", "question": f"Nurse {i}:", "cop": i + 1, "category": "Nursing"}
        | {f"op{j + 1}": f"{WORDS[j]}{i}" for j in range(4)}
        for i in range(3)
    ]


def arc() -> list[dict[str, Any]]:
    rows = []
    for i, labels in enumerate(("ABCD", "1234", "ABC")):
        choices = {"text": list(WORDS[: len(labels)]), "label": list(labels)}
        rows.append({"id": f"arc-{i}", "question": f"Why {i}?", "choices": choices, "answerKey": labels[i]})
    return rows


def hellaswag() -> list[dict[str, Any]]:
    endings = ["ends [title] here.", " two  blanks", "[step] goes on", "stops."]
    return [
        {"ind": i, "activity_label": "Cooking [x]", "ctx_a": f"He  [header] cuts {i}.", "ctx_b": "then SHE"}
        | {"endings": endings, "label": str(i), "source_id": "activitynet~v_1"}
        for i in range(3)
    ]


TASKS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "mmlu": ("mmlu/default/mmlu_anatomy.yaml", mmlu("anatomy")),
    "mmlu_redux": ("mmlu-redux/generative/mmlu_anatomy.yaml", mmlu("anatomy", error_type="ok")),
    "mmlu_pro": ("leaderboard/mmlu_pro/mmlu_pro.yaml", mmlu_pro()),
    "medqa": ("medqa/medqa.yaml", medqa()),
    "careqa": ("careqa/careqa_en.yaml", careqa()),
    "arc_challenge": ("arc/arc_challenge.yaml", arc()),
    "arc_easy": ("arc/arc_easy.yaml", arc()),
    "hellaswag": ("hellaswag/hellaswag.yaml", hellaswag()),
}
"""By set: the harness' file, and the rows."""


def main() -> None:
    import lm_eval.tasks
    import yaml
    from lm_eval.tasks import TaskManager

    stock = Path(lm_eval.tasks.__file__).parent
    out: dict[str, Any] = {"lm_eval": version("lm_eval"), "sets": {}}
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, (file, rows) in TASKS.items():
            data = folder / f"{name}.jsonl"
            data.write_text("".join(json.dumps(row) + "\n" for row in rows))
            local = {"include": str(next(iter(stock.glob(file)))), "task": f"{name}_local", "tag": None}
            local |= {"dataset_path": "json", "dataset_name": None, "task_alias": None, "num_fewshot": 0}
            local |= {"dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(folder / "cache")}}
            local |= {"training_split": None, "validation_split": None, "test_split": "test", "fewshot_split": "test"}
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(local))
        manager = TaskManager(include_path=str(folder), include_defaults=False)
        for name, (_, rows) in TASKS.items():
            loaded = manager.load_task_or_group([f"{name}_local"])
            task = loaded[f"{name}_local"]
            out["sets"][name] = {"rows": rows, "asked": [asked(task, doc) for doc in task.test_docs()]}
    Path(__file__).with_name("sets_golden.json").write_text(json.dumps(out, indent=1) + "\n")


def asked(task: Any, doc: Any) -> dict[str, Any]:
    """One question as the harness asks it."""
    found: dict[str, Any] = {"context": task.fewshot_context(doc, num_fewshot=0)}
    if task.OUTPUT_TYPE == "multiple_choice":
        delimiter = task.config.target_delimiter
        found["continuations"] = [f"{delimiter}{choice}" for choice in task.doc_to_choice(doc)]
        gold = task.doc_to_target(doc)
        found["gold"] = LETTERS.index(gold) if isinstance(gold, str) else gold
    return found


if __name__ == "__main__":
    main()
