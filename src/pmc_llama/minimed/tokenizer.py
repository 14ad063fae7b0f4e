"""The tokenizer of MiniMed: SentencePiece BPE with the settings of LLaMA's, trained on the papers."""

import io
from collections.abc import Iterable
from pathlib import Path

import sentencepiece

from pmc_llama.errors import RecipeError
from pmc_llama.files import write_bytes


def train_tokenizer(texts: Iterable[str], vocab_size: int, path: Path) -> None:
    """Write `tokenizer.model`: byte fallback, no normalisation, digits split, unk 0, bos 1, eos 2, no pad.

    The same texts give the same bytes. Raises RecipeError if the texts are too few for so many pieces.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(line for text in texts for line in text.split("\n") if line.strip()),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=True,
            allow_whitespace_only_pieces=True,
            byte_fallback=True,
            split_digits=True,
            character_coverage=0.9999,
            max_sentence_length=1 << 20,
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=-1,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise RecipeError(f"minimed.vocab_size: {vocab_size} pieces are too many for so few papers: {error}") from None
    write_bytes(path, model.getvalue())
