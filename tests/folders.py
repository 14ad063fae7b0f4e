"""Hugging Face tokenizer folders, made in a moment."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pmc_llama.files import read_json, write_json

TEXT = [
    "The patients were treated with 12.5 mg of aspirin in 2019, and 1234567 of them had COVID-19.",
    "Question: which drug lowers the pressure?\nA. one\nB. two\nAnswer: B",
    "It's a caf\u00e9; they'll come back   and  print(x_1)\n\n",
]

DIGITS = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Digits", "individual_digits": True},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    ],
}
PAIRS = {
    "type": "Sequence",
    "pretokenizers": [
        {
            "type": "Split",
            "pattern": {"Regex": "[0-9]{1,2}|[a-z]+|[^a-z0-9]"},
            "behavior": "Isolated",
            "invert": False,
        },
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
    ],
}
BLANK_FIRST = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}


def byte_tokenizer(
    folder: Path,
    *,
    pre_tokenizer: dict[str, Any] | None = None,
    special: Sequence[str] = ("<unk>", "<s>", "</s>"),
    adds: str = "$A",
    **config: Any,
) -> Path:
    """A byte-level BPE of about 400 tokens; `adds` is the template of what it puts around a text, `<s> $A` say."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(TEXT * 10, trainer)
    ids = [(token, made.token_to_id(token)) for token in special]
    made.post_processor = processors.TemplateProcessing(single=adds, special_tokens=ids)
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    if pre_tokenizer is not None:
        write_json(folder / "tokenizer.json", read_json(folder / "tokenizer.json") | {"pre_tokenizer": pre_tokenizer})
    named = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    write_json(folder / "tokenizer_config.json", named | config)
    return folder
